"""The PCP: OEMs publish provisioning certificates, MOs find them by exact PCID (OPCP, provisioning certificate pool).

There is no list, no count and no search by prefix: how many vehicles an OEM builds is nobody's business.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pki_core.model.clock import Clock
from pki_core.model.errors import MalformedError, NotAuthorizedError, NotFoundError
from pki_core.model.identifiers import Pcid
from pki_core.model.partners import Partner
from pki_core.model.pools import (
    PCID_MALFORMED,
    PROVISIONING_NOT_FOUND,
    Namespace,
    ProvisioningEntry,
    ProvisioningKey,
    ProvisioningRow,
    ProvisioningUpload,
    Removal,
    RootKind,
)
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.pool_chains import ChainChecks, CheckedChain, read_chain
from pki_core.services.pool_events import STREAM
from pki_core.services.pool_removal import PoolRemoval
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.contract_key import vehicle_key_of

ROOTS = (RootKind.OEM,)
_READERS = frozenset({"oem", "mo", "cps"})
MAX_V2G_ROOTS = 32  # that a vehicle trusts
MAX_KEY_IDENTIFIER = 128  # characters


class Published(StrEnum):
    """What became of an upload."""

    ADDED = "added"
    RENEWED = "renewed"  # same key: the contracts stay
    REPLACED = "replaced"  # another key: the contracts are gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of a vehicle's certificates; OPCP allows one of the two."""

    algorithm: KeyAlgorithm | None = None
    namespace: Namespace | None = None

    def __post_init__(self) -> None:
        if self.algorithm is not None and self.namespace is not None:
            raise MalformedError("signatureAlgorithm and xsdMsgDefNamespace exclude each other")

    def takes(self, row: ProvisioningRow) -> bool:
        """Tell whether a row is meant; without a choice, every one."""
        if self.algorithm is not None:
            return row.key.algorithm is self.algorithm
        return self.namespace is None or row.namespace.is_edition_20 == self.namespace.is_edition_20


ALL = Selection()


class ProvisioningPool:
    """Provisioning certificates by PCID."""

    def __init__(self, store: Store, clock: Clock, checks: ChainChecks, removal: PoolRemoval) -> None:
        self._store = store
        self._clock = clock
        self._checks = checks
        self._removal = removal

    def publish(self, partner: Partner, upload: ProvisioningUpload) -> Published:
        """Add a vehicle's certificate, or put it in the place of the one with its PCID and algorithm.

        Raises:
            MalformedError: a part is no certificate, its common name no PCID, or its key one that keeps no secret or
                belongs to another edition than the message definition.
            NotAuthorizedError: the vehicle is another OEM's.
            ConflictError: a certificate has ended, is revoked, or the path leads to no OEM root of the RCP.
            UnavailableError: a CA does not tell the status; nothing was changed.
        """
        subs = [("subCa2Certificate", upload.sub2_der)] if upload.sub2_der else []
        leaf, *above = read_chain(
            upload.leaf_der, [*subs, ("subCa1Certificate", upload.sub1_der)], "vehicleCertificate"
        )
        try:
            pcid = Pcid.parse(leaf.common_name, edition20=leaf.algorithm is not KeyAlgorithm.SECP256R1)
        except MalformedError:
            raise MalformedError(PCID_MALFORMED) from None
        self._refuse_strangers(partner, pcid)
        if leaf.is_ca:
            raise MalformedError("Invalid certificate format on vehicleCertificate")
        _namespace_of(ProvisioningKey(pcid.canonical, leaf.algorithm), upload)
        _check_key(leaf.der)
        _check_extras(upload)
        checked = self._checks.check(leaf, above, ROOTS)
        return self._store.with_second_look(lambda work: self._put(work, partner, upload, pcid, checked))

    def _put(
        self, work: UnitOfWork, partner: Partner, upload: ProvisioningUpload, pcid: Pcid, checked: CheckedChain
    ) -> Published:
        now = self._clock.now()
        key = ProvisioningKey(pcid.canonical, checked.leaf.algorithm)
        key_sha256 = hashlib.sha256(checked.leaf.spki_der).digest()
        row = ProvisioningRow(
            key=key,
            pcid_as_sent=pcid.as_issued,
            namespace=_namespace_of(key, upload),
            chain_id=checked.store(work, now),
            certificate_id=checked.certificate_id,
            leaf_der=checked.leaf.der,
            key_sha256=key_sha256,
            valid_to=checked.valid_to,
            added_at=now,
            checked_at=now,
            v2g_roots=upload.v2g_roots,
            previous_pcid=upload.previous_pcid.upper(),
        )
        known = work.provisioning_pool.get(key) if work.provisioning_pool.lock([key]) else None
        outcome = Published.ADDED
        if known is not None:
            outcome = Published.RENEWED if known.key_sha256 == key_sha256 else Published.REPLACED
        if outcome is Published.REPLACED:
            self._removal.below_replaced_keys(work, [key], partner.id)
        work.provisioning_pool.put(row)
        detail = f"{key.pcid} {key.algorithm}: {outcome}"
        digest = hashlib.sha256(checked.leaf.der).digest()
        entry = AuditEntry(partner.id, "pool.pcp_published", certificate_sha256=digest, detail=detail)
        work.audit.append(STREAM, now, [entry])
        return outcome

    def get(self, partner: Partner, pcid: str, selection: Selection = ALL) -> ProvisioningEntry:
        """Return a vehicle's certificate with its chain, its status and path checked again.

        Raises:
            NotFoundError: there is none that could be trusted now, or not for this partner.
            NotAuthorizedError: this partner reads nothing here.
            UnavailableError: a foreign CA has not told the status for a day.
        """
        for entry in self._good(partner, pcid, selection):
            return entry
        raise NotFoundError(PROVISIONING_NOT_FOUND)

    def algorithms(self, partner: Partner, pcid: str) -> list[KeyAlgorithm]:
        """Return the algorithms of all that ``get`` would return; errors as there."""
        found = [entry.row.key.algorithm for entry in self._good(partner, pcid, ALL)]
        if not found:
            raise NotFoundError(PROVISIONING_NOT_FOUND)
        return found

    def look_up(self, partner: Partner, pcid: str) -> None:
        """Return when ``get`` would return something; errors as there."""
        self.get(partner, pcid)

    def delete(self, partner: Partner, pcid: str, selection: Selection = ALL, *, factory_reset: bool = False) -> int:
        """Remove a vehicle's certificates with all that hangs on them; returns how many contracts went.

        ``factory_reset`` tells the operators that the vehicle forgets its contracts.

        Raises:
            NotFoundError: there is none of this partner's, whatever else he may read here.
            UnavailableError: a contract certificate could not be revoked; everything stays.
        """
        if "oem" not in partner.roles:
            raise NotAuthorizedError("only a vehicle's OEM removes it")
        parsed = Pcid.parse(pcid, edition20=True)
        with self._store.reading() as work:
            rows = self._chosen(work, parsed.canonical if parsed.wmi in partner.wmis else "", selection)
        with self._store.transaction() as work:
            keys = work.provisioning_pool.lock([row.key for row in rows])
            gone = self._removal.provisioning(work, keys, Removal.DELETED, partner.id, factory_reset=factory_reset)
        if not keys:
            raise NotFoundError(PROVISIONING_NOT_FOUND)
        return gone.contracts

    def _good(self, partner: Partner, pcid: str, selection: Selection) -> Iterator[ProvisioningEntry]:
        wanted = self._wanted(partner, pcid)
        with self._store.reading() as work:  # one look: each transaction is two more ways to the database and back
            entries = [self._entry(work, row) for row in self._chosen(work, wanted, selection)]
        for entry in entries:
            if entry is not None and self._checks.is_good_today(entry.row):
                yield entry

    def _wanted(self, partner: Partner, pcid: str) -> str:
        """Return the PCID in capitals, "" when it is none of this partner's business."""
        if not _READERS & partner.roles:
            raise NotAuthorizedError("this pool is for OEMs, mobility operators and provisioning services")
        parsed = Pcid.parse(pcid, edition20=True)
        is_shown = bool(partner.roles & {"mo", "cps"}) or parsed.wmi in partner.wmis
        return parsed.canonical if is_shown else ""

    def _chosen(self, work: UnitOfWork, pcid: str, selection: Selection) -> list[ProvisioningRow]:
        now = self._clock.now()
        rows = work.provisioning_pool.of_pcid(pcid) if pcid else []
        found = [row for row in rows if row.valid_to > now and selection.takes(row)]
        if not found:
            raise NotFoundError(PROVISIONING_NOT_FOUND)
        return found

    def _entry(self, work: UnitOfWork, row: ProvisioningRow) -> ProvisioningEntry | None:
        """Return a row with its chain; None when it, or a CA of ours above it, is revoked, or its root is gone."""
        chain = work.chains.get(row.chain_id)
        if row.certificate_id is not None:
            stands = work.certificates.is_in_force(row.certificate_id)
        else:
            stands = self._checks.leads_to_root(work, chain, ROOTS)
        return ProvisioningEntry(row=row, chain=chain, root_der=self._checks.root_of(work, chain)) if stands else None

    @staticmethod
    def _refuse_strangers(partner: Partner, pcid: Pcid) -> None:
        if "oem" not in partner.roles or pcid.wmi not in partner.wmis:
            raise NotAuthorizedError(f"vehicles of {pcid.wmi} are not this partner's")


def _namespace_of(key: ProvisioningKey, upload: ProvisioningUpload) -> Namespace:
    namespace = key.namespace_as_said(upload.namespace)
    if namespace is None:
        raise MalformedError(
            f"xsdMsgDefNamespace contradicts the {key.algorithm} key of vehicleCertificate, which is for "
            f"{key.namespace.urn}"
        )
    return namespace


def _check_key(leaf_der: bytes) -> None:
    """Refuse a vehicle that no contract's key could be encrypted for."""
    try:
        vehicle_key_of(leaf_der)
    except MalformedError as error:
        raise MalformedError(f"The key of vehicleCertificate cannot be used for encryption: {error}") from error


def _check_extras(upload: ProvisioningUpload) -> None:
    if upload.previous_pcid:
        Pcid.parse(upload.previous_pcid, edition20=True)
    if len(upload.v2g_roots) > MAX_V2G_ROOTS or any(
        len(one) > MAX_KEY_IDENTIFIER or not one.isascii() or not one.isprintable() for one in upload.v2g_roots
    ):
        raise MalformedError(f"at most {MAX_V2G_ROOTS} key identifiers of V2G roots, in hexadecimal")
