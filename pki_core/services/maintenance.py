"""Maintenance of the issuing path: what crashed runners left behind is voided, discarded or offered again."""

from dataclasses import dataclass

from pki_core.model.clock import Clock
from pki_core.model.states import BatchState
from pki_core.services.runners import is_dead
from pki_core.store.unit_of_work import Store

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep found; with ``dry_run`` nothing of it was changed."""

    voided_reservations: int
    burned_serials: int
    discarded_uploads: int
    freed_chunks: int
    resumable: tuple[str, ...]  # ids of batches with open chunks and no living runner, their partners not suspended


class Maintenance:
    """Heals what a dead runner left."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def queued(self) -> list[str]:
        """Return the ids of batches that wait for a runner, oldest first; those of suspended partners wait on."""
        with self._store.reading() as work:
            suspended = work.partners.suspended()
            return [batch.id for batch in work.batches.in_state(BatchState.QUEUED, _PAGE, without=suspended)]

    def sweep_stuck(self, *, dry_run: bool = False) -> SweepReport:
        """Void reservations nobody holds, discard uploads whose loader died, free the chunks of dead runners."""
        voided, burned = self._void_reservations(dry_run=dry_run)
        discarded = self._discard_uploads(dry_run=dry_run)
        freed, resumable = self._free_chunks(dry_run=dry_run)
        return SweepReport(
            voided_reservations=voided,
            burned_serials=burned,
            discarded_uploads=discarded,
            freed_chunks=freed,
            resumable=resumable,
        )

    def _void_reservations(self, *, dry_run: bool) -> tuple[int, int]:
        now = self._clock.now()
        with self._store.reading() as work:
            expired = {number for number, _ in work.reservations.expired(now, _PAGE)}
            dead = {number for number, runner in work.reservations.held() if is_dead(runner)}
        burned = 0
        for number in sorted(expired | dead) if not dry_run else ():
            with self._store.transaction() as work:
                burned += work.reservations.void(number)
        return len(expired | dead), burned

    def _discard_uploads(self, *, dry_run: bool) -> int:
        with self._store.reading() as work:
            dead = [batch for batch in work.batches.in_state(BatchState.LOADING, _PAGE) if is_dead(batch.runner)]
        if dry_run:
            return len(dead)
        discarded = 0
        for batch in dead:
            with self._store.transaction() as work:
                discarded += work.batches.discard(batch.number, batch.runner)
        return discarded

    def _free_chunks(self, *, dry_run: bool) -> tuple[int, tuple[str, ...]]:
        freed, resumable = 0, []
        with self._store.reading() as work:
            running = [
                batch
                for state in (BatchState.RUNNING, BatchState.CANCELLING)
                for batch in work.batches.in_state(state, _PAGE)
            ]
            suspended = work.partners.suspended()
            holders = {batch.id: work.chunks.runners(batch.number, self._clock.now()) for batch in running}
        for batch in running:
            dead = [runner for runner in holders[batch.id] if is_dead(runner)]
            if not dry_run and dead:
                with self._store.transaction() as work:
                    freed += sum(work.chunks.expire_lease(batch.number, runner) for runner in dead)
            waits = batch.state is BatchState.RUNNING and batch.partner_id in suspended
            if len(dead) == len(holders[batch.id]) and not waits:
                resumable.append(batch.id)
        return freed, tuple(resumable)
