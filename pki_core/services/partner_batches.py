"""Batches as their partner sees them: his own, their progress, their rows. Those of others do not exist for him."""

from typing import NamedTuple

from pki_core.model.batches import BatchCounts, BatchRecord, BatchResult
from pki_core.model.clock import Clock
from pki_core.model.errors import NotFoundError
from pki_core.model.states import BatchState
from pki_core.services.batches import Batches
from pki_core.store.unit_of_work import Store

MAX_PAGE = 1000


class BatchView(NamedTuple):
    """One batch and how far it is."""

    batch: BatchRecord
    counts: BatchCounts
    rows_per_second: float  # since it was uploaded, the wait included


class BatchRow(NamedTuple):
    """One row of a batch; ``result`` None = no verdict yet."""

    seq: int
    row_id: str
    result: BatchResult | None


class PartnerBatches:
    """What a partner may know of, and do to, his batches."""

    def __init__(self, store: Store, clock: Clock, batches: Batches) -> None:
        self._store = store
        self._clock = clock
        self._batches = batches

    def status(self, partner_id: str, batch_id: str) -> BatchView:
        """Return a batch and its progress; NotFoundError when the partner has none of that id."""
        batch, counts = self._batches.status(batch_id)
        if batch.partner_id != partner_id or batch.state is BatchState.LOADING:
            raise NotFoundError(f"there is no batch {batch_id!r}")
        end = batch.finished_at or self._clock.now()
        seconds = max((end - batch.created_at).total_seconds(), 1.0)
        return BatchView(batch, counts, round((counts.issued + counts.refused) / seconds, 1))

    def recent(self, partner_id: str, before: str, limit: int) -> list[BatchRecord]:
        """Return a partner's batches, newest first; ``before`` is the last id of the page before, or ""."""
        below = self.status(partner_id, before).batch.number if before else None
        with self._store.reading() as work:
            return work.batches.of_partner(partner_id, below, min(limit, MAX_PAGE))

    def rows(self, partner_id: str, batch_id: str, after: int, limit: int) -> list[BatchRow]:
        """Return rows behind a sequence number (-1 = from the first), with their verdicts.

        Raises:
            NotFoundError: the partner has no such batch.
        """
        batch = self.status(partner_id, batch_id).batch
        with self._store.reading() as work:
            page = work.batches.page(batch.number, after, min(limit, MAX_PAGE))
        return [BatchRow(*row) for row in page]

    def cancel(self, partner_id: str, batch_id: str) -> BatchView:
        """Refuse what is not signed yet, and return what came of it.

        Raises:
            NotFoundError: the partner has no such batch.
        """
        self.status(partner_id, batch_id)
        self._batches.cancel(batch_id, partner_id)
        return self.status(partner_id, batch_id)
