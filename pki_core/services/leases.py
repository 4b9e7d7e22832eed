"""Leases: a runner's hold on what it signs, renewed while a slow token is still at it."""

from datetime import datetime, timedelta
from typing import Protocol

from pki_core.model.clock import Clock
from pki_core.store.unit_of_work import Store, UnitOfWork

NOT_RESERVED = 0  # reservations are counted from 1
_PARTS = 3  # renewed when one of them is over: the others bridge a token that stalls


class Renewing(Protocol):
    """Who holds something of its own for as long as the reservation is held."""

    def renewed(self, work: UnitOfWork, times: tuple[datetime, datetime]) -> None:
        """Hold it on; ``times`` is (now, the new end of the lease)."""
        ...


class Lease:
    """The lease of one reservation, or of what its caller holds before there is one. One thread at a time."""

    def __init__(
        self, store: Store, clock: Clock, length: timedelta, since: datetime, held: tuple[int, str, Renewing]
    ) -> None:
        self._store = store
        self._clock = clock
        self._length = length
        self._due = since + length / _PARTS
        self.reservation, self._runner, self._caller = held

    def keep(self) -> None:
        """Renew the lease when a third of it is over; before that, only the clock is read.

        Raises:
            LeaseLostError: it ran out or was taken over; what was signed under it is void.
            StoreUnavailableError: the database is away.
        """
        now = self._clock.now()
        if now < self._due:
            return
        times = (now, now + self._length)
        with self._store.transaction(forgettable=True) as work:  # lost at a power cut: the old end holds
            self._caller.renewed(work, times)  # the caller's rows first: whoever takes over locks them in this order
            if self.reservation != NOT_RESERVED:
                work.reservations.renew(self.reservation, self._runner, times)
        self._due = now + self._length / _PARTS
