"""The certificate provisioning service as plain values: the keys that sign contract data (ISO 15118-2 Annex F, CPS)."""

from dataclasses import dataclass
from datetime import datetime

from pki_core.model.contracts import CertificateChain
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState

SIGNER_NOT_FOUND = "There is no CPS signer below the given V2G root certificate."


@dataclass(frozen=True, slots=True, kw_only=True)
class CpsSignerRecord:
    """One signer as the store keeps it; its key is in the token."""

    id: int
    label: str
    issuer_id: int
    key_label: str
    serial: str
    certificate_der: bytes
    not_before: datetime
    not_after: datetime
    state: CertificateState


@dataclass(frozen=True, slots=True, kw_only=True)
class CpsSigner:
    """A signer that may sign now, with everything above it."""

    record: CpsSignerRecord
    algorithm: KeyAlgorithm
    chain: CertificateChain  # leaf, Sub-CA 2, Sub-CA 1
    root_der: bytes
    root_sha256: str  # what partners call the fingerprint of the CPS's V2G root
