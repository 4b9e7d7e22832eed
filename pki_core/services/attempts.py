"""Failed attempts, counted for each client and address: whoever guesses is slowed down, whoever knows is not.

A right secret is believed however many wrong ones came before it: with 256 random bits there is nothing to guess, and
a lock would hand everybody the means to keep a partner out. Counts live in one process and are forgotten in a minute.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock

_WINDOW = timedelta(minutes=1)
_MOST = 10_000  # keys remembered


class Attempts:
    """Counts failures."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._failures: OrderedDict[tuple[str, ...], tuple[datetime, int]] = OrderedDict()
        self._lock = Lock()

    def fail(self, key: tuple[str, ...], now: datetime) -> bool:
        """Count a failure; return whether it is one too many within the minute."""
        with self._lock:
            since, count = self._failures.pop(key, (now, 0))
            if not since <= now < since + _WINDOW:
                since, count = now, 0
            self._failures[key] = (since, count + 1)
            while len(self._failures) > _MOST:
                self._failures.popitem(last=False)
            return count + 1 > self._most
