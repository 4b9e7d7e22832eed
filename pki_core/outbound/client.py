"""The one HTTP client for other people's servers (RFC 9110): http and https, no redirects, limits on everything.

A name is resolved once, every address it has is judged, and the connection goes to an address that was judged: a name
that answers differently the second time (DNS rebinding) is not asked a second time. The whole call ends after
``total_seconds``, however slowly the other side, or its name server, drips.
"""

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Event, Timer
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pki_core.model.errors import ForbiddenAddressError, OutboundUnavailableError, SettingsError
from pki_core.model.limits import URL_LIMIT
from pki_core.model.outbound import OutboundAnswer, OutboundPolicy, OutboundRequest
from pki_core.outbound.addresses import is_allowed
from pki_core.outbound.lookups import Lookups, Resolve

_PORTS = {"http": 80, "https": 443}
_MOST_ADDRESSES = 3  # tried one after the other
_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII without a backslash, which some readers take for a slash
_PIECE = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where a call goes: decided once."""

    is_tls: bool
    host: str
    port: int
    addresses: tuple[str, ...]
    path: str


class OutboundClient:
    """Makes calls."""

    def __init__(self, policy: OutboundPolicy, ca_file: str = "", resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._resolve = resolve or addresses_of
        self._lookups = Lookups(self._resolve)
        self._ca_file = ca_file

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The CAs that servers are trusted by; 20 ms to load."""
        context = ssl.create_default_context()
        if self._ca_file:
            try:
                context.load_verify_locations(self._ca_file)
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(f"the CAs in {self._ca_file} cannot be read: {type(error).__name__}") from error
        return context

    def check(self, url: str) -> None:
        """Look at a URL without calling or resolving it.

        Raises:
            ForbiddenAddressError: it is not one this client would call.
        """
        parts, port = _split(url)
        host = parts.hostname or ""
        if _is_address(host) and not is_allowed(host, self._policy.allowed_networks):
            raise ForbiddenAddressError(f"{host} port {port} is no public address")

    def call(self, request: OutboundRequest) -> OutboundAnswer:
        """Make one call and return its answer, whatever its status.

        Raises:
            ForbiddenAddressError: the URL is not one to call, or its name has an address that may not be called.
            OutboundUnavailableError: no connection, no trust, no time left, or an answer longer than allowed.
        """
        total = self._policy.total_seconds
        until = monotonic() + (total if request.seconds is None else min(total, request.seconds))
        target = self._target(request.url, until)
        with _translated(target.host):
            connected = self._connect(target, until)
            with _watchdog(connected, max(until - monotonic(), 0)):
                return self._exchange(connected, target, request)

    def _target(self, url: str, until: float) -> _Target:
        parts, port = _split(url)
        host = parts.hostname or ""
        with _translated(host):
            is_literal = _is_address(host)  # nothing to wait for
            found = self._resolve(host, port) if is_literal else self._lookups.addresses(host, port, _left(until))
        addresses = tuple(dict.fromkeys(found))
        if not addresses:
            raise OutboundUnavailableError(f"{host} has no address")
        if not all(is_allowed(address, self._policy.allowed_networks) for address in addresses):
            raise ForbiddenAddressError(f"{host} has an address that is not public")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return _Target(is_tls=parts.scheme == "https", host=host, port=port, addresses=addresses, path=path)

    def _connect(self, target: _Target, until: float) -> socket.socket:
        problem: OSError = OSError("no address")
        for address in target.addresses[:_MOST_ADDRESSES]:
            try:
                seconds = min(self._policy.connect_seconds, _left(until))
                return socket.create_connection((address, target.port), timeout=seconds)
            except OSError as error:
                problem = error
        raise problem

    def _exchange(self, connected: socket.socket, target: _Target, request: OutboundRequest) -> OutboundAnswer:
        connection = http.client.HTTPConnection(target.host, target.port)
        try:
            connected.settimeout(self._policy.total_seconds)
            # The name the certificate must carry is the one that was asked for, not the address.
            connection.sock = (
                self._tls.wrap_socket(connected, server_hostname=target.host) if target.is_tls else connected
            )
            connection.putrequest(request.method, target.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._headers(target, request).items():
                connection.putheader(name, value)
            connection.endheaders(request.body or None)
            answer = connection.getresponse()
            return OutboundAnswer(status=answer.status, body=_read(answer, request.max_octets))
        finally:
            connection.close()
            connected.close()

    @staticmethod
    def _headers(target: _Target, request: OutboundRequest) -> dict[str, str]:
        host = f"[{target.host}]" if ":" in target.host else target.host
        is_usual = target.port == _PORTS["https" if target.is_tls else "http"]
        headers = {"Host": host if is_usual else f"{host}:{target.port}", "Connection": "close"}
        headers |= {"Accept-Encoding": "identity", "User-Agent": "pncpki"}
        if request.body or request.method != "GET":
            headers["Content-Length"] = str(len(request.body))
        return headers | dict(request.headers)


def addresses_of(host: str, port: int) -> list[str]:
    """Return every address of a name, as the system resolves it; an address is its own."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _split(url: str) -> tuple[SplitResult, int]:
    if len(url) > URL_LIMIT or not _PLAIN.fullmatch(url):
        raise ForbiddenAddressError("the URL is too long, or holds characters that a URL has not")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError as error:
        raise ForbiddenAddressError("the URL cannot be read") from error
    if parts.scheme not in _PORTS:
        raise ForbiddenAddressError("only http and https are called")
    if not host or parts.username is not None or parts.password is not None:
        raise ForbiddenAddressError("the URL names no host, or credentials beside it")
    if _is_number(host):
        raise ForbiddenAddressError("an IPv4 address is written as four decimal numbers")
    return parts, port or _PORTS[parts.scheme]


def _left(until: float) -> float:
    """Return the seconds until a moment of the monotonic clock; TimeoutError when it has passed."""
    seconds = until - monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False


def _is_number(host: str) -> bool:
    """Tell whether resolvers read a host as an IPv4 address in one of its forgotten notations: 2130706433, 0x7f.1."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return not _is_address(host)


def _read(answer: http.client.HTTPResponse, limit: int) -> bytes:
    pieces, left = [], limit
    while piece := answer.read(min(_PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            raise OutboundUnavailableError(f"the answer is longer than {limit} octets")
        pieces.append(piece)
    if answer.length:
        raise OutboundUnavailableError("the answer ended before its time")
    return b"".join(pieces)


@contextmanager
def _watchdog(connected: socket.socket, seconds: float) -> Iterator[None]:
    """End a connection from below when time is up: reads return at once, in a handshake and among headers as well."""
    handle = connected.dup()  # its own file handle on the same connection: TLS may take the other one over

    is_over = Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        handle.close()
    if is_over.is_set():  # a half answer may have looked like a whole one
        raise TimeoutError


@contextmanager
def _translated(host: str) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError, http.client.HTTPException, ValueError) as error:
        kind: Any = type(error).__name__
        raise OutboundUnavailableError(f"{host} cannot be reached: {kind}") from error
