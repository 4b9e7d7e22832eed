"""Makes and publishes the next CRL of one scope of one issuer (RFC 5280 5), and its delta.

The order of acts, and what a power cut leaves behind each: *claim* (number drawn, burned for ever), *build and sign*
(a file that is gone), *guard*, *store* (a list nobody serves; the next run removes it), *publish* (one row moved).
"""

import hashlib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from pki_core.issuance.crl_lint import crl_findings
from pki_core.issuance.public_crl_lint import LONGEST, refuse_crl_findings
from pki_core.model.clock import Clock
from pki_core.model.crls import FULL, MARGIN, CrlKind, CrlPolicy, CrlRecord
from pki_core.model.errors import ConflictError, LintError, MalformedError, StoreUnavailableError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.revocations import Reason
from pki_core.model.signer import Signer
from pki_core.model.states import CertificateState
from pki_core.services import crl_guards as guards
from pki_core.services.crl_build import CrlFile
from pki_core.services.runners import is_dead, running
from pki_core.store.audit import AuditEntry
from pki_core.store.crls import PIECE_OCTETS
from pki_core.store.revocations import Listing
from pki_core.store.times import to_seconds
from pki_core.store.unit_of_work import Store
from pki_core.wire.crl import CrlPlan, entry_der, outer_frame, tbs_frame
from pki_core.wire.crl_read import decode_crl
from pki_core.wire.crl_scan import entries_in, scan_entries
from pki_core.wire.public_key import load_public_key

_SAMPLE = 20  # entries from each end that the public linter sees of a long list
_KEPT = 3  # lists of a scope; a reader may be halfway through the one before
_DELTAS_OUTLIVE = 3  # periods


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one CRL covers, and where it is found."""

    issuer: IssuerRecord
    name: str  # full, or the shard's two digits
    shard_url: str  # of the full list: "", it has no distribution point of its own
    freshest_url: str  # "" = there are no deltas

    @property
    def shard(self) -> int | None:
        """The shard's number."""
        return None if self.name == FULL else int(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run over a scope."""

    scope: Scope
    signer: Signer
    actor: str
    with_complete: bool = True
    approved: frozenset[str] = frozenset()  # guards that are passed over: g4, g5, g9
    approved_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What there was when a run began."""

    number: int  # drawn for this run
    signed: int  # highest number of any signed list
    complete: CrlRecord | None
    delta: CrlRecord | None


class ScopePublisher:
    """Publishes CRLs of scopes."""

    def __init__(self, store: Store, clock: Clock, policy: CrlPolicy) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy

    def publish(self, task: Task) -> list[CrlRecord]:
        """Make, guard and publish; returns what is served from now on.

        Raises:
            ConflictError: another runner is at it.
            CrlGuardError, LintError: it may not be published; the list before stays.
            UnavailableError: the store or the token is away; the same call may be made again.
        """
        issuer_id, scope = task.scope.issuer.id, task.scope.name
        with running() as runner:
            before = self._claim(task.scope, runner)
            try:
                with ExitStack() as stack:
                    made = self._make(task, before, stack)
                    for candidate in made:
                        self._guard(task, candidate, before)
                    return self._publish(task, runner, before, made)
            finally:
                with suppress(StoreUnavailableError), self._store.transaction() as work:  # the lease ends by itself
                    work.crls.give_back(issuer_id, scope, runner)

    def _claim(self, scope: Scope, runner: str) -> _Before:
        now, issuer_id = self._clock.now(), scope.issuer.id
        with self._store.transaction() as work:
            for kind in CrlKind:
                work.crls.prepare(issuer_id, scope.name, kind)
            holder, until = work.crls.holder(issuer_id, scope.name)
            if holder and until > now and not is_dead(holder):
                raise ConflictError(f"the CRL {scope.issuer.label} {scope.name} is being made by another runner")
            signed = work.crls.highest_number(issuer_id, scope.name)
            work.crls.discard_unpublished(issuer_id, scope.name)
            number = work.crls.claim(issuer_id, scope.name, runner, holder, now + self._policy.lease)
            if number is None:
                raise ConflictError(f"the CRL {scope.issuer.label} {scope.name} is being made by another runner")
            return _Before(
                number=number,
                signed=signed,
                complete=work.crls.published(issuer_id, scope.name, CrlKind.COMPLETE),
                delta=work.crls.published(issuer_id, scope.name, CrlKind.DELTA),
            )

    def _make(self, task: Task, before: _Before, stack: ExitStack) -> list[guards.Candidate]:
        """Build and sign the complete list, the delta, or both with the same number (RFC 5280 5.2.4)."""
        now = self._clock.now()
        scope, complete = task.scope, before.complete
        listing = Listing(scope.issuer.id, scope.shard)
        if complete is not None and task.with_complete:
            # Not later than now: a list of a clock that ran ahead says nothing of what ended until then.
            listing = listing._replace(
                ended_before=min(complete.this_update, now), changed_before=min(complete.snapshot, now) - MARGIN
            )
        plan = CrlPlan(
            issuer_der=scope.issuer.subject_der,
            key_identifier=scope.issuer.key_identifier,
            algorithm=scope.issuer.algorithm,
            number=before.number,
            this_update=now,
            next_update=now + self._policy.validity_of(scope.issuer.level),
            shard_url=scope.shard_url,
            freshest_url=scope.freshest_url,
        )
        made: list[tuple[CrlFile, CrlPlan]] = []
        with self._store.reading() as work:
            seen = work.crls.changes(scope.issuer.id, scope.shard, now - MARGIN)
            if task.with_complete:
                file = stack.enter_context(CrlFile())
                file.fill(work.revocations.entries(listing))
                made.append((file, plan))
            if scope.freshest_url:
                base = (complete.crl_number, complete.snapshot - MARGIN) if complete else (before.number, now)
                changes = listing._replace(since=base[1])
                file = stack.enter_context(CrlFile())
                if complete:
                    file.fill(work.revocations.entries(changes))
                    gone = [
                        *work.revocations.released(changes),
                        *((one, now) for one in work.revocations.ended(listing)),
                    ]
                    file.fill(entry_der(serial, moment, Reason.REMOVE_FROM_CRL) for serial, moment in gone)
                made.append((file, self._delta_plan(plan, base[0])))
        return [self._signed(task, file, one, seen) for file, one in made]

    def _delta_plan(self, plan: CrlPlan, base_number: int) -> CrlPlan:
        return CrlPlan(
            issuer_der=plan.issuer_der,
            key_identifier=plan.key_identifier,
            algorithm=plan.algorithm,
            number=plan.number,
            this_update=plan.this_update,
            next_update=plan.this_update + _DELTAS_OUTLIVE * self._policy.delta_period,
            base_number=base_number,
            shard_url=plan.shard_url,
        )

    def _signed(self, task: Task, file: CrlFile, plan: CrlPlan, seen: int) -> guards.Candidate:
        file.sign(plan, task.signer)
        try:
            decoded = decode_crl(file.read, file.octets)
            scan = scan_entries(*guards.entries_of(file.read, decoded))
        except MalformedError as error:
            raise LintError(f"the CRL of {task.scope.issuer.label} cannot be read back: {error}") from error
        return guards.Candidate(file=file, plan=plan, decoded=decoded, scan=scan, snapshot=plan.this_update, seen=seen)

    def _guard(self, task: Task, candidate: guards.Candidate, before: _Before) -> None:
        is_delta = candidate.plan.base_number is not None
        replaced = before.delta if is_delta else before.complete
        guards.g1_signature(candidate, load_public_key(task.scope.issuer.spki_der)[1])
        guards.g2_as_planned(candidate)
        guards.g3_number(candidate, before.signed, max(_number(before.complete), _number(before.delta)))
        in_time = None if "g4" in task.approved else replaced
        guards.g4_time(candidate, in_time, self._clock.now())
        guards.g6_snapshot(candidate, in_time)
        if findings := crl_findings(candidate.decoded, candidate.scan, candidate.plan):
            raise LintError(f"the CRL of {task.scope.issuer.label} breaks rules: {', '.join(findings)}")
        refuse_crl_findings(_short(candidate))
        if before.complete is None or is_delta:
            return
        if "g9" not in task.approved:
            guards.g9_growth(candidate, before.complete, self._policy)
        if "g5" not in task.approved:
            self._guard_continuity(task.scope.issuer.id, candidate, before.complete)

    def _guard_continuity(self, issuer_id: int, candidate: guards.Candidate, record: CrlRecord) -> None:
        with self._store.reading() as work:

            def states_of(serials: list[str]) -> dict[str, tuple[CertificateState, datetime]]:
                return work.revocations.states_of(issuer_id, serials)

            def read(at: int, count: int) -> bytes:
                return work.crls.read(record.id, at, min(count, record.octets - at))

            try:
                entries = guards.entries_of(read, decode_crl(read, record.octets))
                guards.g5_continuity(candidate, guards.Published(record=record, entries=entries), states_of)
            except MalformedError as error:
                raise guards.guard_error("g5", f"the list before cannot be read: {error}") from error

    def _publish(self, task: Task, runner: str, before: _Before, made: list[guards.Candidate]) -> list[CrlRecord]:
        records = [self._store_list(task.scope, candidate) for candidate in made]
        for record, candidate in zip(records, made, strict=True):
            with self._store.reading() as work:
                digest = hashlib.sha256()
                for piece in work.crls.pieces(record.id):
                    digest.update(piece)
            guards.g8_stored(digest.hexdigest(), candidate)
        now = self._clock.now()
        issuer_id, scope = task.scope.issuer.id, task.scope.name
        with self._store.transaction() as work:
            is_held = work.crls.is_held(issuer_id, scope, runner, now)
            replaced = {CrlKind.COMPLETE: before.complete, CrlKind.DELTA: before.delta}
            are_moved = [work.crls.point(one, old.id if (old := replaced[one.kind]) else None) for one in records]
            guards.g7_still_ours(is_held=is_held, is_moved=all(are_moved))
            for record in records:
                work.crls.drop_old(issuer_id, scope, record.kind, _KEPT)
            work.audit.append("crls", now, [_published_entry(task, record) for record in records])
        return records

    def _store_list(self, scope: Scope, candidate: guards.Candidate) -> CrlRecord:
        plan, file = candidate.plan, candidate.file
        record = {
            "issuer_id": scope.issuer.id,
            "scope": scope.name,
            "crl_number": plan.number,
            "base_number": plan.base_number,
            "entries": candidate.scan.count,
            "octets": file.octets,
            "sha256": file.sha256(),
            "seen": candidate.seen,
        }
        times = {"this_update": plan.this_update, "next_update": plan.next_update, "snapshot": candidate.snapshot}
        with self._store.transaction() as work:
            number = work.crls.add(**record, **{name: to_seconds(moment) for name, moment in times.items()})
            work.crls.add_pieces(number, file.pieces(PIECE_OCTETS))
        return CrlRecord(id=number, **record, **times)  # type: ignore[arg-type]  # the columns, by their names


def _number(record: CrlRecord | None) -> int:
    return record.crl_number if record else 0


def _published_entry(task: Task, record: CrlRecord) -> AuditEntry:
    approval = ""
    if task.approved:
        approval = f" {', '.join(sorted(task.approved))} approved by {', '.join(task.approved_by) or 'nobody (dev)'}"
    detail = f"{record.scope} {record.kind} number {record.crl_number} entries {record.entries}{approval}"
    return AuditEntry(
        actor=task.actor,
        action="crl.published",
        issuer_id=record.issuer_id,
        certificate_sha256=bytes.fromhex(record.sha256),
        detail=detail,
    )


def _short(candidate: guards.Candidate) -> bytes:
    """Return a CRL for the public linter: itself, or its frame around its first and last entries."""
    file, plan = candidate.file, candidate.plan
    if candidate.scan.count <= LONGEST:
        return file.read(0, file.octets)
    read, octets = candidate.entries
    tail = candidate.scan.last_block
    first = list(islice(entries_in(read, octets), _SAMPLE))
    last = list(entries_in(lambda at, count: read(tail + at, count), octets - tail))[-_SAMPLE:]
    sample = b"".join([*first, *last])
    before, behind = tbs_frame(plan, len(sample))
    tbs = before + sample + behind
    head, end = outer_frame(plan.algorithm, len(tbs), candidate.decoded.signature)
    return head + tbs + end
