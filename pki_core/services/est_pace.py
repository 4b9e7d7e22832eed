"""How fast one partner may ask: a count for each minute, kept by every process for itself."""

from collections import Counter
from threading import Lock

from pki_core.model.clock import Clock
from pki_core.model.errors import TooManyRequestsError

_MINUTE = 60


class Pace:
    """Counts the requests of partners; a runaway client of one must not take the keys' time from all others."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._minute = 0
        self._asked: Counter[str] = Counter()
        self._lock = Lock()

    def count(self, partner_id: str) -> None:
        """Count one request; TooManyRequestsError when the partner has had all of this minute's."""
        if not self._per_minute:
            return
        minute = int(self._clock.now().timestamp()) // _MINUTE
        with self._lock:
            if minute != self._minute:
                self._minute = minute
                self._asked.clear()
            self._asked[partner_id] += 1
            asked = self._asked[partner_id]
        if asked > self._per_minute:
            raise TooManyRequestsError(f"{self._per_minute} requests a minute are allowed; ask again in the next one")
