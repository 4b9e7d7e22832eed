"""Strict decoding of a TBSCertificate (RFC 5280 4.1.2) into plain values, for the lints that run on every output."""

from dataclasses import dataclass
from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1

from pki_core.model.errors import MalformedError
from pki_core.wire.extensions import SUBJECT_KEY_IDENTIFIER

UTC_TIME_TAG = 0x17
GENERALIZED_TIME_TAG = 0x18


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedTbs:
    """A TBSCertificate taken apart; nothing is judged here."""

    version: int
    serial: int
    signature_algorithm_der: bytes
    issuer_der: bytes
    not_before: tuple[int, bytes]  # tag and text
    not_after: tuple[int, bytes]
    subject: tuple[tuple[str, int, bytes], ...]  # OID, string tag, octets; one attribute an RDN
    spki_der: bytes
    subject_key_identifier: bytes | None
    other_extensions: tuple[tuple[str, bool, bytes], ...]


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class _Validity:
    not_before: asn1.TLV
    not_after: asn1.TLV


@asn1.sequence
class _Extension:
    id: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@asn1.sequence
class _Tbs:
    version: Annotated[int, asn1.Explicit(0)]
    serial: int
    signature: asn1.TLV
    issuer: asn1.TLV
    validity: _Validity
    subject: list[asn1.SetOf[_Attribute]]
    spki: asn1.TLV
    extensions: Annotated[list[_Extension], asn1.Explicit(3)]


_SKI = x509.ObjectIdentifier(SUBJECT_KEY_IDENTIFIER)
_SKI_HEADER = 2  # OCTET STRING tag and a one-octet length


def decode_tbs(tbs_der: bytes) -> DecodedTbs:
    """Take a TBSCertificate apart.

    Raises:
        MalformedError: not strict DER, an RDN with several attributes, or a malformed subject key identifier.
    """
    try:
        tbs = asn1.decode_der(_Tbs, tbs_der)
    except ValueError as error:
        raise MalformedError("the to-be-signed bytes are not a DER TBSCertificate") from error
    key_identifier: bytes | None = None
    others = []
    for extension in tbs.extensions:
        if extension.id == _SKI and key_identifier is None and not extension.critical:
            key_identifier = _octets_of(extension.value)
        else:
            others.append((extension.id.dotted_string, extension.critical, extension.value))
    validity = tbs.validity
    return DecodedTbs(
        version=tbs.version,
        serial=tbs.serial,
        signature_algorithm_der=asn1.encode_der(tbs.signature),
        issuer_der=asn1.encode_der(tbs.issuer),
        not_before=(validity.not_before.tag_bytes[0], bytes(validity.not_before.data)),
        not_after=(validity.not_after.tag_bytes[0], bytes(validity.not_after.data)),
        subject=tuple(_single(rdn.as_list()) for rdn in tbs.subject),
        spki_der=asn1.encode_der(tbs.spki),
        subject_key_identifier=key_identifier,
        other_extensions=tuple(others),
    )


def _single(attributes: list[_Attribute]) -> tuple[str, int, bytes]:
    if len(attributes) != 1:
        raise MalformedError("a relative distinguished name of the subject holds several attributes")
    attribute = attributes[0]
    return attribute.type.dotted_string, attribute.value.tag_bytes[0], bytes(attribute.value.data)


def _octets_of(value: bytes) -> bytes:
    if len(value) < _SKI_HEADER or value[0] != 0x04 or value[1] != len(value) - _SKI_HEADER:  # noqa: PLR2004  # DER tag
        raise MalformedError("the subject key identifier is not an OCTET STRING")
    return value[_SKI_HEADER:]
