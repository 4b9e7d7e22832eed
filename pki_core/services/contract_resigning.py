"""Contract data signed anew (OPCP, CPS): its signer is revoked, has ended or ends soon, and a newer one has its place.

Only the provisioning service's chain and signature change. The envelope of the private key stays, so nobody's key is
needed but the signer's; what an operator, a vehicle or a MO CA put into it stays to the octet. What is due comes from
SQL each time, and data that changed meanwhile is left alone: a run that broke off is gone on with by the next.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.contract_orders import ResignReport
from pki_core.model.contracts import ContractMessage
from pki_core.model.cps import CpsSigner
from pki_core.model.errors import MalformedError, UnavailableError
from pki_core.model.pools import STATUS_MAX_AGE
from pki_core.model.profiles import Edition
from pki_core.services.contract_form import check_answer_by, named
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.cps_signers import CpsSigners
from pki_core.services.expire import note_run
from pki_core.services.pool_events import STREAM
from pki_core.store.audit import AuditEntry
from pki_core.store.contract_signers import SignedContractRow
from pki_core.store.unit_of_work import Store
from pki_core.wire.contract_data import chains_of, decode_message, message_fault, unsigned_by

ACTOR = "resign-contracts"
_WINDOW = 2000  # rows looked at by one query
_PIECE = 500  # answers signed and stored together
_OTHERS = 0  # contract.signer_id of data that another provisioning service signed


class _Due(NamedTuple):
    """One answer to be signed anew."""

    row: SignedContractRow
    message: ContractMessage
    contract_sha256: bytes


class _Plan(NamedTuple):
    """Which signers are on their way out, and who takes their place."""

    due: frozenset[int]
    successors: dict[int, CpsSigner]
    numbers: dict[bytes, int]  # of the signers of ours, by certificate
    labels: dict[int, str]


class ContractResigning:
    """Signs contract data anew."""

    def __init__(
        self, store: Store, clock: Clock, signers: CpsSigners, signing: ContractSigning, window: timedelta
    ) -> None:
        self._store = store
        self._clock = clock
        self._signers = signers
        self._signing = signing
        self._window = window

    def run(self, *, dry_run: bool = False, window: int = _WINDOW) -> ResignReport:
        """Sign anew what is due; a run that finds a dependency away says so and ends."""
        plan, report, after = self._plan(), ResignReport(0, 0, 0, 0, unfinished=False), ""
        while plan.due:
            with self._store.reading() as work:
                rows, last = work.contract_signers.signed_by(plan.due, self._clock.now(), after, window)
            try:
                for start in range(0, len(rows), _PIECE):
                    report = report.and_also(self._piece(plan, rows[start : start + _PIECE], dry_run=dry_run))
            except UnavailableError:
                return report._replace(unfinished=True)
            if not last:
                break
            after = last
        if not dry_run:
            note_run(self._store, self._clock, "resign_contracts")
        return report

    def _plan(self) -> _Plan:
        now, standings = self._clock.now(), self._signers.standings()
        due, successors = set(), {}
        for one in standings:
            if one.is_in_force and one.ends > now + self._window:
                continue
            due.add(one.signer.record.id)
            kind = one.signer.algorithm, one.signer.root_sha256
            alike = (other for other in standings if (other.signer.algorithm, other.signer.root_sha256) == kind)
            newest = next((other for other in alike if other.is_in_force), None)
            if newest is not None and newest is not one and (newest.ends > one.ends or not one.is_in_force):
                successors[one.signer.record.id] = newest.signer
        records = [one.signer.record for one in standings]
        numbers = {one.certificate_der: one.id for one in records}
        return _Plan(frozenset(due), successors, numbers, {one.id: one.label for one in records})

    def _piece(self, plan: _Plan, rows: Sequence[SignedContractRow], *, dry_run: bool) -> ResignReport:
        groups: dict[int, list[_Due]] = {}
        unknown: dict[int, list[str]] = {}
        waiting = postponed = refused = resigned = 0
        for row in rows:
            number, due = _read(plan, row)
            if row.signer_id is None:
                unknown.setdefault(number, []).append(row.emaid)
            if number not in plan.due:
                continue
            if not _has_successor(plan, number, due):
                waiting += 1
            elif due is None:
                refused += 1
            elif not row.is_own and self._clock.now() - row.checked_at > STATUS_MAX_AGE:
                postponed += 1
            else:
                groups.setdefault(number, []).append(due)
        if not dry_run and unknown:
            with self._store.transaction() as work:
                work.contract_pool.lock([emaid for emaids in unknown.values() for emaid in emaids])
                for number, emaids in unknown.items():
                    work.contract_signers.note(number, emaids)
        for number, group in groups.items():
            resigned += len(group) if dry_run else self._resign(plan, number, group)
        return ResignReport(resigned, waiting, postponed, refused, unfinished=False)

    def _resign(self, plan: _Plan, number: int, group: Sequence[_Due]) -> int:
        signer = plan.successors[number]
        signed = self._signing.signed([unsigned_by(one.message, signer.chain) for one in group], signer)
        change = f"{plan.labels[number]} -> {signer.record.label}"
        entries = []
        with self._store.transaction() as work:
            work.contract_pool.lock([one.row.emaid for one in group])  # in the order that everybody locks
            for one, data in zip(group, signed, strict=True):
                if work.contract_signers.replace(one.row.emaid, one.row.signed_data, data, signer.record.id):
                    detail = f"{one.row.emaid} {change}"
                    entries.append(
                        AuditEntry(ACTOR, "contract.resigned", certificate_sha256=one.contract_sha256, detail=detail)
                    )
            work.audit.append(STREAM, self._clock.now(), entries)
        return len(entries)


def _has_successor(plan: _Plan, number: int, due: _Due | None) -> bool:
    """Tell whether there is a next signer whose answer stations could carry: its certificates may be larger."""
    signer = plan.successors.get(number)
    if signer is None or due is None:
        return signer is not None
    chain = chains_of(due.message)[1]
    try:
        check_answer_by(signer, named(chain.certificate_der, chain.sub_certificates_der))
    except MalformedError:
        return False
    return True


def _read(plan: _Plan, row: SignedContractRow) -> tuple[int, _Due | None]:
    """Return who signed an answer, and the answer, None when that signature does not hold."""
    edition = Edition.ISO_20 if row.namespace.is_edition_20 else Edition.ISO_2
    try:
        message = decode_message(edition, row.signed_data)
        cps_chain, contract_chain = chains_of(message)
    except MalformedError:
        return (_OTHERS if row.signer_id is None else row.signer_id), None
    number = plan.numbers.get(cps_chain.certificate_der, _OTHERS)
    if number not in plan.due or message_fault(message, cps_chain.certificate_der):
        return number, None
    return number, _Due(row, message, hashlib.sha256(contract_chain.certificate_der).digest())
