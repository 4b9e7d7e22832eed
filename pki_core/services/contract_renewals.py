"""Renewals: contracts near their end are made anew, where their operator asked for it, for as long as he asked.

A renewal is an order like any other: vehicle, operator and EMAID are judged again, and a new key is made, of the kind
and below the V2G root that the contract had. What is due comes from SQL each time, so a run that broke off is gone on
with by the next; a contract that was renewed is not due. What an operator has to mend stops no others: it is told.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pki_core.model.clock import Clock
from pki_core.model.contract_orders import ContractOrder, RenewalReport
from pki_core.model.errors import (
    HsmUnavailableError,
    LeaseLostError,
    NotFoundError,
    OvertakenError,
    RequestError,
    StoreUnavailableError,
    UnavailableError,
    VehicleChangedError,
)
from pki_core.model.identifiers import EMAID_LENGTH
from pki_core.model.partners import Partner
from pki_core.model.requests import Outcome, Refused
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.contract_generation import ContractGeneration
from pki_core.services.expire import note_run
from pki_core.services.pool_events import STREAM
from pki_core.store.audit import AuditEntry
from pki_core.store.contract_making import DueContract
from pki_core.store.unit_of_work import Store

ACTOR = "renew-contracts"
_PIECE = 500


@dataclass(slots=True)
class _Done:
    """What a run has done so far."""

    renewed: int = 0
    refused: int = 0
    unfinished: bool = False
    is_over: bool = False
    failures: Counter[str] = field(default_factory=Counter)  # reason -> contracts


class ContractRenewals:
    """Renews contracts."""

    def __init__(self, store: Store, clock: Clock, generation: ContractGeneration, window: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._generation = generation
        self._window = window

    def run(self, *, dry_run: bool = False) -> RenewalReport:
        """Renew what ends within the window; a run that finds store or token away says so and ends."""
        done = _Done()
        now, after = self._clock.now(), ""
        while not done.is_over:
            with self._store.reading() as work:
                due = work.contract_making.due(now, now + self._window, after, _PIECE)
            if not due:
                break
            after = due[-1].emaid_as_issued[:EMAID_LENGTH]
            if dry_run:
                done.renewed += len(due)
            else:
                self._renew(due, done)
        if not dry_run and not done.is_over:
            note_run(self._store, self._clock, "renew_contracts")
        failures = tuple(f"{count} of {what}" for what, count in done.failures.items())
        return RenewalReport(done.renewed, done.refused, done.unfinished, failures)

    def _renew(self, due: Sequence[DueContract], done: _Done) -> None:
        groups: dict[tuple[str, KeyAlgorithm, str], list[DueContract]] = {}
        for one in due:
            groups.setdefault((one.partner_id, one.algorithm, one.cps_fingerprint), []).append(one)
        for group, contracts in groups.items():
            try:
                made = self._made(group, [self._order(one) for one in contracts])
            except (HsmUnavailableError, StoreUnavailableError):
                done.unfinished = done.is_over = True
                return
            except (LeaseLostError, OvertakenError, VehicleChangedError):
                done.unfinished = True
            except (RequestError, UnavailableError) as error:
                done.failures[f"{group[0]}, {group[1]}: {error}"] += len(contracts)
            else:
                refused = sum(1 for one in made if isinstance(one, Refused))
                done.refused += refused
                done.renewed += len(made) - refused

    def _made(self, group: tuple[str, KeyAlgorithm, str], orders: Sequence[ContractOrder]) -> list[Outcome]:
        partner_id, algorithm, root_sha256 = group
        partner = self._partner(partner_id)
        if partner is None or "mo" not in partner.roles:
            made: list[Outcome] = [_gone(order, partner_id) for order in orders]
        else:
            made = self._generation.renew(partner, algorithm, orders, root_sha256)
        self._note(made)
        return made

    def _order(self, one: DueContract) -> ContractOrder:
        return ContractOrder(
            reference=one.emaid_as_issued,
            emaid=one.emaid_as_issued,
            pcid=one.pcid,
            begins=self._clock.now(),
            ends=one.valid_to + timedelta(days=one.renew_days),
            renew_days=one.renew_days,
            renews=one.certificate_id,
            meta=one.meta or "",
        )

    def _partner(self, partner_id: str) -> Partner | None:
        try:
            with self._store.reading() as work:
                return work.partners.get(partner_id)
        except NotFoundError:
            return None

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        """Say which contracts will end for good, and why."""
        entries = [
            AuditEntry(ACTOR, "contract.not_renewed", detail=f"{one.reference}: {one.code}")
            for one in outcomes
            if isinstance(one, Refused)
        ]
        if entries:
            with self._store.transaction() as work:
                work.audit.append(STREAM, self._clock.now(), entries)


def _gone(order: ContractOrder, partner_id: str) -> Refused:
    message = f"partner {partner_id} is no mobility operator any more"
    return Refused(reference=order.reference, code="partner.not_authorized", message=message)
