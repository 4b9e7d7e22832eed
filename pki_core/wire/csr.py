"""PKCS#10 certificate signing requests (RFC 2986): bytes to an ``IssueRequest``; keys and proofs checked.

Decoding is strict DER with declared structures; extensions a request asks for are never read, because the profile
alone decides what a certificate carries.
"""

from functools import lru_cache
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.x509.oid import NameOID

from pki_core.model.errors import CsrRejectedError
from pki_core.model.limits import ASKED_NAME_LIMIT
from pki_core.model.requests import CsrProof, IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.public_key import PublicKey

MAX_CSR_OCTETS = 8192
_COMMON_NAME_OID = bytes.fromhex("0603550403")

_NAME_PARTS = {
    NameOID.COMMON_NAME: "common_name",
    NameOID.ORGANIZATION_NAME: "organization",
    NameOID.COUNTRY_NAME: "country",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "organizational_unit",
    NameOID.LOCALITY_NAME: "locality",
    NameOID.STATE_OR_PROVINCE_NAME: "state",
}
# DER tag -> codec of the string types RFC 5280 4.1.2.4 allows in a DirectoryString, and IA5String.
_STRING_CODECS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}
_UTF8_TAGS = frozenset({0x0C, 0x13, 0x16})  # UTF8String, PrintableString, IA5String
_SHORT_LENGTH = 0x7F  # X.690 8.1.3.4


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    value: asn1.PrintableString | asn1.IA5String | str


@asn1.sequence
class _RequestInfo:
    version: int
    subject: list[asn1.SetOf[_Attribute]]
    spki: asn1.TLV
    attributes: asn1.TLV


@asn1.sequence
class _LegacyAttribute:
    type: x509.ObjectIdentifier
    value: asn1.TLV  # any string type of RFC 5280 4.1.2.4, and any other value


@asn1.sequence
class _LegacyRequestInfo:
    version: int
    subject: list[asn1.SetOf[_LegacyAttribute]]
    spki: asn1.TLV
    attributes: asn1.TLV


@asn1.sequence
class _Named:
    subject: list[asn1.SetOf[_LegacyAttribute]]


@asn1.sequence
class _NamedTlv:
    subject: asn1.TLV


@asn1.sequence
class _Request:
    info: asn1.TLV
    algorithm: asn1.TLV
    signature: asn1.BitString


def parse_csr(reference: str, csr_der: bytes, expected_identifier: str = "") -> IssueRequest:
    """Read a request; neither its key nor its signature is checked yet.

    Raises:
        CsrRejectedError: ``csr.too_large``, ``csr.malformed`` (not strict DER of RFC 2986), ``csr.subject_invalid``.
    """
    if len(csr_der) > MAX_CSR_OCTETS:
        raise CsrRejectedError("csr.too_large", f"The request has {len(csr_der)} octets; {MAX_CSR_OCTETS} are allowed.")
    try:
        request = asn1.decode_der(_Request, csr_der)
        signed_bytes = asn1.encode_der(request.info)
        info = _decode_info(signed_bytes)
        algorithm = _algorithm_oid(asn1.encode_der(request.algorithm))
    except (ValueError, OverflowError) as error:
        raise CsrRejectedError("csr.malformed", "The request is not a DER PKCS#10 structure.") from error
    if info.version != 0 or info.attributes.tag_bytes != b"\xa0" or request.signature.padding_bits() != 0:
        raise CsrRejectedError("csr.malformed", "The request is not a version 1 PKCS#10 structure.")
    return IssueRequest(
        reference=reference,
        subject=_read_subject(info),
        expected_identifier=expected_identifier,
        spki_der=asn1.encode_der(info.spki),
        proof=CsrProof(
            signed_bytes=signed_bytes, signature=request.signature.as_bytes(), signature_algorithm=algorithm
        ),
    )


@asn1.sequence
class _AlgorithmWithoutParameters:
    algorithm: x509.ObjectIdentifier


@asn1.sequence
class _AlgorithmWithParameters:
    algorithm: x509.ObjectIdentifier
    parameters: asn1.TLV


@lru_cache(maxsize=64)
def _algorithm_oid(algorithm_der: bytes) -> str:
    try:
        return asn1.decode_der(_AlgorithmWithoutParameters, algorithm_der).algorithm.dotted_string
    except ValueError:
        return asn1.decode_der(_AlgorithmWithParameters, algorithm_der).algorithm.dotted_string


def _decode_info(signed_bytes: bytes) -> _RequestInfo | _LegacyRequestInfo:
    try:
        return asn1.decode_der(_RequestInfo, signed_bytes)
    except ValueError:
        return asn1.decode_der(_LegacyRequestInfo, signed_bytes)


def read_subject(name_der: bytes) -> RequestedSubject:
    """Read a Name that stands by itself (RFC 5280 4.1.2.4), as the subject of a request is read.

    Raises:
        CsrRejectedError: ``csr.subject_invalid``.
    """
    try:
        named = asn1.encode_der(_NamedTlv(subject=asn1.decode_der(asn1.TLV, name_der)))
        return _read_subject(asn1.decode_der(_Named, named))
    except ValueError as error:
        raise CsrRejectedError("csr.subject_invalid", "The name cannot be read.") from error


def _read_subject(info: _RequestInfo | _LegacyRequestInfo | _Named) -> RequestedSubject:
    """Read the name parts a profile may keep; a part named twice is refused, other parts are dropped."""
    found: dict[str, str] = {}
    for rdn in info.subject:
        for attribute in rdn.as_list():
            name = _NAME_PARTS.get(attribute.type)
            if name is None:
                continue
            if name in found:
                raise CsrRejectedError("csr.subject_invalid", f"The subject names its {name.replace('_', ' ')} twice.")
            value = attribute.value
            if isinstance(value, asn1.TLV):
                text = _read_legacy_string(name, value)
            else:
                text = value if isinstance(value, str) else value.as_str()
            if len(text) > ASKED_NAME_LIMIT or not text.isprintable():
                raise CsrRejectedError(
                    "csr.subject_invalid", f"The {name.replace('_', ' ')} in the subject is too long or not printable."
                )
            found[name] = text
    return RequestedSubject(common_name=found.pop("common_name", ""), **found)


def _read_legacy_string(name: str, value: asn1.TLV) -> str:
    codec = _STRING_CODECS.get(value.tag_bytes[0]) if len(value.tag_bytes) == 1 else None
    label = name.replace("_", " ")
    if codec is None:
        raise CsrRejectedError("csr.subject_invalid", f"The {label} in the subject is not a string type of X.509.")
    try:
        return str(value.data, codec)
    except ValueError as error:
        raise CsrRejectedError("csr.subject_invalid", f"The {label} in the subject is not valid text.") from error


_ECDSA_WITH = {
    "1.2.840.10045.4.3.2": ec.ECDSA(hashes.SHA256()),
    "1.2.840.10045.4.3.3": ec.ECDSA(hashes.SHA384()),
    "1.2.840.10045.4.3.4": ec.ECDSA(hashes.SHA512()),
}
_ED448 = "1.3.101.113"


def verify_proof(proof: CsrProof | OwnKeyProof, algorithm: KeyAlgorithm, key: PublicKey) -> None:
    """Check proof of possession (RFC 2986 4.2).

    Raises:
        CsrRejectedError: ``csr.signature_algorithm`` or ``csr.bad_signature``.
    """
    if isinstance(proof, OwnKeyProof):
        return
    try:
        if algorithm is KeyAlgorithm.ED448:
            if proof.signature_algorithm != _ED448:
                raise _wrong_signature_algorithm(algorithm)
            cast("ed448.Ed448PublicKey", key).verify(proof.signature, proof.signed_bytes)
        else:
            scheme = _ECDSA_WITH.get(proof.signature_algorithm)
            if scheme is None:
                raise _wrong_signature_algorithm(algorithm)
            # Not isinstance: an abstract class's check costs half a microsecond, and load_public_key has made it.
            cast("ec.EllipticCurvePublicKey", key).verify(proof.signature, proof.signed_bytes, scheme)
    except InvalidSignature as error:
        message = "The signature of the request does not match its public key."
        raise CsrRejectedError("csr.bad_signature", message) from error


def _wrong_signature_algorithm(algorithm: KeyAlgorithm) -> CsrRejectedError:
    return CsrRejectedError(
        "csr.signature_algorithm", f"The request's signature algorithm does not fit its {algorithm} key."
    )


def peek_common_name(csr_der: bytes) -> bytes | None:
    """Return the common name in UTF-8 without decoding the request; b"" when there is none, None when that is unsafe.

    A look, not a parse, and 40 times cheaper. Its octets stand behind its OID, which strict DER spells in one way only:
    where those octets occur once, they are it (or there is none). Where they occur again, somewhere in another value,
    and where the name is of a string type whose octets are not those of UTF-8, only a parse can tell.
    """
    start = csr_der.find(_COMMON_NAME_OID) + len(_COMMON_NAME_OID)
    if start < len(_COMMON_NAME_OID):
        return b""
    if start + 2 > len(csr_der) or csr_der.find(_COMMON_NAME_OID, start) >= 0:
        return None
    tag, length = csr_der[start], csr_der[start + 1]
    if tag not in _UTF8_TAGS or length > _SHORT_LENGTH:
        return None
    return csr_der[start + 2 : start + 2 + length]
