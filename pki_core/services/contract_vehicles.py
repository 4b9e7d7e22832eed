"""The vehicles of contract orders: is the provisioning certificate in the PCP good now, and the EMAID free for it?

Answers of other people's CAs are asked for when they are older than a day, once a CA that does not answer.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.contract_orders import LONGEST_RENEWAL, ContractOrder
from pki_core.model.errors import MalformedError, UnavailableError
from pki_core.model.identifiers import Emaid, Pcid
from pki_core.model.limits import COMMON_NAME_LIMIT
from pki_core.model.partners import Partner
from pki_core.model.pools import (
    CONTRACT_ENDED,
    EMAID_TAKEN,
    PROVISIONING_NOT_AVAILABLE,
    STATUS_MAX_AGE,
    ForeignStatus,
    Namespace,
    ProvisioningKey,
    ProvisioningRow,
)
from pki_core.model.requests import Refused
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.services.pool_chains import ChainChecks
from pki_core.services.pool_provisioning import ROOTS
from pki_core.store.unit_of_work import Store
from pki_core.wire.contract_envelope import VehiclePublicKey
from pki_core.wire.contract_key import vehicle_key_of

STATUS_UNAVAILABLE = "vehicle.status_unavailable"
KEY_UNUSABLE = "vehicle.key_unusable"
TOO_LONG = "contract.answer_too_long"
PERIOD_INVALID = "contract.period_invalid"
_DUPLICATE = "Another order of this list names the same contract."


class Vehicle(NamedTuple):
    """What a contract is made for."""

    emaid: Emaid
    key: ProvisioningKey
    key_sha256: bytes
    namespace: Namespace
    public_key: VehiclePublicKey


class ContractVehicles:
    """Judges orders before a key is made for them."""

    def __init__(self, store: Store, clock: Clock, checks: ChainChecks) -> None:
        self._store = store
        self._clock = clock
        self._checks = checks

    def judge(
        self,
        partner: Partner | None,
        algorithm: KeyAlgorithm,
        orders: Sequence[ContractOrder],
        keep: Callable[[], None],
    ) -> list[Vehicle | Refused]:
        """Return the vehicle of each order, or why there will be no contract.

        ``keep`` is called ahead of each question to a foreign CA: together they may take longer than a lease.
        """
        now = self._clock.now()
        named = distinct(partner, [(order, algorithm) for order in orders], now)
        wanted = [one for one in named if not isinstance(one, Refused)]
        with self._store.reading() as work:
            standing = work.provisioning_pool.standing({key for _, key in wanted}) if wanted else []
            taken = work.contract_making.vehicles_of({emaid.canonical for emaid, _ in wanted})
        usable = self._usable(standing, now, keep)
        judged: list[Vehicle | Refused] = []
        for order, one in zip(orders, named, strict=True):
            if isinstance(one, Refused):
                judged.append(one)
                continue
            emaid, key = one
            vehicle = usable.get(key, "vehicle.not_available")
            if taken.get(emaid.canonical, key.pcid) != key.pcid:
                judged.append(refused(order, "contract.emaid_taken", EMAID_TAKEN))
            elif isinstance(vehicle, str):
                judged.append(refused(order, vehicle, _SENTENCES[vehicle]))
            else:
                row, public_key = vehicle
                # A row may be older than the rule that its message definition has keys of its algorithm.
                namespace = key.namespace_as_said(row.namespace) or key.namespace
                judged.append(Vehicle(emaid, key, row.key_sha256, namespace, public_key))
        return judged

    def _usable(
        self,
        standing: Sequence[tuple[ProvisioningRow, CertificateState | None]],
        now: datetime,
        keep: Callable[[], None],
    ) -> dict[ProvisioningKey, tuple[ProvisioningRow, VehiclePublicKey] | str]:
        """Return a row and its key for vehicles that can be trusted, a code for those that cannot."""
        with self._store.reading() as work:
            chains = {number: work.chains.get(number) for number in {row.chain_id for row, _ in standing}}
            anchored = {number: self._checks.leads_to_root(work, chain, ROOTS) for number, chain in chains.items()}
        silent: set[int] = set()
        asked: list[ProvisioningKey] = []
        found: dict[ProvisioningKey, tuple[ProvisioningRow, VehiclePublicKey] | str] = {}
        for row, state in standing:
            chain = chains[row.chain_id]
            is_good = state in {None, CertificateState.GOOD} and row.valid_to > now and anchored[row.chain_id]
            if is_good and state is None and now - row.checked_at > STATUS_MAX_AGE:
                keep()
                status = self._foreign_status(row, chain.certificates[0], silent)
                if status is None:
                    found[row.key] = STATUS_UNAVAILABLE
                    continue
                is_good = status is ForeignStatus.GOOD
                if is_good:
                    asked.append(row.key)
            if is_good:
                try:
                    found[row.key] = (row, vehicle_key_of(row.leaf_der))
                except MalformedError:
                    found[row.key] = KEY_UNUSABLE
        if asked:
            with self._store.transaction() as work:
                work.provisioning_pool.checked(asked, now)
        return found

    def _foreign_status(self, row: ProvisioningRow, issuer_der: bytes, silent: set[int]) -> ForeignStatus | None:
        if row.chain_id in silent:
            return None
        try:
            return self._checks.status_of(row.leaf_der, issuer_der)
        except UnavailableError:
            silent.add(row.chain_id)
            return None


_SENTENCES = {
    "vehicle.not_available": PROVISIONING_NOT_AVAILABLE,
    KEY_UNUSABLE: "The key of the vehicle's provisioning certificate cannot be used for encryption.",
    STATUS_UNAVAILABLE: "The CA of the vehicle's provisioning certificate does not tell its status; try again later.",
}


def distinct(
    partner: Partner | None, orders: Sequence[tuple[ContractOrder, KeyAlgorithm]], now: datetime
) -> list[tuple[Emaid, ProvisioningKey] | Refused]:
    """Return EMAID and vehicle of each order, or what speaks against its own words or beside the orders before it.

    An EMAID has one contract, whatever its vehicle speaks: it belongs to the first order that may name it.
    """
    named: list[tuple[Emaid, ProvisioningKey] | Refused] = []
    seen: set[str] = set()
    for order, algorithm in orders:
        found = _named(order, partner, algorithm, now)
        if not isinstance(found, Refused):
            if found[0].canonical in seen:
                found = refused(order, "row.duplicate_identifier", _DUPLICATE)
            else:
                seen.add(found[0].canonical)
        named.append(found)
    return named


def _named(
    order: ContractOrder, partner: Partner | None, algorithm: KeyAlgorithm, now: datetime
) -> tuple[Emaid, ProvisioningKey] | Refused:
    try:
        emaid = Emaid.parse(order.emaid)
        pcid = Pcid.parse(order.pcid, edition20=algorithm is not KeyAlgorithm.SECP256R1)
    except MalformedError as error:
        return refused(order, "identifier.invalid", str(error))
    if partner is not None and emaid.provider_prefix not in partner.provider_prefixes:
        message = f"{emaid.as_issued} starts with {emaid.provider_prefix}, which is not one of {partner.id}'s prefixes."
        return refused(order, "identifier.outside_prefixes", message)
    if order.ends <= now:
        return refused(order, "contract.ended", CONTRACT_ENDED)
    if order.begins >= order.ends:
        return refused(order, PERIOD_INVALID, "The contract ends before it begins.")
    if not 0 <= order.renew_days <= LONGEST_RENEWAL:
        return refused(order, "contract.renewal_invalid", f"A contract is renewed for 1 to {LONGEST_RENEWAL} days.")
    return emaid, ProvisioningKey(pcid.canonical, algorithm)


def unusable(order: ContractOrder) -> Refused:
    """Return the refusal of an order whose vehicle nothing can be encrypted for."""
    return refused(order, KEY_UNUSABLE, _SENTENCES[KEY_UNUSABLE])


def refused(order: ContractOrder, code: str, message: str) -> Refused:
    """Return the refusal of an order."""
    return Refused(reference=order.reference, code=code, message=message, common_name=order.emaid[:COMMON_NAME_LIMIT])
