"""Between granian and the application on the plain listener: who is slow holds no thread, what is kept needs none.

granian gives a WSGI application a thread that then waits for the body, however long the client takes; a handful of
stalled OCSP requests would stop the service. So bodies are read here, in the event loop, with a limit and a deadline.
An OCSP answer that is in memory is given at once; everything else may wait for store or key, and does so in a thread.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from sys import stderr
from typing import Any, Protocol

from webapp.ocsp import request_in_path

_NO_BODY = frozenset({"GET", "HEAD"})
_STREAMED_OCTETS = 1_048_576  # a larger answer is sent piece by piece
_TEXT = [("content-type", "text/plain; charset=utf-8")]


class _Ocsp(Protocol):
    def kept(self, request_der: bytes) -> object | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainLimits:
    """What a request may be, and how many are at work at once."""

    body_octets: int
    body_seconds: float
    threads: int


class PlainFront:
    """An RSGI application around a WSGI one."""

    def __init__(self, app: Any, ocsp: _Ocsp, limits: PlainLimits) -> None:  # noqa: ANN401  # a WSGI application
        self._app = app
        self._ocsp = ocsp
        self._limits = limits
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="plain")

    async def __rsgi__(self, scope: Any, proto: Any) -> None:  # noqa: ANN401  # granian's
        """Answer one request."""
        if scope.proto != "http":
            proto.close(403)
            return
        body = b""
        if scope.method not in _NO_BODY:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    body = await self._read(scope, proto)
            except TimeoutError:
                proto.response_str(408, _TEXT, "The request did not come in time.\n")
                return
            if len(body) > self._limits.body_octets:
                proto.response_str(413, _TEXT, "The request is too large.\n")
                return
        environ = _environ(scope, body)
        if self._is_kept(scope, body):
            status, headers, pieces = self._call(environ)
        else:
            loop = asyncio.get_running_loop()
            status, headers, pieces = await loop.run_in_executor(self._pool, self._call, environ)
        if isinstance(pieces, bytes):
            proto.response_bytes(status, headers, pieces)
        else:
            await self._stream(proto.response_stream(status, headers), pieces)

    async def _read(self, scope: Any, proto: Any) -> bytes:  # noqa: ANN401
        """Return the body, or as much of it as shows that it is too much."""
        limit = self._limits.body_octets
        told = scope.headers.get("content-length", "0")
        if told.isascii() and told.isdecimal() and int(told[:20]) > limit:
            return bytes(limit + 1)
        body = b""
        async for piece in proto:
            body += piece
            if len(body) > limit:
                break
        return body

    def _is_kept(self, scope: Any, body: bytes) -> bool:  # noqa: ANN401
        path: str = scope.path
        if scope.method == "POST":
            return path.startswith("/ocsp") and self._ocsp.kept(body) is not None
        return path.startswith("/ocsp/") and self._ocsp.kept(request_in_path(path[6:])) is not None

    def _call(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], Any]:
        """Call the application; the pieces of an answer that is not large are put together here."""
        said: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
            said[:] = [int(status[:3]), headers]

        answer: Iterable[bytes] = self._app(environ, start_response)
        if isinstance(answer, list):
            return said[0], said[1], b"".join(answer)
        octets = next((value for name, value in said[1] if name.lower() == "content-length"), "0")
        if int(octets) > _STREAMED_OCTETS and environ["REQUEST_METHOD"] != "HEAD":
            return said[0], said[1], answer
        try:
            return said[0], said[1], b"".join(answer)
        finally:
            _close(answer)

    async def _stream(self, transport: Any, answer: Iterable[bytes]) -> None:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        pieces = iter(answer)
        try:
            while (piece := await loop.run_in_executor(self._pool, next, pieces, None)) is not None:
                await transport.send_bytes(piece)
        finally:
            _close(answer)


def _close(answer: object) -> None:
    close = getattr(answer, "close", None)
    if close is not None:
        close()


def _environ(scope: Any, body: bytes) -> dict[str, Any]:  # noqa: ANN401
    """Return what PEP 3333 wants to know; nothing of this process's own environment is in it."""
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path,
        "QUERY_STRING": scope.query_string,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key not in {"CONTENT_LENGTH", "TRANSFER_ENCODING"}:
            key = f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
