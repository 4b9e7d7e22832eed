"""Turns at other people's servers: how many askers may wait for them at once, and how long all calls of one may take.

Whoever serves requests asks while a thread of his waits. Without bounds a partner whose CA hangs would hold all of
them: each partner has a few turns, all together have some, and whoever finds none is told to come again at once.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from pki_core.model.errors import OutboundUnavailableError, OverloadedError
from pki_core.model.outbound import TurnPolicy

_SHARE = 2  # one call may take half of all the time: a CRL is tried where a responder hangs


@dataclass(slots=True)
class _Turn:
    """One asker's request: begun with its first call."""

    asker: str
    until: float = 0.0
    is_held: bool = False


class Turns:
    """Gives turns. Who never says for whom he asks (a flow, alone in its process) is not bounded."""

    def __init__(self, policy: TurnPolicy) -> None:
        self._policy = policy
        self._lock = Lock()
        self._held: Counter[str] = Counter()
        self._current: ContextVar[_Turn | None] = ContextVar("turn", default=None)

    @contextmanager
    def asked_by(self, asker: str) -> Iterator[None]:
        """Count every call within as the asker's, and all of them together against one time."""
        turn = _Turn(asker)
        before = self._current.set(turn)
        try:
            yield
        finally:
            self._current.reset(before)
            if turn.is_held:
                self._give_back(turn)

    def seconds_for_call(self) -> float | None:
        """Return how long the next call may take, None when that is not limited here; the first one takes the turn.

        Raises:
            OverloadedError: this asker, or all together, ask for too much at once.
            OutboundUnavailableError: the time for all calls is over.
        """
        turn = self._current.get()
        if turn is None:
            return None
        if not turn.is_held:
            self._take(turn)
        left = turn.until - monotonic()
        if left <= 0:
            raise OutboundUnavailableError("the time for asking is over")
        return min(left, self.longest_call)

    @property
    def asker(self) -> str:
        """For whom is asked now, "" for nobody who said so."""
        turn = self._current.get()
        return turn.asker if turn else ""

    @property
    def longest_call(self) -> float:
        """How long one call of an asker may take at most, in seconds."""
        return self._policy.seconds / _SHARE

    def _take(self, turn: _Turn) -> None:
        with self._lock:
            if self._held.total() >= self._policy.at_once or self._held[turn.asker] >= self._policy.of_one_asker:
                raise OverloadedError("too many certificates of other CAs are being asked about; try again")
            self._held[turn.asker] += 1
        turn.until, turn.is_held = monotonic() + self._policy.seconds, True

    def _give_back(self, turn: _Turn) -> None:
        with self._lock:
            self._held[turn.asker] -= 1
            if not self._held[turn.asker]:
                del self._held[turn.asker]  # partners come and go
