"""The CCP: signed contract data by EMAID (OPCP, contract certificate pool). Nobody sees another operator's contract.

One EMAID has one contract and one PCID; a vehicle's first contract is its default, and when that goes no other one
becomes it by itself.
"""

import hashlib
from collections.abc import Sequence

from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, LimitExceededError, MalformedError, NotAuthorizedError, NotFoundError
from pki_core.model.identifiers import Emaid, Pcid, provider_of, wmi_of
from pki_core.model.limits import SHA256_DIGITS
from pki_core.model.partners import Partner
from pki_core.model.pools import (
    CONTRACT_ENDED,
    CONTRACT_NOT_FOUND,
    CONTRACT_OR_VEHICLE_NOT_FOUND,
    EMAID_TAKEN,
    PROVISIONING_NOT_AVAILABLE,
    ContractRow,
    ContractUpload,
    ProvisioningKey,
    ProvisioningRow,
    Removal,
    RootKind,
)
from pki_core.services.pool_chains import ChainChecks, CheckedChain, read_chain
from pki_core.services.pool_events import CREATED, STREAM, UPDATED, told_both
from pki_core.services.pool_removal import PoolRemoval
from pki_core.services.shown_contracts import ShownContracts
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork

MAX_SIGNED_OCTETS = 65_536  # ten times what a charging station takes
ROOTS = (RootKind.MO, RootKind.V2G)


class ContractPool:
    """Contracts by EMAID."""

    def __init__(
        self, store: Store, clock: Clock, checks: ChainChecks, removal: PoolRemoval, shown: ShownContracts
    ) -> None:
        self._store = store
        self._clock = clock
        self._checks = checks
        self._removal = removal
        self._shown = shown

    def publish(self, partner: Partner, upload: ContractUpload) -> bool:
        """Add a contract, or put it in the place of the one with its EMAID; returns whether it is new.

        Raises:
            MalformedError, LimitExceededError: a part cannot be read, or is too large.
            NotAuthorizedError: the EMAID is another operator's.
            ConflictError: the EMAID is used with another PCID, the vehicle has no certificate in the PCP, or the
                contract's certificates have ended, are revoked or lead to no root of the RCP.
            UnavailableError: a CA does not tell the status; nothing was changed.
        """
        if not 0 < len(upload.signed_data) <= MAX_SIGNED_OCTETS:
            raise LimitExceededError(f"signed contract data has 1 to {MAX_SIGNED_OCTETS} octets")
        emaid = Emaid.parse(upload.emaid)
        Pcid.parse(upload.pcid, edition20=True)
        if not _may_write(partner, emaid):
            raise NotAuthorizedError(f"contracts of {emaid.provider_prefix} are not this partner's")
        checked = self._check(upload, emaid)
        key = ProvisioningKey(Pcid.parse(upload.pcid, edition20=True).canonical, upload.algorithm)

        def store(work: UnitOfWork) -> bool:
            self.lock(work, [(emaid, key)])
            return self.put(work, partner, upload, checked)

        return self._store.with_second_look(store)

    def _check(self, upload: ContractUpload, emaid: Emaid) -> CheckedChain:
        sub2 = [("contractSubCa2Certificate", upload.sub2_der)] if upload.sub2_der else []
        leaf, *above = read_chain(
            upload.leaf_der, [*sub2, ("contractSubCa1Certificate", upload.sub1_der)], "contractCertificate"
        )
        if leaf.is_ca or Emaid.parse(leaf.common_name) != emaid:
            raise MalformedError("the contract certificate's common name is not the EMAID")
        if upload.cps_fingerprint and not _is_fingerprint(upload.cps_fingerprint):
            raise MalformedError("the fingerprint of the CPS root is a SHA-256 in hexadecimal")
        if leaf.not_after <= self._clock.now():
            raise ConflictError(CONTRACT_ENDED)
        return self._checks.check(leaf, above, ROOTS)

    def refuse(self, contracts: Sequence[tuple[Emaid, ProvisioningKey]]) -> None:
        """Refuse, before anything is signed, contracts that ``put`` would refuse for their vehicles or their EMAIDs.

        Raises:
            ConflictError: a vehicle has no certificate in the PCP, or an EMAID is used with another PCID.
        """
        named: dict[str, str] = {}
        with self._store.reading() as work:
            for emaid, key in contracts:
                self._vehicle_of(work, emaid, key)
                if named.setdefault(emaid.canonical, key.pcid) != key.pcid:
                    raise ConflictError(EMAID_TAKEN)

    @staticmethod
    def lock(work: UnitOfWork, contracts: Sequence[tuple[Emaid, ProvisioningKey]]) -> None:
        """Let nobody change vehicles and contracts before the transaction ends; vehicles first, by key."""
        work.provisioning_pool.lock([key for _, key in contracts])
        work.contract_pool.lock([emaid.canonical for emaid, _ in contracts])

    def put(self, work: UnitOfWork, partner: Partner, upload: ContractUpload, checked: CheckedChain) -> bool:
        """Put a checked contract, which the caller's transaction has locked, into its place; returns whether it is new.

        Raises:
            ConflictError: as ``publish``, of vehicle and EMAID.
        """
        now, emaid = self._clock.now(), Emaid.parse(upload.emaid)
        key = ProvisioningKey(Pcid.parse(upload.pcid, edition20=True).canonical, upload.algorithm)
        vehicle = self._vehicle_of(work, emaid, key)
        row = ContractRow(
            emaid=emaid.canonical,
            emaid_as_issued=checked.leaf.common_name.upper().replace("-", ""),
            key=key,
            key_sha256=vehicle.key_sha256,
            namespace=upload.namespace,
            is_default=not work.contract_pool.of_pcid(key.pcid),
            chain_id=checked.store(work, now),
            certificate_id=checked.certificate_id,
            leaf_der=checked.leaf.der,
            valid_from=checked.leaf.not_before,
            valid_to=checked.valid_to,
            cps_fingerprint=upload.cps_fingerprint.lower(),
            updated_at=now,
            checked_at=now,
            signer_id=upload.signer_id,
        )
        work.former_contracts.remember([row.emaid], but=row.certificate_id)
        is_new = work.contract_pool.put(row, upload.signed_data, upload.meta)
        told = told_both(CREATED if is_new else UPDATED, row.emaid, row.key.pcid, row.namespace)
        work.outbox.append(now, told)
        detail = f"{row.emaid} {key.pcid} {'added' if is_new else 'updated'}"
        digest = hashlib.sha256(checked.leaf.der).digest()
        entry = AuditEntry(partner.id, "pool.ccp_published", certificate_sha256=digest, detail=detail)
        work.audit.append(STREAM, now, [entry])
        return is_new

    def _vehicle_of(self, work: UnitOfWork, emaid: Emaid, key: ProvisioningKey) -> ProvisioningRow:
        vehicle = work.provisioning_pool.get(key)
        if vehicle is None or vehicle.valid_to <= self._clock.now():
            raise ConflictError(PROVISIONING_NOT_AVAILABLE)
        if vehicle.certificate_id is not None and not work.certificates.is_in_force(vehicle.certificate_id):
            raise ConflictError(PROVISIONING_NOT_AVAILABLE)
        known = work.contract_pool.get(emaid.canonical)
        if known is not None and known.key.pcid != key.pcid:
            raise ConflictError(EMAID_TAKEN)
        return vehicle

    def get(self, partner: Partner, emaid: str) -> ContractRow:
        """Return a contract in force of the partner's own, or of one of his vehicles.

        Raises:
            NotFoundError: there is none that could be trusted now.
            UnavailableError: a foreign CA has not told its status, or its vehicle's, for a day.
        """
        with self._store.reading() as work:
            contract = self._own(work, partner, emaid)
            live, vehicles = self._live(work, contract.key.pcid)
        for one in self._shown.among([one for one in live if one.emaid == contract.emaid], vehicles):
            return one
        raise NotFoundError(CONTRACT_NOT_FOUND)

    def of_vehicle(self, partner: Partner, pcid: str) -> list[ContractRow]:
        """Return the contracts of an OEM's own vehicle, the default first; UnavailableError as ``get``."""
        vehicle = own_vehicle(partner, pcid)
        with self._store.reading() as work:
            live, vehicles = self._live(work, vehicle)
        return list(self._shown.among(live, vehicles))

    def set_default(self, partner: Partner, pcid: str, emaid: str) -> None:
        """Make a contract the default of an OEM's own vehicle; NotFoundError when it is not that vehicle's."""
        vehicle, now = own_vehicle(partner, pcid), self._clock.now()

        def choose(work: UnitOfWork) -> None:
            if not work.contract_pool.set_default(vehicle, _canonical(emaid)):
                raise NotFoundError(CONTRACT_OR_VEHICLE_NOT_FOUND)
            detail = f"{_canonical(emaid)} {vehicle}"
            work.audit.append(STREAM, now, [AuditEntry(partner.id, "pool.ccp_default", detail=detail)])

        self._store.with_second_look(choose)

    def delete(self, partner: Partner, emaid: str, *, skip_revocation: bool = False) -> None:
        """Remove an operator's own contract; a certificate of ours is revoked first.

        Raises:
            NotFoundError: it is none of his.
            UnavailableError, InvariantError: it could not be revoked; the data stays.
        """
        if not partner.roles & {"mo"}:
            raise NotAuthorizedError("only its mobility operator removes a contract")
        with self._store.transaction() as work:
            canonical = _canonical(emaid)
            found = work.contract_pool.lock([canonical]) if provider_of(canonical) in partner.provider_prefixes else []
            if not found:
                raise NotFoundError(CONTRACT_NOT_FOUND)
            self._removal.contracts(work, found, Removal.DELETED, partner.id, revoke=not skip_revocation)

    def _own(self, work: UnitOfWork, partner: Partner, emaid: str) -> ContractRow:
        contract = work.contract_pool.get(_canonical(emaid))
        if contract is not None:
            is_operators = "mo" in partner.roles and contract.provider in partner.provider_prefixes
            is_makers = "oem" in partner.roles and wmi_of(contract.key.pcid) in partner.wmis
            if is_operators or is_makers:
                return contract
        raise NotFoundError(CONTRACT_NOT_FOUND)

    def _live(self, work: UnitOfWork, pcid: str) -> tuple[list[ContractRow], list[ProvisioningRow]]:
        """Return a vehicle's contracts and certificates that are in force, whatever sweeps have not seen."""
        now = self._clock.now()

        def stands(row: ProvisioningRow | ContractRow) -> bool:
            is_good = row.certificate_id is None or work.certificates.is_in_force(row.certificate_id)
            return row.valid_to > now and is_good

        vehicles = [row for row in work.provisioning_pool.of_pcid(pcid) if stands(row)]
        contracts = work.contract_pool.of_pcid(pcid) if vehicles else []
        return [one for one in contracts if stands(one)], vehicles


def own_vehicle(partner: Partner, pcid: str) -> str:
    """Return the PCID of an OEM's own vehicle as the pools have it; NotAuthorizedError when it is another's."""
    parsed = Pcid.parse(pcid, edition20=True)
    if "oem" not in partner.roles or parsed.wmi not in partner.wmis:
        raise NotAuthorizedError(f"vehicles of {parsed.wmi} are not this partner's")
    return parsed.canonical


def _may_write(partner: Partner, emaid: Emaid) -> bool:
    """A provisioning service writes for every operator; it has checked whom it works for."""
    return "cps" in partner.roles or ("mo" in partner.roles and emaid.provider_prefix in partner.provider_prefixes)


def _canonical(emaid: str) -> str:
    return Emaid.parse(emaid).canonical


def _is_fingerprint(text: str) -> bool:
    return len(text) == SHA256_DIGITS and set(text.lower()) <= set("0123456789abcdef")
