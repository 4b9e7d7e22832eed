"""Bodies of EST enrolments (RFC 7030 4.2.1, RFC 8951 3): whatever clients send, to DER; and a request's attributes.

The extensions a request asks for are read for one purpose only: RFC 7030 4.2.2 wants the alternative names of a
renewal to be those of the certificate it renews.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat import asn1

from pki_core.model.errors import CsrRejectedError, MalformedError
from pki_core.model.requests import RequestedSubject
from pki_core.wire.csr import read_subject
from pki_core.wire.pem import CSR_LABELS, base64_to_der, pem_to_der
from pki_core.wire.unreadable import BY_CRYPTOGRAPHY

_WHITE_SPACE = b" \t\r\n"
_SEQUENCE, _SET, _CONTEXT_0 = 0x30, 0x31, 0xA0
_DER_LENGTH = 0x80  # a request is longer than 127 octets: its length has the long form, which is no base64
_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105  # an OID
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
# RFC 4108 2.2.5, RFC 7030 4.4.1.2: keys that a generated private key shall be encrypted with
_DECRYPT_KEYS = frozenset({"1.2.840.113549.1.9.16.2.37", "1.2.840.113549.1.9.16.2.54"})
_CHANGE_SUBJECT_NAME = "1.3.6.1.5.5.7.7.36"  # RFC 6402 2.8
_SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
_MAX_PASSWORD = 1024

Names = tuple[frozenset[tuple[str, str]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CsrAttributes:
    """What a request carries besides name and key."""

    challenge_password: str = ""
    alternative_names: frozenset[bytes] | None = None  # the GeneralNames asked for, each as DER; None = not asked for
    new_subject_der: bytes = b""  # of ChangeSubjectName; empty = no change
    changes_alternative_names: bool = False
    wants_encrypted_key: bool = False  # a private key that is made for it shall be encrypted beside TLS


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    values: asn1.TLV


@asn1.sequence
class _Extension:
    id: x509.ObjectIdentifier
    rest: asn1.TLV  # critical or value


@asn1.sequence
class _CriticalExtension:
    id: x509.ObjectIdentifier
    critical: bool
    value: bytes


@asn1.sequence
class _PlainExtension:
    id: x509.ObjectIdentifier
    value: bytes


@asn1.sequence
class _Info:
    version: int
    subject: asn1.TLV
    spki: asn1.TLV
    attributes: asn1.TLV


def csr_der_of(body: bytes) -> bytes:
    """Return the DER request in a body: base64 with any white space, PEM, or DER as it is.

    Raises:
        MalformedError: none of these.
    """
    if body[:1] == b"\x30" and body[1:2] >= bytes((_DER_LENGTH,)):
        return body
    if b"-----BEGIN" in body:
        try:
            return pem_to_der(body.decode("ascii"), CSR_LABELS)
        except UnicodeDecodeError as error:
            raise MalformedError("the PEM text is not ASCII") from error
    try:
        text = body.translate(None, _WHITE_SPACE).decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedError("the body is neither base64 nor a DER request") from error
    if not text:
        raise MalformedError("the body is empty; it must hold a certificate signing request")
    return base64_to_der(text)


def read_attributes(signed_bytes: bytes) -> CsrAttributes:
    """Read the attributes of a CertificationRequestInfo that was decoded before.

    Raises:
        CsrRejectedError: ``csr.attributes_invalid``.
    """
    if signed_bytes.endswith(b"\xa0\x00"):
        return CsrAttributes()
    try:
        attributes = bytes(asn1.decode_der(_Info, signed_bytes).attributes.data)
        return _collect([asn1.decode_der(_Attribute, der) for der in elements(attributes)])
    except (ValueError, LookupError) as error:
        raise CsrRejectedError("csr.attributes_invalid", "The attributes of the request cannot be read.") from error


def _collect(attributes: list[_Attribute]) -> CsrAttributes:
    found: dict[str, bytes] = {}
    for attribute in attributes:
        name = attribute.type.dotted_string
        if name in {_CHALLENGE_PASSWORD, _EXTENSION_REQUEST, _CHANGE_SUBJECT_NAME}:
            values = elements(bytes(attribute.values.data))
            if name in found or len(values) != 1 or attribute.values.tag_bytes != bytes((_SET,)):
                raise ValueError(name)
            found[name] = values[0]
    password = _text(found[_CHALLENGE_PASSWORD]) if _CHALLENGE_PASSWORD in found else ""
    subject_der, changes_names = _change(found.get(_CHANGE_SUBJECT_NAME))
    return CsrAttributes(
        challenge_password=password,
        alternative_names=_alternative_names(found.get(_EXTENSION_REQUEST)),
        new_subject_der=subject_der,
        changes_alternative_names=changes_names,
        wants_encrypted_key=any(one.type.dotted_string in _DECRYPT_KEYS for one in attributes),
    )


def _text(value_der: bytes) -> str:
    """Read a DirectoryString or IA5String (RFC 2985 5.4.1)."""
    tag, content = value_der[0], _content(value_der)
    if len(content) > _MAX_PASSWORD:
        raise ValueError("long")
    return content.decode({0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be"}[tag])


def _alternative_names(extensions_der: bytes | None) -> frozenset[bytes] | None:
    if extensions_der is None:
        return None
    for der in elements(_content(extensions_der)):
        try:
            oid, value = (one := asn1.decode_der(_PlainExtension, der)).id, one.value
        except ValueError:
            oid, value = (two := asn1.decode_der(_CriticalExtension, der)).id, two.value
        if oid.dotted_string == _SUBJECT_ALTERNATIVE_NAME:
            return frozenset(elements(_content(value)))
    return None


def _change(value_der: bytes | None) -> tuple[bytes, bool]:
    """Tell the two optional SEQUENCEs of ChangeSubjectName apart by what they hold: RDNs are SETs."""
    if value_der is None:
        return b"", False
    subject_der, others = b"", False
    for der in elements(_content(value_der)):
        inner = _content(der)
        if der[0] == _SEQUENCE and inner[:1] == bytes((_SET,)) and not subject_der:
            subject_der = der
        else:
            others = True
    return subject_der, others


def elements(content: bytes) -> list[bytes]:
    """Cut the content of a constructed value into its elements; ValueError when that does not come out even."""
    cut, position = [], 0
    while position < len(content):
        end = _end(content, position)
        cut.append(content[position:end])
        position = end
    return cut


def _end(content: bytes, position: int) -> int:
    start, length = _length(content, position)
    if start + length > len(content):
        raise ValueError("truncated")
    return start + length


def _length(content: bytes, position: int) -> tuple[int, int]:
    first = content[position + 1]
    if first < _DER_LENGTH:
        return position + 2, first
    count = first & 0x7F
    if not 1 <= count <= 3:  # noqa: PLR2004  # octets: more than any request may have
        raise ValueError("length")
    return position + 2 + count, int.from_bytes(content[position + 2 : position + 2 + count], "big")


def _content(der: bytes) -> bytes:
    start, length = _length(der, 0)
    return der[start : start + length]


def same_names(csr_der: bytes, certificate_der: bytes) -> bool:
    """Tell whether a request names the very subject of a certificate, compared as RFC 5280 7.1 says.

    Raises:
        CsrRejectedError: ``csr.subject_invalid``: the name cannot be compared.
    """
    try:
        asked = _comparable(x509.load_der_x509_csr(csr_der).subject)
        held = _comparable(x509.load_der_x509_certificate(certificate_der).subject)
    except BY_CRYPTOGRAPHY as error:
        raise CsrRejectedError("csr.subject_invalid", "The subject of the request cannot be read.") from error
    return asked == held


def _comparable(name: x509.Name) -> Names:
    return tuple(
        frozenset((one.oid.dotted_string, " ".join(str(one.value).split()).casefold()) for one in rdn)
        for rdn in name.rdns
    )


def alternative_names_of(certificate_der: bytes) -> frozenset[bytes] | None:
    """Return the GeneralNames of a certificate of ours, each as DER; None when it has none."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return frozenset(elements(_content(extension.value.public_bytes())))


def changed_subject(attributes: CsrAttributes) -> RequestedSubject:
    """Return the name a ChangeSubjectName asks for.

    Raises:
        CsrRejectedError: ``csr.subject_invalid``.
    """
    return read_subject(attributes.new_subject_der)
