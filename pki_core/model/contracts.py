"""Contract data: the certificate-installation messages of ISO 15118-2 and -20, and the envelope of a contract key.

Fields that real messages leave out are None; what is None or empty is not on the wire.
"""

from dataclasses import dataclass
from enum import StrEnum

SESSION_DIGITS = 16  # hexadecimal, of a vehicle's session id: eight octets at most


class AadForm(StrEnum):
    """What binds the key envelope of ISO 15118-20 to vehicle and contract: readings of [V2G20-2492] in the field."""

    PCID_SKI_HEX = "pcid_ski_hex"  # PCID, then the contract certificate's SKI in capital hex digits: the text itself
    PCID_SKI_RAW = "pcid_ski_raw"  # PCID, then the SKI's octets
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEnvelope:
    """A contract's private key, encrypted for one vehicle, and the public key its secret was agreed with."""

    dh_public_key: bytes  # ECDH: an uncompressed point; X448: 56 octets
    encrypted_private_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateChain:
    """A leaf and what is above it, in the order Sub2, Sub1, without root. ``id`` when it may be signed."""

    id: str | None = None
    certificate_der: bytes
    sub_certificates_der: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCertificateId:
    """A root the vehicle knows. Names come in every notation: compare the serial."""

    issuer_name: str
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedOctets:
    """Octets with an Id, so that a signature can refer to them."""

    id: str | None = None
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedText:
    """A string with an Id, so that a signature can refer to it."""

    id: str | None = None
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReference:
    """What one part of a message must hash to (XML-Signature 4.4.3)."""

    id: str | None = None
    type: str | None = None
    uri: str | None = None
    transforms: tuple[str, ...] = ()
    digest_method: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInfo:
    """What a signature is over (XML-Signature 4.4)."""

    id: str | None = None
    canonicalization_method: str
    signature_method: str
    references: tuple[SignedReference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSignature:
    """A signature in a message header (XML-Signature 4.1); ECDSA as r and s side by side."""

    id: str | None = None
    signed_info: SignedInfo
    value: IdentifiedOctets


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What went wrong, in a header of ISO 15118-2."""

    fault_code: str
    fault_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Header2:
    """Header of an ISO 15118-2 message; no signature is over it."""

    session_id: bytes
    notification: Notification | None = None
    signature: MessageSignature | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationRequest2:
    """CertificateInstallationReq of ISO 15118-2 8.4.3.11.2."""

    id: str
    oem_certificate_der: bytes
    roots: tuple[RootCertificateId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationResponse2:
    """CertificateInstallationRes of ISO 15118-2 8.4.3.11.3."""

    response_code: str
    cps_chain: CertificateChain
    contract_chain: CertificateChain
    encrypted_private_key: IdentifiedOctets
    dh_public_key: IdentifiedOctets
    emaid: IdentifiedText


@dataclass(frozen=True, slots=True, kw_only=True)
class Message2:
    """V2G_Message of ISO 15118-2."""

    header: Header2
    body: InstallationRequest2 | InstallationResponse2


@dataclass(frozen=True, slots=True, kw_only=True)
class Header20:
    """Header of an ISO 15118-20 message; ``timestamp`` in seconds since 1970."""

    session_id: bytes
    timestamp: int
    signature: MessageSignature | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationRequest20:
    """CertificateInstallationReq of ISO 15118-20; the chain is what its signature is over."""

    header: Header20
    oem_chain: CertificateChain
    roots: tuple[RootCertificateId, ...]
    most_contract_chains: int
    prioritized_emaids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationData20:
    """SignedInstallationData of ISO 15118-20: a contract for one vehicle; exactly one encrypted key is there."""

    id: str
    contract_chain: CertificateChain
    ecdh_curve: str  # SECP521 or X448
    dh_public_key: bytes
    secp521_encrypted_private_key: bytes | None = None
    x448_encrypted_private_key: bytes | None = None
    tpm_encrypted_private_key: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationResponse20:
    """CertificateInstallationRes of ISO 15118-20."""

    header: Header20
    response_code: str
    evse_processing: str
    cps_chain: CertificateChain
    installation_data: InstallationData20
    remaining_contract_chains: int


ContractMessage = Message2 | InstallationRequest20 | InstallationResponse20
