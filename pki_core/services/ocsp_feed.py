"""Revocations of every process, seen here within a second: a look at the store's feed every half of one.

Looking is done beside the answering: a request that finds the last look old starts the next one, and waits for it only
when the one before is too old to be relied on. While the store is away nobody waits, and the feed says it is not fresh.

A look reads what carries a time after the one before, less what clocks differ and transactions last. That holds while
this machine's clock goes on; when it was set back, nobody knows where to look from, and all that is known is in doubt.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Lock
from time import monotonic

from pki_core.model.clock import Clock
from pki_core.model.errors import StoreUnavailableError
from pki_core.model.ocsp import StatusChange
from pki_core.store.unit_of_work import Store

LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 2.0  # for the store to answer, once: behind it the store is taken for away
_OVERLAP_SECONDS = 60  # clocks differ and commits arrive out of order: look back further than the last look
_SET_BACK_SECONDS = 2  # behind the time that passed: more than cutting to whole seconds makes, and far less than above
_MOST_CHANGES = 10_000

OnChange = Callable[[Sequence[StatusChange] | None, int], None]  # None = nobody can tell which; the number of the look


class RevocationFeed:
    """Tells of changes once each, and whether what is remembered may be relied on."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_change: OnChange,
        after_look: Callable[[], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._after_look = after_look
        self._every = look_seconds
        self.looks = 0  # finished ones
        self._looked_at = self._tried_at = -1e9  # when the last good look began, and the last one at all
        self._looked_until: int | None = None
        self._seen: set[StatusChange] = set()
        self._is_failing = False
        self._lock = Lock()
        self._running: Future[None] | None = None
        self._following: Future[None] | None = None
        self._looker: ThreadPoolExecutor | None = None

    def is_fresh(self) -> bool:
        """Tell whether every change older than a second has been told."""
        return monotonic() - self._looked_at < self._every or self._refresh()

    def close(self) -> None:
        """Wait for a look that is under way, and look no more."""
        with self._lock:
            looker, self._looker = self._looker, None
        if looker is not None:
            looker.shutdown()

    def _refresh(self) -> bool:
        with self._lock:
            now = monotonic()
            is_idle = self._running is None or self._running.done()
            if self._running is None or (is_idle and now - self._tried_at >= self._every):
                self._looker = self._looker or ThreadPoolExecutor(2, thread_name_prefix="ocsp-feed")
                self._tried_at = now
                self._running = self._looker.submit(self._look)
            running = self._running
        is_recent = now - self._looked_at < 2 * self._every
        if is_recent or self._is_failing:
            return is_recent
        try:
            running.result(_PATIENCE_SECONDS)
        except FutureTimeoutError:
            self._is_failing = True  # until a look ends well: one request waits, not each
        return not self._is_failing

    def _look(self) -> None:
        began = monotonic()
        now = int(self._clock.now().timestamp())
        last = now if self._looked_until is None else self._looked_until
        # Not by the clock alone: after long without a look, one that was set back is ahead of the last one again.
        passed = began - self._looked_at if self._looked_until is not None else 0.0
        was_set_back = now - last < passed - _SET_BACK_SECONDS
        try:
            with self._store.reading() as work:
                changes = work.ocsp.changed_since(last - _OVERLAP_SECONDS, _MOST_CHANGES)
        except StoreUnavailableError:
            self._is_failing = True
            return
        number = self.looks + 1
        if was_set_back or len(changes) == _MOST_CHANGES:
            self._on_change(None, number)
        elif news := [one for one in changes if one not in self._seen]:
            self._on_change(news, number)
        self._seen = set(changes)
        self.looks = number
        self._looked_until = now
        self._looked_at = began
        self._is_failing = False
        self._follow()

    def _follow(self) -> None:
        """Do what comes after a look in another thread: it may have to wait for writers, and looks must not."""
        with self._lock:
            if self._looker is not None and (self._following is None or self._following.done()):
                self._following = self._looker.submit(self._after_look)
