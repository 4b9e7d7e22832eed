"""What becomes of a chunk: verdicts of its rows beside their certificates; with the last chunk its batch is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pki_core.model.batches import BatchRecord, Chunk, Verdict
from pki_core.model.clock import Clock
from pki_core.model.errors import IssuerRevokedError
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.requests import Issued, Outcome
from pki_core.model.states import BatchState
from pki_core.services.enroll import NoHooks
from pki_core.services.uploads import issuer_in_service
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkReport:
    """What became of one chunk."""

    rows: int
    issued: int
    refused: int


class ChunkHooks(NoHooks):
    """Ties a chunk to its reservation, and its verdicts to its certificates."""

    def __init__(
        self, clock: Clock, batch: BatchRecord, chunk: Chunk, rows: tuple[Sequence[int], Sequence[Verdict]]
    ) -> None:
        self._clock = clock
        self._batch = batch
        self._chunk = chunk
        self._seqs, self._early = rows  # of the requests; the verdicts that need no signing
        self.report = ChunkReport(rows=0, issued=0, refused=0)

    def reserved(self, work: UnitOfWork, reservation: int) -> None:
        """Tie the chunk to its reservation."""
        work.chunks.attach(self._chunk, reservation)

    def renewed(self, work: UnitOfWork, times: tuple[datetime, datetime]) -> None:
        """Hold on to the chunk."""
        work.chunks.renew(self._chunk, *times)

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Write the verdicts and finish the chunk, and with the last one the batch."""
        verdicts = [*self._early]
        verdicts.extend(_verdict(seq, outcome) for seq, outcome in zip(self._seqs, outcomes, strict=True))
        issued = sum(1 for verdict in verdicts if verdict.certificate_id is not None)
        refused = len(verdicts) - issued
        work.chunks.finish(self._chunk, self._clock.now(), issued, refused)  # first: it tells a late runner that it is
        work.batches.add_verdicts(self._chunk.batch_number, verdicts)
        finish_when_complete(work, self._batch, self._chunk.runner, self._clock)
        self.report = ChunkReport(rows=len(verdicts), issued=issued, refused=refused)


def change_issuer(work: UnitOfWork, batch: BatchRecord, now: datetime) -> None:
    """Give a batch whose CA fell another one, if none of its rows is issued: its results tell one chain for all.

    Raises:
        IssuerRevokedError: there is none, or rows are issued; its open rows wait.
    """
    found = issuer_in_service(work, work.issuers.profile(batch.profile_id))
    if found.id == batch.issuer_id or not work.issuers.stands(found.id):
        raise IssuerRevokedError(
            f"CA {batch.issuer_label}, or one above it, is revoked or on hold: batch {batch.id} waits for another one"
        )
    if work.batches.counts(batch).issued:
        raise IssuerRevokedError(
            f"CA {batch.issuer_label} of batch {batch.id} is revoked or on hold, and signed some of its rows already: "
            "cancel the batch and have its other rows submitted again"
        )
    work.batches.change_issuer(batch.number, found.id)
    detail = f"{batch.id}: {found.label} in the place of {batch.issuer_label}"
    work.audit.append("batches", now, [AuditEntry("batches", "batch.issuer_changed", found.id, detail=detail)])


def finish_when_complete(work: UnitOfWork, batch: BatchRecord, runner: str, clock: Clock) -> None:
    """Move a batch to done when its last chunk is; two that finish at once leave it to the next claim."""
    if batch.state is BatchState.DONE or work.chunks.unfinished(batch.number):
        return
    now = clock.now()
    current = work.batches.get(batch.id)
    if current.state is not BatchState.DONE and work.batches.move(current, BatchState.DONE, now):
        work.audit.append("batches", now, [AuditEntry(actor=runner[:NAME_LIMIT], action="batch.done", detail=batch.id)])


def _verdict(seq: int, outcome: Outcome) -> Verdict:
    if isinstance(outcome, Issued):
        return Verdict(
            seq=seq,
            certificate_id=outcome.certificate_id,
            code="issued",
            message=" ".join(outcome.warnings),
            common_name=outcome.common_name,
        )
    return refusal(seq, outcome.code, outcome.message, outcome.common_name)


def refusal(seq: int, code: str, message: str, common_name: str = "") -> Verdict:
    """Return the verdict of a row that gets no certificate."""
    return Verdict(seq=seq, certificate_id=None, code=code, message=message, common_name=common_name)
