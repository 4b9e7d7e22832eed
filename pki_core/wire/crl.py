"""CRLs (RFC 5280 5) as streams: an entry encoded once, and what stands before and behind all entries.

A list of a million entries is never held in memory: the frame is computed from the length of the entries alone.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509.oid import CRLEntryExtensionOID

from pki_core.model.errors import InvariantError
from pki_core.model.revocations import Reason
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.certificate import FIRST_GENERALIZED_YEAR, SIGNATURE_ALGORITHM_DER
from pki_core.wire.public_key import PublicKey

DIGESTS: dict[KeyAlgorithm, hashes.SHA256 | hashes.SHA512] = {
    KeyAlgorithm.SECP256R1: hashes.SHA256(),
    KeyAlgorithm.SECP521R1: hashes.SHA512(),
}
DIGEST_NAMES = {KeyAlgorithm.SECP256R1: "sha256", KeyAlgorithm.SECP521R1: "sha512"}

_REASON_HEADER = bytes.fromhex("0a01")  # ENUMERATED of one octet
_VERSION_2 = bytes.fromhex("020101")
_SEQUENCE, _BIT_STRING, _EXTENSIONS = 0x30, 0x03, 0xA0
_SHORT = 0x80


@asn1.sequence
class _Extension:
    id: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@asn1.sequence
class _Entry:
    serial: int
    revoked_at: asn1.UTCTime | asn1.GeneralizedTime
    extensions: list[_Extension] | None


@asn1.sequence
class _Times:
    this_update: asn1.UTCTime | asn1.GeneralizedTime
    next_update: asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class _Extensions:
    extensions: list[_Extension]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlPlan:
    """What a CRL says beside its entries; "" and None = the extension is absent."""

    issuer_der: bytes
    key_identifier: bytes
    algorithm: KeyAlgorithm
    number: int
    this_update: datetime
    next_update: datetime
    base_number: int | None = None  # makes it a delta (RFC 5280 5.2.4)
    shard_url: str = ""  # makes it partial (5.2.5)
    freshest_url: str = ""  # where its delta is found (5.2.6)


def entry_der(serial: str, revoked_at: datetime, reason: Reason) -> bytes:
    """Return one entry of a CRL (RFC 5280 5.1.2.6); ``unspecified`` is left out (5.3.1)."""
    extensions = None
    if reason is not Reason.UNSPECIFIED:
        value = _REASON_HEADER + bytes((reason.value,))
        extensions = [_Extension(id=CRLEntryExtensionOID.CRL_REASON, critical=False, value=value)]
    return asn1.encode_der(_Entry(serial=int(serial, 16), revoked_at=_time(revoked_at), extensions=extensions))


def tbs_frame(plan: CrlPlan, entries_octets: int) -> tuple[bytes, bytes]:
    """Return what stands before and behind the entries inside a TBSCertList (RFC 5280 5.1.2)."""
    tail = _header(_EXTENSIONS, len(extensions := _extensions_der(plan))) + extensions
    head = b"".join(
        (_VERSION_2, SIGNATURE_ALGORITHM_DER[plan.algorithm], plan.issuer_der, _times_der(plan)),
    )
    if entries_octets:  # RFC 5280 5.1.2.6: absent, never empty
        head += _header(_SEQUENCE, entries_octets)
    return _header(_SEQUENCE, len(head) + entries_octets + len(tail)) + head, tail


def outer_frame(algorithm: KeyAlgorithm, tbs_octets: int, signature: bytes) -> tuple[bytes, bytes]:
    """Return what stands before and behind the signed bytes inside a CertificateList (RFC 5280 5.1.1)."""
    tail = SIGNATURE_ALGORITHM_DER[algorithm] + _header(_BIT_STRING, len(signature) + 1) + b"\0" + signature
    return _header(_SEQUENCE, tbs_octets + len(tail)), tail


def digest_signature_is_valid(key: PublicKey, algorithm: KeyAlgorithm, digest: bytes, signature: bytes) -> bool:
    """Tell whether an ECDSA signature value verifies over a message given by its hash."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvariantError("an Ed448 signature is verified over the whole message")
    try:
        key.verify(signature, digest, ec.ECDSA(Prehashed(DIGESTS[algorithm])))
    except InvalidSignature:
        return False
    return True


def crl_extensions(plan: CrlPlan) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions a plan asks for, each with its criticality (RFC 5280 5.2)."""
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.AuthorityKeyIdentifier(plan.key_identifier, None, None), False),
        (x509.CRLNumber(plan.number), False),
    ]
    if plan.base_number is not None:
        found.append((x509.DeltaCRLIndicator(plan.base_number), True))
    if plan.shard_url:
        point = x509.IssuingDistributionPoint(
            full_name=[x509.UniformResourceIdentifier(plan.shard_url)],
            relative_name=None,
            only_contains_user_certs=False,
            only_contains_ca_certs=False,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        )
        found.append((point, True))
    if plan.freshest_url:
        name = x509.UniformResourceIdentifier(plan.freshest_url)
        found.append((x509.FreshestCRL([x509.DistributionPoint([name], None, None, None)]), False))
    return found


def _extensions_der(plan: CrlPlan) -> bytes:
    listed = [
        _Extension(id=extension.oid, critical=critical, value=extension.public_bytes())
        for extension, critical in crl_extensions(plan)
    ]
    return _content(asn1.encode_der(_Extensions(extensions=listed)))


def _times_der(plan: CrlPlan) -> bytes:
    times = _Times(this_update=_time(plan.this_update), next_update=_time(plan.next_update))
    return _content(asn1.encode_der(times))


def _time(moment: datetime) -> asn1.UTCTime | asn1.GeneralizedTime:
    return asn1.GeneralizedTime(moment) if moment.year >= FIRST_GENERALIZED_YEAR else asn1.UTCTime(moment)


def _content(der: bytes) -> bytes:
    return bytes(asn1.decode_der(asn1.TLV, der).data)


def _header(tag: int, octets: int) -> bytes:
    """Return tag and length (X.690 8.1.3); the library encodes whole values only, and ours does not fit in memory."""
    if octets < _SHORT:
        return bytes((tag, octets))
    length = octets.to_bytes((octets.bit_length() + 7) // 8, "big")
    return bytes((tag, _SHORT | len(length))) + length
