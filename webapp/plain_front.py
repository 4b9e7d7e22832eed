"""Between granian and the application on the plain listener: no client keeps a thread by not sending its body.

granian reads the head of a request without a thread, but gives the application one for the body and lets it wait for
as long as the client likes; a handful of stalled OCSP requests would stop the service. Bodies are read here, up to a
limit. When one is overdue, connections on which nothing was sent for that long are shut down, whosever they are: WSGI
does not tell which socket a body comes from, and to an idle connection nothing is lost.
"""

import itertools
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from math import ceil, inf
from pathlib import Path
from threading import Thread
from typing import Any

from webapp.host_field import is_host_field

_NO_BODY = frozenset({"GET", "HEAD"})
_LOOK_EVERY = 0.5  # seconds
_CROWDED = 0.75  # of all threads wait for bodies: then there is less patience
_IMPATIENT_SECONDS = 1.0
_TCP_INFO_OCTETS = 104
_LAST_SENT = struct.Struct("=44xI")  # struct tcp_info: milliseconds since data was sent, or since it was connected
DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """What a body may be, and how many may be awaited at once."""

    octets: int
    seconds: float
    threads: int


class BodyGuard:
    """A WSGI application whose bodies are whole before it sees them."""

    def __init__(self, app: Any, limits: BodyLimits, port: int) -> None:  # noqa: ANN401  # a WSGI application
        self._app = app
        self._limits = limits
        self._port = port
        self._numbers = itertools.count()
        self._awaited: dict[int, float] = {}  # since when; in the order they began
        if sys.platform == "linux":
            Thread(target=self._keep_looking, daemon=True, name="bodies").start()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Read the body, then answer; what granian lets through and RFC 9112 does not (3.2, 6.1) is refused."""
        host = environ.get("HTTP_HOST")  # granian says "" of none, and of one that is not ASCII
        if not is_host_field(host) if host else environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
            return _refused(start_response, HTTPStatus.BAD_REQUEST)
        if environ.get("HTTP_TRANSFER_ENCODING", "chunked").lower() != "chunked":
            return _refused(start_response, HTTPStatus.NOT_IMPLEMENTED)
        method: str = environ["REQUEST_METHOD"]
        if not method.isupper():  # RFC 9110 9.1: "get" is none that anybody knows; Flask would take it for GET
            return _refused(start_response, HTTPStatus.NOT_IMPLEMENTED)
        if method not in _NO_BODY:
            body = self._read(environ)
            if len(body) > self._limits.octets:
                start_response("413 Content Too Large", [("Content-Length", "0")])
                return []
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def _read(self, environ: dict[str, Any]) -> bytes:
        """Return the body, or as much of it as shows that it is too much."""
        limit = self._limits.octets
        told = environ.get("CONTENT_LENGTH") or "0"
        if told.isdecimal() and int(told[:20]) > limit:
            return bytes(limit + 1)
        number = next(self._numbers)
        self._awaited[number] = time.monotonic()
        try:
            body: bytes = environ["wsgi.input"].read(limit + 1)
        finally:
            del self._awaited[number]
        return body

    def _keep_looking(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY)
            awaited = list(self._awaited.copy().values())
            if not awaited:
                continue
            oldest = time.monotonic() - awaited[0]
            if len(awaited) > _CROWDED * self._limits.threads and oldest >= _IMPATIENT_SECONDS:
                self._shut_down(_IMPATIENT_SECONDS, 0.5)  # who came behind the older half has a chance then
            elif oldest >= self._limits.seconds:
                self._shut_down(self._limits.seconds, 1)

    def _shut_down(self, seconds: float, share: float) -> None:
        """End a share, the oldest first, of the connections to our port on which nothing was sent for so long."""
        numbers = [int(name) for name in os.listdir(DESCRIPTORS)]  # noqa: PTH208  # numbers, not paths
        ages = [(age, number) for number in numbers if (age := _silent_for(number, self._port)) >= seconds]
        for _, number in sorted(ages, reverse=True)[: ceil(len(ages) * share)]:
            _silent_for(number, self._port, end_at=seconds)


def _refused(start_response: Any, status: HTTPStatus) -> Iterable[bytes]:  # noqa: ANN401  # of WSGI
    body = status.phrase.encode("ascii") + b"\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(f"{status} {status.phrase}", [*headers, ("Connection", "close")])
    return [body]


def _silent_for(number: int, port: int, *, end_at: float = inf) -> float:
    """Return for how many seconds nothing was sent on a connection to our port, and end it from ``end_at`` on.

    -1 for what is no such connection. Looked at and ended by a descriptor of our own: the number may have become
    another connection's meanwhile.
    """
    try:
        with socket_of(number) as connection:
            if not is_ours(connection, port):
                return -1
            known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_OCTETS)
            seconds = float(_LAST_SENT.unpack_from(known)[0]) / 1000
            if seconds >= end_at:
                connection.shutdown(socket.SHUT_RDWR)
            return seconds
    except OSError:  # closed meanwhile, or no socket
        return -1


@contextmanager
def socket_of(number: int) -> Iterator[socket.socket]:
    """Give a socket by its file handle, under a handle of its own; OSError when there is none, or it is no socket."""
    handle = os.dup(number)
    try:
        connection = socket.socket(fileno=handle)
    except OSError:
        os.close(handle)
        raise
    with connection:
        yield connection


def is_ours(connection: socket.socket, port: int) -> bool:
    """Tell whether this is a connection that somebody made to our port; OSError for a socket that has none."""
    if connection.family not in {socket.AF_INET, socket.AF_INET6} or connection.type != socket.SOCK_STREAM:
        return False
    connection.getpeername()  # OSError for one that only listens
    return bool(connection.getsockname()[1] == port)
