"""Refused callers in the log (RFC 9110 15.5.2, 15.5.4): who he said he is, from where, why; a few lines a minute.

Lines and no audit rows: anybody may be refused as often as he likes, and the store is not his to fill.
"""

import logging
from collections import Counter
from threading import Lock
from time import monotonic

from flask import g, request

from pki_core.model.errors import SHOWN_LIMIT, NotAuthenticatedError, RequestError

_WINDOW = 60.0  # seconds
_MOST_OF_ONE, _MOST = 5, 100  # lines within it: of one caller at one address, of all

_log = logging.getLogger("pncpki.web")


class RefusalLog:
    """Writes refusals of one process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._written: Counter[tuple[str, str]] = Counter()
        self._begun = monotonic()

    def write(self, error: RequestError) -> None:
        """Write a line about the request at hand, unless there were many."""
        who, address = _shown(claimed()), request.remote_addr or "-"
        if not who and not request.authorization and isinstance(error, NotAuthenticatedError):
            return  # he shows nothing yet: clients of EST begin like that
        count = self._count((who, address))
        if count <= _MOST_OF_ONE:
            more = "; more of these are not written for a minute" if count == _MOST_OF_ONE else ""
            _log.warning(
                "refused %s %s: %s from %s: %s: %s%s",
                request.method,
                request.endpoint,
                who or "nobody",
                address,
                error.code,
                _shown(str(error)),
                more,
            )

    def _count(self, key: tuple[str, str]) -> int:
        """Return the how manieth line of a caller this is within the minute; too many when all together have enough."""
        with self._lock:
            now = monotonic()
            if now >= self._begun + _WINDOW:
                self._written.clear()
                self._begun = now
            if self._written[key] >= _MOST_OF_ONE or self._written.total() >= _MOST:
                return _MOST
            self._written[key] += 1
            return self._written[key]


def claim(partner_id: str) -> None:
    """Note who the caller is, or says he is."""
    g.claimed = partner_id


def claimed() -> str:
    """Return who the caller is, or says he is; "" when he says nothing that was read."""
    basic = request.authorization
    said = basic.username if basic is not None and basic.type == "basic" else ""
    return str(g.get("claimed", "") or said or "")


def _shown(text: str) -> str:
    """A line of a log stays a line, whatever somebody calls himself."""
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text[: 4 * SHOWN_LIMIT])
