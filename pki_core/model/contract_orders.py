"""What an operator orders of the MO CA: a contract for a vehicle, with a key that we make (OPCP, CPS: generate)."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pki_core.model.contracts import KeyEnvelope
from pki_core.model.pools import Namespace

LONGEST_RENEWAL = 730  # days: no contract certificate lives longer (ISO 15118-2 Annex F)


class ContractOrder(NamedTuple):
    """One contract asked for."""

    reference: str
    emaid: str
    pcid: str
    begins: datetime
    ends: datetime
    renew_days: int = 0  # renewed for so long when it ends; 0 = not at all
    renews: int | None = None  # the certificate of the contract this is the renewal of; it must be good to the last
    namespace: Namespace | None = None  # None = that of the call
    meta: str = ""  # handed to whoever fetches the contract (OPCP, CCP: metaData)


class RenewalReport(NamedTuple):
    """What a run of renewals did."""

    renewed: int
    refused: int  # vehicles or operators that are gone; the reason is in the audit log
    unfinished: bool  # a dependency is away, or somebody changed what was being renewed; the next run goes on
    failures: tuple[str, ...] = ()  # what an operator has to mend, with the number of contracts that wait for it


class ResignReport(NamedTuple):
    """What became of contract data whose signer is revoked, has ended or ends soon."""

    resigned: int
    waiting: int  # no newer signer below their V2G root, or none small enough: a ceremony makes one
    postponed: int  # of other CAs, and their status is not known now
    refused: int  # the stored signature does not hold: nothing that we would put ours below
    unfinished: bool  # it stopped at a dependency that is away; the next run goes on

    def and_also(self, other: "ResignReport") -> "ResignReport":
        """Return both together."""
        return ResignReport(
            self.resigned + other.resigned,
            self.waiting + other.waiting,
            self.postponed + other.postponed,
            self.refused + other.refused,
            unfinished=self.unfinished or other.unfinished,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnContract:
    """Contract data of an operator with a PKI of his own, to be signed by the provisioning service."""

    leaf_der: bytes
    sub2_der: bytes
    sub1_der: bytes
    envelope: KeyEnvelope
    namespace: Namespace
    pcid: str = ""  # "" = only signed; else put into the CCP for this vehicle
    root_sha256: str = ""  # of the V2G root of the provisioning service; "" = that of the newest signer
    meta: str = ""  # handed to whoever fetches the contract (OPCP, CCP: metaData)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedContract:
    """What became of it."""

    emaid: str
    pcid: str
    namespace: Namespace
    exi: bytes  # a CertificateInstallationRes for no session yet
    root_sha256: str
    root_der: bytes
    signer_id: int  # of the signer of ours
