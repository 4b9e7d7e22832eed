"""Uploads: reads a file of CSRs, or of contracts, into the store as a batch. The same file twice is the same batch.

A file is loaded in pieces, each in its own transaction, under the state ``loading``; it becomes a batch for others
with the last step. Rows that cannot be requests, and rows that repeat an earlier one, get their verdict here.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pki_core.model.batches import BatchKind, BatchRecord, Verdict
from pki_core.model.characters import without_controls
from pki_core.model.clock import Clock
from pki_core.model.errors import (
    ConflictError,
    LimitExceededError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    OverloadedError,
    PkiError,
    UnavailableError,
)
from pki_core.model.issuers import IssuerRecord
from pki_core.model.limits import FILE_NAME_LIMIT
from pki_core.model.profiles import IdentifierRule, Level, Profile
from pki_core.model.states import BatchState
from pki_core.services.names import NamePolicy
from pki_core.services.runners import is_dead, running
from pki_core.services.upload_repeats import RepeatJudge, name_key
from pki_core.store.audit import AuditEntry
from pki_core.store.times import to_seconds
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.batch_duplicates import RepeatedRows
from pki_core.wire.batch_file import BatchLimits, BatchRow, RowBuilder, file_digest, read_batch
from pki_core.wire.batch_rows import CsrRows
from pki_core.wire.contract_rows import ContractRows

_ROWS: Mapping[BatchKind, type[RowBuilder]] = {BatchKind.CSR: CsrRows, BatchKind.CONTRACT: ContractRows}
_CONTRACT_POOL = "ccp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file handed over by a partner."""

    path: Path
    source_name: str
    partner_id: str
    profile_name: str
    kind: BatchKind = BatchKind.CSR


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRules:
    """What uploads of an environment are held against."""

    profiles: Mapping[str, Profile]
    names: NamePolicy
    limits: BatchLimits
    chunk_rows: int


class Uploads:
    """Turns files into batches."""

    def __init__(self, store: Store, clock: Clock, rules: UploadRules) -> None:
        self._store = store
        self._clock = clock
        self._profiles = rules.profiles
        self._limits = rules.limits
        self._chunk_rows = rules.chunk_rows
        self._repeats = RepeatJudge(store, rules.names)

    def submit(self, upload: Upload) -> tuple[BatchRecord, bool]:
        """Load a file; returns the batch and whether it is a new one.

        Raises:
            NotFoundError, NotAuthorizedError: no such partner or profile, or not for this partner's roles.
            MalformedError, LimitExceededError: the file is refused whole; nothing of it is kept.
            ConflictError: this file is a batch of another kind already.
            OverloadedError: another process is loading this very file; the same call finds its batch in a moment.
        """
        if not upload.path.is_file():
            raise MalformedError(f"{upload.source_name} is not a regular file")
        size = upload.path.stat().st_size
        if size > self._limits.max_octets:
            raise LimitExceededError(f"the file has {size} octets; batches.max_octets allows {self._limits.max_octets}")
        digest = file_digest(upload.path)
        with running() as runner:
            try:
                batch, fresh = self._begin(upload, digest, runner)
            except ConflictError:  # PostgreSQL lets two look at once, and refuses the second row: now it can be seen
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
                    raise OverloadedError("another process is loading this file right now; submit it again in a while")
                return work.batches.get(known.id), True
            batch_id = f"{self._clock.now():%Y%m%d}-{secrets.token_hex(5)}"
            work.batches.add(
                id=batch_id,
                partner_id=partner.id,
                profile_id=work.issuers.pin_profile(profile, self._clock.now()),
                profile_name=profile.id,
                kind=upload.kind.value,
                issuer_id=issuer_in_service(work, profile).id,
                source_name=without_controls(upload.source_name[:FILE_NAME_LIMIT]),
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

    @staticmethod
    def _refuse_lost_batch(work: UnitOfWork, batch: BatchRecord) -> None:
        if not work.batches.still_loading(batch):
            raise ConflictError("another process has taken over the loading of this file")

    def _store_rows(self, batch: BatchRecord, path: Path) -> tuple[list[tuple[int, int, int]], int]:
        """Store items and early verdicts; return chunks as (first, last, refused rows) and the number of rows."""
        repeats = RepeatedRows()
        rule = self._profiles[batch.profile_name].subject.identifier
        refused: set[int] = set()
        total = 0
        for piece in read_batch(path, self._limits, _ROWS[batch.kind]):
            items = [
                (seq, row.row_id, row.csr_der, row.expected_identifier) for seq, row in enumerate(piece, start=total)
            ]
            early = list(_problems(piece, total, repeats, (batch.kind, rule)))
            with self._store.transaction() as work:
                self._refuse_lost_batch(work, batch)
                work.batches.add_items(batch.number, items)
                work.batches.add_verdicts(batch.number, early)
            refused.update(verdict.seq for verdict in early)
            total += len(piece)
        for verdicts in self._repeats.verdicts(batch, repeats):
            with self._store.transaction() as work:
                self._refuse_lost_batch(work, batch)
                work.batches.add_verdicts(batch.number, verdicts)
            refused.update(verdict.seq for verdict in verdicts)
        return _slices(total, sorted(refused), self._chunk_rows), total


def _problems(
    piece: list[BatchRow], start: int, repeats: RepeatedRows, named: tuple[BatchKind, IdentifierRule]
) -> Iterator[Verdict]:
    for seq, row in enumerate(piece, start=start):
        if row.problem is not None:
            code, message = row.problem
            yield Verdict(seq=seq, certificate_id=None, code=code, message=message, common_name="")
            continue
        repeats.add(seq, row_id=row.row_id.encode(), name=name_key(row, *named))


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


def issuer_in_service(work: UnitOfWork, profile: Profile, label: str = "") -> IssuerRecord:
    """Return the newest issuer that may sign a profile, or the newest of all when none may: signing then says why.

    ``label`` names the only one that comes into question. NotFoundError when there is none at all.
    """
    may_sign = [one for one in work.issuers.standing() if label in {"", one.label}]
    try:
        return issuer_for(profile, may_sign)
    except NotFoundError:
        return issuer_for(profile, [one for one in work.issuers.all() if label in {"", one.label}])
