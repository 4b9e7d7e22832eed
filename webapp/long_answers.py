"""Long answers (CRLs above all) to readers who take their time: few under way at once, in short pieces, with an end.

A reader that takes nothing holds a thread and what is buffered for it: both servers read ahead. Beyond the few, 503
and Retry-After (RFC 9110 15.6.4). What anybody may read and what partners read are counted apart.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from threading import BoundedSemaphore
from typing import Any

from webapp.errors import RETRY_AFTER_SECONDS
from webapp.listeners import WsgiApp, is_public

LONG = 32_768  # octets: what is shorter fits the buffers of a connection and holds nothing up
_PIECE = 32_768
_SHARE_OF_PUBLIC, _SHARE_OF_PARTNERS = 8, 4  # one thread in so many
_LATER = b"Too many long answers are under way; ask again.\n"
_WITHOUT_BODY = ("1", "204", "304")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """How many threads there are, and how long one answer may take; ``told`` hears of each piece of a long one."""

    threads: int
    seconds: float = inf
    told: Callable[[], None] = lambda: None


class LongAnswers:
    """A WSGI application of whose long answers only some are under way."""

    def __init__(self, app: WsgiApp, limits: AnswerLimits) -> None:
        self._app = app
        self._limits = limits
        self._public = BoundedSemaphore(max(limits.threads // _SHARE_OF_PUBLIC, 1))
        self._partners = BoundedSemaphore(max(limits.threads // _SHARE_OF_PARTNERS, 1))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Answer; a long answer when there is room for it."""
        begun: list[Any] = []

        def begin(status: str, headers: list[tuple[str, str]], *_error: Any) -> None:  # noqa: ANN401
            begun[:] = [status, headers]

        answer = self._app(environ, begin)
        status, headers = begun
        if environ["REQUEST_METHOD"] == "HEAD" or not _is_long(status, headers):
            start_response(status, headers)
            return answer
        room = self._public if is_public(environ.get("PATH_INFO", "")) else self._partners
        if not room.acquire(blocking=False):
            _close(answer)
            return come_again(environ, start_response, _LATER)
        start_response(status, headers)
        return _Pieces(answer, room, self._limits)


def come_again(environ: dict[str, Any], start_response: Any, text: bytes) -> Iterable[bytes]:  # noqa: ANN401  # WSGI
    """Answer that there is no room now, and when to ask again (RFC 9110 15.6.4, 10.2.3)."""
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    start_response("503 Service Unavailable", [*headers, ("Retry-After", str(RETRY_AFTER_SECONDS))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]


class _Pieces:
    """An answer in short pieces; its room is free again when it is closed, whether it was read to its end or not."""

    def __init__(self, answer: Iterable[bytes], room: BoundedSemaphore, limits: AnswerLimits) -> None:
        self._answer = answer
        self._room: BoundedSemaphore | None = room
        self._pieces = _short(answer)
        self._told = limits.told
        self._end = time.monotonic() + limits.seconds

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if time.monotonic() >= self._end:
            raise StopIteration  # shorter than its Content-Length: the server closes the connection
        self._told()
        return next(self._pieces)

    def close(self) -> None:
        """Give the room back, once."""
        if self._room is not None:
            self._room.release()
            self._room = None
            _close(self._answer)


def _short(answer: Iterable[bytes]) -> Iterator[bytes]:
    for block in answer:
        for start in range(0, len(block), _PIECE):
            yield block[start : start + _PIECE]


def _is_long(status: str, headers: list[tuple[str, str]]) -> bool:
    for name, value in headers:
        if name.lower() == "content-length":
            return int(value) > LONG
    return not status.startswith(_WITHOUT_BODY)  # its length shows when it is read


def _close(answer: Iterable[bytes]) -> None:
    close = getattr(answer, "close", None)
    if close is not None:
        close()
