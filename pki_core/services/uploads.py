"""Uploads: reads a file of CSRs, or of contracts, into the store as a batch. The same file twice is the same batch.

A file is loaded in pieces, each in its own transaction, under the state ``loading``; it becomes a batch for others
with the last step. Rows that cannot be requests, and rows that repeat an earlier one, get their verdict here.
"""

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pki_core.model.batches import BatchKind, BatchRecord, Verdict
from pki_core.model.clock import Clock
from pki_core.model.errors import (
    ConflictError,
    CsrRejectedError,
    LimitExceededError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    PkiError,
    UnavailableError,
)
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import IdentifierRule, Level, Profile
from pki_core.model.states import BatchState
from pki_core.services.enroll import prove_possession
from pki_core.services.runners import is_dead, running
from pki_core.store.audit import AuditEntry
from pki_core.store.times import to_seconds
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.batch_duplicates import RepeatedRows
from pki_core.wire.batch_file import BatchLimits, BatchRow, RowBuilder, file_digest, read_batch
from pki_core.wire.batch_rows import CsrRows
from pki_core.wire.contract_rows import ContractRows
from pki_core.wire.csr import parse_csr, peek_common_name

_REPEATS = {
    "row_id": ("row.duplicate_id", "The row id was used before in this file, in row {first}."),
    "csr": ("row.duplicate_csr", "The same request stands in row {first} of this file."),
    "name": ("row.duplicate_identifier", "Row {first} of this file names the same identifier."),
}
_ROWS: Mapping[BatchKind, type[RowBuilder]] = {BatchKind.CSR: CsrRows, BatchKind.CONTRACT: ContractRows}
_CONTRACT_POOL = "ccp"
_SEPARATORS = b"-*"
_EMAID_KEY = 14  # without its check digit an EMAID is the same identifier
_WHOLE_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file handed over by a partner."""

    path: Path
    source_name: str
    partner_id: str
    profile_name: str
    kind: BatchKind = BatchKind.CSR


class Uploads:
    """Turns files into batches."""

    def __init__(
        self, store: Store, clock: Clock, profiles: Mapping[str, Profile], limits: BatchLimits, chunk_rows: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._profiles = profiles
        self._limits = limits
        self._chunk_rows = chunk_rows

    def submit(self, upload: Upload) -> tuple[BatchRecord, bool]:
        """Load a file; returns the batch and whether it is a new one.

        Raises:
            NotFoundError, NotAuthorizedError: no such partner or profile, or not for this partner's roles.
            MalformedError, LimitExceededError: the file is refused whole; nothing of it is kept.
            ConflictError: another process is loading this very file.
        """
        if not upload.path.is_file():
            raise MalformedError(f"{upload.source_name} is not a regular file")
        size = upload.path.stat().st_size
        if size > self._limits.max_octets:
            raise LimitExceededError(f"the file has {size} octets; batches.max_octets allows {self._limits.max_octets}")
        digest = file_digest(upload.path)
        with running() as runner:
            batch, fresh = self._begin(upload, digest, runner)
            if not fresh:
                return batch, False
            try:
                return self._load(batch, upload, digest), True
            except PkiError:
                self._discard(batch, runner)
                raise
            except MemoryError as error:  # the limit of the process that loads for the front
                self._discard(batch, runner)
                raise LimitExceededError("the file takes more memory than one may") from error

    def _discard(self, batch: BatchRecord, runner: str) -> None:
        """Keep nothing of a refused file. When the store is away too, the next upload or sweep does it."""
        try:
            with self._store.transaction() as work:
                work.batches.discard(batch.number, runner)
        except UnavailableError:
            return

    def _begin(self, upload: Upload, digest: str, runner: str) -> tuple[BatchRecord, bool]:
        profile = self._profiles.get(upload.profile_name)
        if profile is None or profile.level is not Level.LEAF or profile.is_of_responders:
            raise NotFoundError(f"there is no certificate profile {upload.profile_name!r} for batches")
        with self._store.transaction() as work:
            partner = work.partners.get(upload.partner_id)
            if upload.kind is BatchKind.CONTRACT and profile.pool != _CONTRACT_POOL:
                raise NotFoundError(f"{profile.id} is no certificate profile of contracts")
            if profile.branch not in partner.roles:
                raise NotAuthorizedError(f"partner {partner.id} has no role that allows {profile.id} certificates")
            known = work.batches.find_source(partner.id, profile.id, digest)
            if known is not None and known.kind is not upload.kind:
                raise ConflictError(f"this file is batch {known.id} already, of another kind")
            if known is not None and known.state is not BatchState.LOADING:
                return known, False
            if known is not None:
                if not is_dead(known.runner) or not work.batches.restart_loading(known, runner):
                    raise ConflictError("another process is loading this file right now")
                return work.batches.get(known.id), True
            batch_id = f"{self._clock.now():%Y%m%d}-{secrets.token_hex(5)}"
            work.batches.add(
                id=batch_id,
                partner_id=partner.id,
                profile_id=work.issuers.pin_profile(profile, self._clock.now()),
                profile_name=profile.id,
                kind=upload.kind.value,
                issuer_id=issuer_for(profile, work.issuers.all()).id,
                source_name=upload.source_name[:255],
                source_sha256=digest,
                state=BatchState.LOADING.value,
                runner=runner,
                total=0,
                created_at=to_seconds(self._clock.now()),
            )
            return work.batches.get(batch_id), True

    def _load(self, batch: BatchRecord, upload: Upload, digest: str) -> BatchRecord:
        slices, total = self._store_rows(batch, upload.path)
        now = self._clock.now()
        with self._store.transaction() as work:
            self._refuse_lost_batch(work, batch)
            work.chunks.add(batch.number, slices)
            work.batches.move(batch, BatchState.QUEUED, now, total)
            detail = f"{batch.id} file {digest} rows {total}"
            entry = AuditEntry(actor=upload.partner_id, action="batch.submitted", detail=detail)
            work.audit.append("batches", now, [entry])
            return work.batches.get(batch.id)

    def _settle_names(
        self, batch: BatchRecord, repeats: RepeatedRows, refused: set[int]
    ) -> Iterator[tuple[int, str, int]]:
        """Yield the rows that repeat another. A name belongs to the first row whose request proves its key."""
        profile = self._profiles[batch.profile_name]
        same_name: dict[int, list[int]] = {}
        for seq, kind, first in repeats.found():
            if kind == "name":
                same_name.setdefault(first, [first]).append(seq)
            elif seq not in refused:
                yield seq, kind, first
        for rows in same_name.values():
            is_proven = batch.kind is BatchKind.CONTRACT  # nobody has to prove a key that we make
            holder = next((seq for seq in rows if is_proven or self._is_provable(batch, seq, profile)), None)
            if holder is not None:
                yield from ((seq, "name", holder) for seq in rows if seq > holder)

    def _is_provable(self, batch: BatchRecord, seq: int, profile: Profile) -> bool:
        with self._store.reading() as work:
            items = work.batches.open_items(batch.number, seq, seq)
        try:
            for item in items:
                prove_possession(parse_csr(item.row_id, item.csr_der), profile)
        except CsrRejectedError:
            return False
        return bool(items)

    @staticmethod
    def _refuse_lost_batch(work: UnitOfWork, batch: BatchRecord) -> None:
        if not work.batches.still_loading(batch):
            raise ConflictError("another process has taken over the loading of this file")

    def _store_rows(self, batch: BatchRecord, path: Path) -> tuple[list[tuple[int, int, int]], int]:
        """Store items and early verdicts; return chunks as (first, last, refused rows) and the number of rows."""
        repeats = RepeatedRows()
        is_emaid = self._profiles[batch.profile_name].subject.identifier is IdentifierRule.EMAID
        key_length = _EMAID_KEY if is_emaid else _WHOLE_NAME
        refused: set[int] = set()
        total = 0
        for piece in read_batch(path, self._limits, _ROWS[batch.kind]):
            items = [
                (seq, row.row_id, row.csr_der, row.expected_identifier) for seq, row in enumerate(piece, start=total)
            ]
            early = list(_problems(piece, total, repeats, (batch.kind, key_length)))
            refused.update(verdict.seq for verdict in early)
            with self._store.transaction() as work:
                self._refuse_lost_batch(work, batch)
                work.batches.add_items(batch.number, items)
                work.batches.add_verdicts(batch.number, early)
            total += len(piece)
        again = [
            Verdict(
                seq=seq,
                certificate_id=None,
                code=_REPEATS[kind][0],
                message=_REPEATS[kind][1].format(first=first + 1),
                common_name="",
            )
            for seq, kind, first in self._settle_names(batch, repeats, refused)
            if seq not in refused
        ]
        if again:
            with self._store.transaction() as work:
                self._refuse_lost_batch(work, batch)
                work.batches.add_verdicts(batch.number, again)
        refused.update(verdict.seq for verdict in again)
        return _slices(total, sorted(refused), self._chunk_rows), total


def _problems(
    piece: list[BatchRow], start: int, repeats: RepeatedRows, named: tuple[BatchKind, int]
) -> Iterator[Verdict]:
    kind, key_length = named
    for seq, row in enumerate(piece, start=start):
        if row.problem is not None:
            code, message = row.problem
            yield Verdict(seq=seq, certificate_id=None, code=code, message=message, common_name="")
            continue
        name = row.expected_identifier.encode() if kind is BatchKind.CONTRACT else peek_common_name(row.csr_der)
        name = name.upper().translate(None, _SEPARATORS)[:key_length]
        repeats.add(seq, row_id=row.row_id.encode(), csr=hashlib.sha256(row.csr_der).digest(), name=name)


def _slices(total: int, refused: list[int], step: int) -> list[tuple[int, int, int]]:
    slices, position = [], 0
    for first in range(0, total, step):
        last = min(first + step, total) - 1
        count = 0
        while position < len(refused) and refused[position] <= last:
            position, count = position + 1, count + 1
        slices.append((first, last, count))
    return slices


def issuer_for(profile: Profile, issuers: list[IssuerRecord]) -> IssuerRecord:
    """Return the newest active issuer of a leaf profile's branch; its key algorithms are tried in order."""
    for algorithm in profile.key_algorithms:
        made = [
            issuer
            for issuer in issuers
            if (issuer.branch, issuer.level, issuer.edition, issuer.algorithm)
            == (profile.branch, profile.issuer_level, profile.edition, algorithm)
            and issuer.certificate_der
        ]
        if made:
            return made[-1]
    raise NotFoundError(f"this environment has no issuer for {profile.id}")
