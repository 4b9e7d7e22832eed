"""Batches: signs an uploaded batch chunk by chunk; any number of runners, any number of times.

A chunk is claimed under a lease, issued through ``enroll.issue``, and finished in the transaction that records its
certificates and verdicts; one of contracts through ``contracts.issue``, which ends in the same place. Running again
equals running once: what is open is read from SQL each time. A chunk whose runner died is taken over and its
reservation voided; one that keeps killing its runners, that the database refuses again and again, or whose vehicles
change during every attempt, is cut smaller until the row that does it stands alone and is quarantined. What failed
twice stands behind the others. A cancelled batch goes the same way, but its chunks are refused instead of signed:
whoever runs it, and however often that breaks off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pki_core.model.batches import BatchCounts, BatchItem, BatchKind, BatchRecord, Chunk, Verdict
from pki_core.model.clock import Clock
from pki_core.model.errors import (
    ConflictError,
    CsrRejectedError,
    LeaseExpiredError,
    PkiError,
    RequestError,
    StoreUnavailableError,
    VehicleChangedError,
)
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.requests import IssueRequest
from pki_core.model.states import BatchState
from pki_core.services.batch_chunks import ChunkHooks, ChunkReport, change_issuer, finish_when_complete, refusal
from pki_core.services.contracts import Contracts
from pki_core.services.enroll import Enrollment
from pki_core.services.issuers import Issuers
from pki_core.services.orders import Order
from pki_core.services.registrations import UNREGISTERED, are_registered
from pki_core.services.runners import is_dead, running
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store
from pki_core.wire.contract_rows import parse_order
from pki_core.wire.csr import parse_csr

MAX_ATTEMPTS = 3  # failures of a runner over one chunk before it is cut smaller, and over one row before quarantine
_SLICES = 10
_STILL_LOADING = "this batch is still being loaded"
_CANCELLED = "The batch was cancelled before this row was signed."


@dataclass(frozen=True, slots=True)
class Ways:
    """What a row becomes a certificate by; the one for contracts is made when it is needed."""

    enrollment: Enrollment
    contracts: Callable[[], Contracts]
    registered_only: frozenset[str] = frozenset()  # branches whose names must be registered before they are certified


class Batches:
    """Signs batches and tells of their progress."""

    def __init__(self, store: Store, issuers: Issuers, ways: Ways, clock: Clock, lease_seconds: int) -> None:
        self._store = store
        self._issuers = issuers
        self._ways = ways
        self._clock = clock
        self._lease = timedelta(seconds=lease_seconds)

    def get(self, batch_id: str) -> BatchRecord:
        """Return a batch; NotFoundError when there is none."""
        with self._store.reading() as work:
            return work.batches.get(batch_id)

    def status(self, batch_id: str) -> tuple[BatchRecord, BatchCounts]:
        """Return a batch and its counts, from one snapshot."""
        with self._store.reading() as work:
            batch = work.batches.get(batch_id)
            return batch, work.batches.counts(batch)

    def check_ready(self, batch_id: str) -> None:
        """Bind the keys a batch is signed with.

        Raises:
            HsmUnavailableError, HsmPinRejectedError, KeyRejectedError: signing would fail; no row was touched.
        """
        batch = self.get(batch_id)
        self._issuers.get(batch.issuer_label)
        if batch.kind is BatchKind.CONTRACT:
            with self._store.reading() as work:
                profile = work.issuers.profile(batch.profile_id)
            self._ways.contracts().check_ready(profile.key_algorithms[0])

    def open_chunks(self, batch_id: str) -> int:
        """Return how many chunks are not done."""
        with self._store.reading() as work:
            return work.chunks.unfinished(work.batches.get(batch_id).number)

    def sign_next_chunk(self, batch_id: str, runner: str) -> ChunkReport | None:
        """Sign one chunk; None when no chunk is open to this runner.

        Raises:
            UnavailableError: the chunk is open again; call again later.
            InvariantError: our own fault, the run stops; the chunk is open again.
        """
        batch = self.get(batch_id)
        if batch.state is BatchState.LOADING:
            raise ConflictError(_STILL_LOADING)
        claimed = self._claim(batch, runner)
        if claimed is None:
            return None
        chunk, batch = claimed
        if batch.state is BatchState.CANCELLING:
            return self._refuse(batch, chunk)
        if chunk.attempts > MAX_ATTEMPTS:
            return self._isolate(chunk)
        return self._sign(batch, chunk)

    def cancel(self, batch_id: str, actor: str) -> None:
        """Refuse every row that is not signed yet; a batch that is done stays as it is. Running it twice is harmless.

        A chunk that is being signed is left to its runner: its certificates may exist.

        Raises:
            ConflictError: the batch is still being loaded.
        """
        while not self._mark_cancelled(batch_id, actor):
            pass  # a runner moved it in between; there are two states to go through at most
        with running() as runner:
            while self.sign_next_chunk(batch_id, runner) is not None:
                pass

    def _mark_cancelled(self, batch_id: str, actor: str) -> bool:
        now = self._clock.now()
        with self._store.transaction() as work:
            batch = work.batches.get(batch_id)
            if batch.state is BatchState.LOADING:
                raise ConflictError(_STILL_LOADING)
            if batch.state in {BatchState.CANCELLING, BatchState.DONE}:
                return True
            if not work.batches.move(batch, BatchState.CANCELLING, now):
                return False
            work.audit.append("batches", now, [AuditEntry(actor=actor, action="batch.cancelled", detail=batch_id)])
        return True

    def free_dead_runners(self, batch_id: str) -> int:
        """End the leases of runners of a batch that are known to be dead; return how many chunks that opens."""
        with self._store.transaction() as work:
            number = work.batches.get(batch_id).number
            holders = work.chunks.runners(number, self._clock.now())
            return sum(work.chunks.expire_lease(number, runner) for runner in holders if is_dead(runner))

    def _claim(self, batch: BatchRecord, runner: str) -> tuple[Chunk, BatchRecord] | None:
        """Take a chunk; return it with its batch as it stands by now."""
        now = self._clock.now()
        with self._store.transaction(forgettable=True) as work:  # lost at a power cut: the chunk is open again
            claimed = work.chunks.claim(batch.number, runner, now, now + self._lease)
            if claimed is None:
                finish_when_complete(work, batch, runner, self._clock)
                return None
            chunk, _ = claimed
            if chunk.reservation is not None:
                work.reservations.void(chunk.reservation)
            current = work.batches.get(batch.id)
            if current.state is BatchState.QUEUED:
                work.batches.move(current, BatchState.RUNNING, now)
            if current.state is not BatchState.CANCELLING and not work.issuers.stands(current.issuer_id):
                change_issuer(work, current, now)
                current = work.batches.get(batch.id)
        return chunk, current

    def _refuse(self, batch: BatchRecord, chunk: Chunk) -> ChunkReport:
        """Refuse what is open of a chunk of a cancelled batch."""
        with self._store.transaction() as work:
            items = work.batches.open_items(chunk.batch_number, chunk.first_seq, chunk.last_seq)
            work.chunks.finish(chunk, self._clock.now(), 0, len(items))  # first, as in recording
            work.batches.add_verdicts(
                chunk.batch_number, [refusal(item.seq, "batch.cancelled", _CANCELLED) for item in items]
            )
            finish_when_complete(work, batch, chunk.runner, self._clock)
        return ChunkReport(rows=len(items), issued=0, refused=len(items))

    def _sign(self, batch: BatchRecord, chunk: Chunk) -> ChunkReport:
        finished = innocent = False
        try:
            with self._store.reading() as work:
                items = work.batches.open_items(batch.number, chunk.first_seq, chunk.last_seq)
                partner = work.partners.get(batch.partner_id)
                profile = work.issuers.profile(batch.profile_id)
            order = Order(
                profile=profile,
                profile_id=batch.profile_id,
                profile_hash=batch.profile_hash,
                partner=partner,
                actor=batch.partner_id,
                runner=chunk.runner,
            )
            hooks = self._issue(batch, chunk, order, items)
            finished = True
        except LeaseExpiredError:
            # Too much for one lease: a smaller chunk may not be. But no row is given up because the token is slow.
            innocent = chunk.first_seq == chunk.last_seq
            raise
        except (PkiError, KeyboardInterrupt) as error:
            # What a row asks for cannot be, the database does not take it, or its vehicle changes again and again, and
            # nobody saw which: counted, so that it comes to stand alone. A clash with another writer is over at the
            # next attempt. Whatever else has a name is not these rows.
            innocent = not isinstance(error, RequestError | VehicleChangedError)
            raise
        finally:
            if not finished:
                self._release(chunk, count_attempt=not innocent)
        return hooks.report

    def _issue(self, batch: BatchRecord, chunk: Chunk, order: Order, items: Sequence[BatchItem]) -> ChunkHooks:
        issuer = self._issuers.get(batch.issuer_label)
        if batch.kind is BatchKind.CONTRACT:
            wanted = [parse_order(item.row_id, item.csr_der) for item in items]
            hooks = ChunkHooks(self._clock, batch, chunk, ([item.seq for item in items], []))
            self._ways.contracts().issue(issuer, order, wanted, hooks)
            return hooks
        requests, seqs, early = [], [], []
        for item in items:
            try:
                request = parse_csr(item.row_id, item.csr_der, item.expected_identifier)
            except CsrRejectedError as error:
                early.append(refusal(item.seq, error.reason, str(error)))
                continue
            requests.append(request)
            seqs.append(item.seq)
        if order.profile.branch in self._ways.registered_only:
            requests, seqs = self._registered(batch.partner_id, requests, seqs, early)
        hooks = ChunkHooks(self._clock, batch, chunk, (seqs, early))
        self._ways.enrollment.issue(issuer, order, requests, hooks)
        return hooks

    def _registered(
        self, partner_id: str, requests: list[IssueRequest], seqs: list[int], early: list[Verdict]
    ) -> tuple[list[IssueRequest], list[int]]:
        """Return the requests whose names the partner has announced; the others are refused."""
        names = [one.subject.common_name or "" for one in requests]
        with self._store.reading() as work:
            found = are_registered(work, partner_id, names)
        early += [refusal(seqs[at], *UNREGISTERED, names[at]) for at, is_known in enumerate(found) if not is_known]
        kept = [at for at, is_known in enumerate(found) if is_known]
        return [requests[at] for at in kept], [seqs[at] for at in kept]

    def _release(self, chunk: Chunk, *, count_attempt: bool) -> None:
        """Open the chunk for others. When the store is away too, its lease runs out by itself."""
        try:
            with self._store.transaction() as work:
                work.chunks.release(chunk, count_attempt=count_attempt)
        except StoreUnavailableError:
            return

    def _isolate(self, chunk: Chunk) -> ChunkReport:
        """Cut a chunk that keeps failing into smaller ones; a single row is quarantined."""
        size = chunk.last_seq - chunk.first_seq + 1
        now = self._clock.now()
        with self._store.transaction() as work:
            if size > 1:
                step = -(-size // _SLICES)
                starts = range(chunk.first_seq, chunk.last_seq + 1, step)
                slices = [
                    (start, min(start + step - 1, chunk.last_seq), chunk.refused if start == chunk.first_seq else 0)
                    for start in starts
                ]
                work.chunks.split(chunk, slices)
                return ChunkReport(rows=0, issued=0, refused=0)
            items = work.batches.open_items(chunk.batch_number, chunk.first_seq, chunk.last_seq)
            message = (
                f"Processing this row failed {MAX_ATTEMPTS} times without an answer; an operator has to look at it."
            )
            work.batches.add_verdicts(
                chunk.batch_number, [refusal(item.seq, "row.quarantined", message) for item in items]
            )
            work.chunks.finish(chunk, now, 0, len(items))
            detail = f"batch {chunk.batch_number} row {chunk.first_seq}"
            work.audit.append(
                "batches", now, [AuditEntry(actor=chunk.runner[:NAME_LIMIT], action="row.quarantined", detail=detail)]
            )
        return ChunkReport(rows=len(items), issued=0, refused=len(items))
