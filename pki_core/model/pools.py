"""The pools as plain values: RCP (roots), PCP (provisioning certificates), CCP (signed contract data), their events.

Laws: an EMAID belongs to one PCID; a PCID has at most one default contract, and none is promoted by itself; a contract
lives as long as the provisioning certificate whose key it was encrypted for; a root takes nothing with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

from pki_core.model.errors import MalformedError
from pki_core.model.identifiers import provider_of
from pki_core.model.profiles import Edition
from pki_core.model.signer import KeyAlgorithm

ROOT_WARNING = timedelta(days=730)  # this long before its end a root asks for a successor
ROOT_YEARS_LEFT = 35  # what a new root must still have
REMOVAL_WAITS = timedelta(days=7)  # this long a removal that one person has asked for can be confirmed by another
STATUS_MAX_AGE = timedelta(days=1)  # the status of a foreign certificate is asked again after this

# Sentences that clients of the Open Plug & Charge Protocol compare.
PCID_MALFORMED = 'pcid : must match "^[a-zA-Z0-9]{17,18}$"'
PROVISIONING_NOT_FOUND = "The OEM provisioning certificate with given PCID is not found."
PROVISIONING_NOT_AVAILABLE = "The OEM provisioning certificate with the given PCID is not available."
ROOT_NOT_FOUND = "Root certificate with the given ID is not found"
EMAID_TAKEN = "Invalid Tupple - EMAID is already used by other PCID."
CONTRACT_NOT_FOUND = "The contract for the given EMAID not found."
CONTRACT_OR_VEHICLE_NOT_FOUND = "Contract or Vehicle not found."
CONTRACT_ENDED = "The given contractEnds date is in the past."


class Namespace(IntEnum):
    """The message definition of a vehicle's charge controller."""

    ISO_2_2013 = 2
    ISO_20_2020 = 20
    ISO_20_2022 = 22

    @classmethod
    def of_edition(cls, edition: Edition) -> "Namespace":
        """Return what certificates of an edition are for."""
        return cls.ISO_20_2022 if edition is Edition.ISO_20 else cls.ISO_2_2013

    @classmethod
    def of_urn(cls, urn: str) -> "Namespace":
        """Read the name of a message definition; MalformedError for one nobody uses."""
        try:
            return _OF_URN[urn]
        except KeyError:
            raise MalformedError(f"xsdMsgDefNamespace is one of {', '.join(_URNS.values())}") from None

    @property
    def urn(self) -> str:
        """Its name on the wire."""
        return _URNS[self]

    @property
    def is_edition_20(self) -> bool:
        """Whether it is one of ISO 15118-20."""
        return self is not Namespace.ISO_2_2013


_URNS = {
    Namespace.ISO_2_2013: "urn:iso:15118:2:2013:MsgDef",
    Namespace.ISO_20_2020: "urn:iso:15118:20:2020:MsgDef",
    Namespace.ISO_20_2022: "urn:iso:15118:20:2022:MsgDef",
}
# The schema of ISO 15118-20 has another name than the two that its clients send.
_OF_URN = {name: namespace for namespace, name in _URNS.items()} | {
    "urn:iso:std:iso:15118:-20:CommonMessages": Namespace.ISO_20_2022
}


class RootKind(StrEnum):
    """What a root stands above; one certificate may be several."""

    MO = "mo"
    V2G = "v2g"
    OEM = "oem"
    PE = "pe"


class Removal(StrEnum):
    """Why a row leaves a pool."""

    DELETED = "deleted"
    EXPIRED = "expired"
    REVOKED = "revoked"
    KEY_REPLACED = "key replaced"
    ORPHANED = "orphaned"  # its provisioning certificate is gone, ended or has another key


class EventType(StrEnum):
    """What subscribers are told (OPCP webhooks)."""

    ROOT_ADDED = "root.cert.added"
    ROOT_EXPIRED = "root.cert.expired"
    ROOT_REVOKED = "root.cert.revoked"
    PROVISIONING_DELETED = "mo.prov.cert.deleted"
    PROVISIONING_RESET = "mo.prov.cert.factory.reset"
    PROVISIONING_UPDATED = "mo.prov.cert.updated"
    CONTRACT_CREATED = "mo.contract.created.sent.to.oem"
    CONTRACT_UPDATED = "mo.contract.updated.sent.to.oem"
    CONTRACT_DELETED = "mo.contract.deleted.sent.to.oem"
    CONTRACT_DELIVERED = "mo.contract.delivered.to.oem"
    CONTRACT_REJECTED = "mo.contract.rejected.by.oem"
    CONTRACT_QUEUED = "mo.contract.queued.to.oem"
    OEM_CONTRACT_CREATED = "oem.contract.created"
    OEM_CONTRACT_UPDATED = "oem.contract.updated"
    OEM_CONTRACT_DELETED = "oem.contract.deleted"
    # Of our own, beside those of the protocol: told to whoever asks for them.
    CONTRACT_RENEWAL = "mo.contract.renewal.due"
    PROVISIONING_RENEWAL = "oem.prov.cert.renewal.due"


class Event(NamedTuple):
    """One event. ``scope`` says whom it is for: a WMI, a provider prefix, "" = everybody."""

    type: EventType
    scope: str
    pcid: str = ""
    emaid: str = ""
    root_id: str = ""
    namespace: Namespace | None = None  # of the vehicle; a root has none


class OutboxEvent(NamedTuple):
    """An event that waits for its delivery."""

    number: int
    id: str
    at: datetime
    event: Event


class ForeignStatus(StrEnum):
    """What its CA says of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class StatusSource(Protocol):
    """Asks other people's CAs, by OCSP or CRL."""

    def status_of(self, certificate_der: bytes, issuer_der: bytes) -> ForeignStatus:
        """Return the status of a certificate.

        Raises:
            UnavailableError: nobody answers.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The CA certificates between a leaf and its root; many leafs share one."""

    id: int
    sub2_der: bytes  # b"" = the leaf's issuer is Sub1
    sub1_der: bytes
    root_sha256: str
    valid_to: datetime  # the earliest end, root included
    is_own: bool
    checked_at: datetime

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """From the leaf's issuer upwards."""
        return (self.sub2_der, self.sub1_der) if self.sub2_der else (self.sub1_der,)


class ProvisioningKey(NamedTuple):
    """What a row of the PCP is found by; a vehicle may have one certificate an algorithm."""

    pcid: str  # upper case
    algorithm: KeyAlgorithm

    @property
    def namespace(self) -> Namespace:
        """The newest message definition that has keys of this algorithm."""
        return Namespace.ISO_2_2013 if self.algorithm is KeyAlgorithm.SECP256R1 else Namespace.ISO_20_2022

    def namespace_as_said(self, said: Namespace | None) -> Namespace | None:
        """Return what was said where it has keys of this algorithm, the newest that has when nothing was said.

        None: it has none, for the algorithm is another edition's.
        """
        own = self.namespace
        return own if said is None else said if said.is_edition_20 == own.is_edition_20 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningRow:
    """One row of the PCP as the store holds it."""

    key: ProvisioningKey
    pcid_as_sent: str
    namespace: Namespace
    chain_id: int
    certificate_id: int | None  # issued by us; its DER is stored with the certificate
    leaf_der: bytes
    key_sha256: bytes
    valid_to: datetime
    added_at: datetime
    checked_at: datetime
    v2g_roots: tuple[str, ...] = ()  # authority key identifiers of the V2G roots in the vehicle
    previous_pcid: str = ""

    @property
    def is_own(self) -> bool:
        """Whether we issued its certificate."""
        return self.certificate_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningEntry:
    """What the PCP shows."""

    row: ProvisioningRow
    chain: Chain
    root_der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningUpload:
    """What an OEM publishes."""

    leaf_der: bytes
    sub1_der: bytes
    sub2_der: bytes = b""
    namespace: Namespace | None = None  # None = that of the key
    v2g_roots: tuple[str, ...] = ()
    previous_pcid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRow:
    """One row of the CCP without the signed data."""

    emaid: str  # 14 characters
    emaid_as_issued: str
    key: ProvisioningKey
    key_sha256: bytes  # of the provisioning key the contract key is encrypted for
    namespace: Namespace
    is_default: bool
    chain_id: int
    certificate_id: int | None
    leaf_der: bytes
    valid_from: datetime
    valid_to: datetime
    cps_fingerprint: str
    updated_at: datetime
    checked_at: datetime
    signer_id: int | None = None  # of a signer of ours; 0 = of others, None = not looked at yet

    @property
    def provider(self) -> str:
        """Country and provider: the MO it belongs to."""
        return provider_of(self.emaid)

    @property
    def is_own(self) -> bool:
        """Whether we issued its certificate."""
        return self.certificate_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractUpload:
    """Signed contract data for one vehicle."""

    emaid: str
    pcid: str
    algorithm: KeyAlgorithm
    leaf_der: bytes
    sub1_der: bytes
    signed_data: bytes = field(repr=False)
    sub2_der: bytes = b""
    namespace: Namespace = Namespace.ISO_2_2013
    cps_fingerprint: str = ""
    signer_id: int | None = None
    meta: str = ""  # handed to whoever fetches the contract


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRoot:
    """One root of the RCP, or one that waits for a second person."""

    id: str
    kind: RootKind
    certificate_der: bytes
    sha256: str
    valid_from: datetime
    valid_to: datetime
    added_by: str
    confirmed_by: str
    evidence: str  # how its fingerprint was checked through a second channel
    is_active: bool
    removal_asked_by: str = ""  # waits for a second person

    def warns(self, now: datetime) -> bool:
        """Tell whether it needs a successor."""
        return self.valid_to - now < ROOT_WARNING


class RemovedContract(NamedTuple):
    """What is told and revoked of a contract that leaves the CCP."""

    emaid: str
    pcid: str
    certificate_id: int | None
    namespace: Namespace


@dataclass(slots=True, kw_only=True)
class PoolReport:
    """What a maintenance run did; with ``dry_run``, what it would do."""

    dry_run: bool
    provisioning: int = 0
    contracts: int = 0
    roots: int = 0
    revoked: int = 0
    postponed: int = 0  # rows that stay until the next run: a revocation or a status answer failed
    unfinished: bool = False
    warnings: Sequence[str] = ()
