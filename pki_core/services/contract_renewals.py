"""Renewals: contracts near their end are made anew, where their operator asked for it, for as long as he asked.

A renewal is an order like any other: vehicle, operator and EMAID are judged again, and a new key is made. What is due
comes from SQL each time, so a run that broke off is gone on with by the next; a contract that was renewed is not due.
"""

from collections.abc import Sequence
from datetime import timedelta

from pki_core.model.clock import Clock
from pki_core.model.contract_orders import ContractOrder, RenewalReport
from pki_core.model.errors import NotFoundError, UnavailableError
from pki_core.model.identifiers import EMAID_LENGTH
from pki_core.model.partners import Partner
from pki_core.model.pools import Namespace
from pki_core.model.requests import Outcome, Refused
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.contract_generation import ContractGeneration
from pki_core.services.pool_events import STREAM
from pki_core.store.audit import AuditEntry
from pki_core.store.contract_making import DueContract
from pki_core.store.unit_of_work import Store

ACTOR = "renew-contracts"
_PIECE = 500


class ContractRenewals:
    """Renews contracts."""

    def __init__(self, store: Store, clock: Clock, generation: ContractGeneration, window: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._generation = generation
        self._window = window

    def run(self, *, dry_run: bool = False) -> RenewalReport:
        """Renew what ends within the window; a run that finds a dependency away says so and ends."""
        renewed = refused = 0
        now, after = self._clock.now(), ""
        while True:
            with self._store.reading() as work:
                due = work.contract_making.due(now, now + self._window, after, _PIECE)
            if not due:
                return RenewalReport(renewed, refused, unfinished=False)
            after = due[-1].emaid_as_issued[:EMAID_LENGTH]
            if dry_run:
                renewed += len(due)
                continue
            try:
                outcomes = self._renew(due)
            except UnavailableError:
                return RenewalReport(renewed, refused, unfinished=True)
            refused += sum(1 for one in outcomes if isinstance(one, Refused))
            renewed += sum(1 for one in outcomes if not isinstance(one, Refused))

    def _renew(self, due: Sequence[DueContract]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        groups: dict[tuple[str, bool], list[DueContract]] = {}
        for one in due:
            groups.setdefault((one.partner_id, one.algorithm is not KeyAlgorithm.SECP256R1), []).append(one)
        for (partner_id, is_20), contracts in groups.items():
            partner = self._partner(partner_id)
            namespace = Namespace.ISO_20_2022 if is_20 else Namespace.ISO_2_2013
            orders = [self._order(one) for one in contracts]
            if partner is None or "mo" not in partner.roles:
                made: list[Outcome] = [_gone(order, partner_id) for order in orders]
            else:
                made = self._generation.generate(partner, orders, namespace)
            self._note(made)
            outcomes += made
        return outcomes

    def _order(self, one: DueContract) -> ContractOrder:
        now = self._clock.now()
        ends = one.valid_to + timedelta(days=one.renew_days)
        return ContractOrder(one.emaid_as_issued, one.emaid_as_issued, one.pcid, now, ends, one.renew_days)

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
