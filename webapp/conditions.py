"""Conditional requests (RFC 9110 13): dates and tags of their headers, read in one way for every route.

A date that cannot be read counts as none was sent (13.1.3). werkzeug fails on some of them, so what it cannot read is
taken away before it looks.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from webapp.listeners import WsgiApp

_IF_RANGE = "HTTP_IF_RANGE"
_DATES = ("HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE")
_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110 8.8.3
_KEPT = 1024
_LONGEST = 64  # characters; no form of a date has more than 40


def http_date(text: str) -> datetime | None:
    """Return a date of HTTP (RFC 9110 5.6.7) in UTC, None for what is none, or lies beyond the year 9999."""
    return _read(text) if len(text) <= _LONGEST else None  # a header may have 64 KiB, and what is read is remembered


@lru_cache(maxsize=_KEPT)
def _read(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def names_tag(listed: str, tag: str) -> bool:
    """Tell whether If-None-Match names a tag, written with its quotes, by the weak comparison (RFC 9110 13.1.2)."""
    tags = {one.strip().removeprefix("W/") for one in listed.split(",")}
    return "*" in tags or tag in tags


class ReadableDates:
    """A WSGI application that sees only such conditions as have a date that can be read."""

    def __init__(self, app: WsgiApp) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Take unreadable conditions away, then answer."""
        for name in _DATES:
            if name in environ and http_date(environ[name]) is None:
                del environ[name]
        validator = environ.get(_IF_RANGE)
        if validator is not None and not _TAG.fullmatch(validator) and http_date(validator) is None:
            # RFC 9110 13.1.5: a validator that does not match makes the range void, not the condition.
            del environ[_IF_RANGE]
            environ.pop("HTTP_RANGE", None)
        return self._app(environ, start_response)
