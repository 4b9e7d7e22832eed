"""X.509 certificates (RFC 5280): to-be-signed bytes from a profile, assembly, strict decoding, signature check.

A ``CertificateTemplate`` holds what is constant for one profile under one issuer, encoded once; only serial, validity,
subject and key are encoded for each certificate. Structures are declared and encoded by ``cryptography.hazmat.asn1``.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from pki_core.model.errors import MalformedError
from pki_core.model.profiles import Profile
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.extensions import (
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    alternative_names_value,
    constant_extensions,
)
from pki_core.wire.public_key import PublicKey, key_bits_of

SIGNATURE_ALGORITHM_DER = {
    # RFC 5758 3.2: parameters absent. RFC 8410 3: the same for Ed448.
    KeyAlgorithm.SECP256R1: bytes.fromhex("300a06082a8648ce3d040302"),
    KeyAlgorithm.SECP521R1: bytes.fromhex("300a06082a8648ce3d040304"),
    KeyAlgorithm.ED448: bytes.fromhex("300506032b6571"),
}
# Largest X.509 signature value with its BIT STRING header: P-256 72 + 3, P-521 139 + 4, Ed448 114 + 3.
LARGEST_SIGNATURE = {KeyAlgorithm.SECP256R1: 75, KeyAlgorithm.SECP521R1: 143, KeyAlgorithm.ED448: 117}

_CERTIFICATE_SIGNATURE = {
    KeyAlgorithm.SECP256R1: ec.ECDSA(hashes.SHA256()),
    KeyAlgorithm.SECP521R1: ec.ECDSA(hashes.SHA512()),
}
_OID = {
    "C": x509.ObjectIdentifier("2.5.4.6"),
    "ST": x509.ObjectIdentifier("2.5.4.8"),
    "L": x509.ObjectIdentifier("2.5.4.7"),
    "O": x509.ObjectIdentifier("2.5.4.10"),
    "OU": x509.ObjectIdentifier("2.5.4.11"),
    "DC": x509.ObjectIdentifier("0.9.2342.19200300.100.1.25"),
    "CN": x509.ObjectIdentifier("2.5.4.3"),
}
_FORMS = 256  # names and seconds of validity come and go
_LONG_SEQUENCE = b"\x30\x82"  # no certificate of ours has fewer than 256 octets
_SKI = x509.ObjectIdentifier(SUBJECT_KEY_IDENTIFIER)
_SAN = x509.ObjectIdentifier(SUBJECT_ALTERNATIVE_NAME)
FIRST_GENERALIZED_YEAR = 2050  # RFC 5280 4.1.2.5, 5.1.2.4
_PRINTABLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")


@asn1.sequence
class _Validity:
    not_before: asn1.UTCTime | asn1.GeneralizedTime
    not_after: asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    value: asn1.PrintableString | asn1.IA5String | str


@asn1.sequence
class _Extension:
    id: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@asn1.sequence
class _WrappedName:
    name: list[asn1.SetOf[_Attribute]]  # asn1 encodes only classes at the top: the Name is this sequence's content


@asn1.sequence
class _Tbs:
    version: Annotated[int, asn1.Explicit(0)]
    serial: int
    signature: asn1.TLV
    issuer: asn1.TLV
    validity: asn1.TLV
    subject: list[asn1.SetOf[_Attribute]]
    spki: asn1.TLV
    extensions: Annotated[list[_Extension], asn1.Explicit(3)]


@asn1.sequence
class _Certificate:
    tbs: asn1.TLV
    algorithm: asn1.TLV
    signature: asn1.BitString


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerNames:
    """What a certificate says about its issuer."""

    label: str
    subject_der: bytes
    key_identifier: bytes
    algorithm: KeyAlgorithm


class CertificateTemplate:
    """The constant parts of every certificate of one profile under one issuer."""

    def __init__(self, profile: Profile, issuer: IssuerNames) -> None:
        self._octets = profile.extensions.key_identifier_octets
        self._generalized = profile.generalized_time_always
        self._signature = _tlv(SIGNATURE_ALGORITHM_DER[issuer.algorithm])
        self._issuer = _tlv(issuer.subject_der)
        constant = constant_extensions(profile.extensions, issuer.label, issuer.key_identifier)
        extensions = [_Extension(id=oid, critical=critical, value=value) for oid, critical, value in constant]
        # Order of the certificates in the field: basic constraints, key identifiers, then the rest.
        self._before, self._after = extensions[:1], extensions[1:]
        self._forms: dict[object, tuple[bytes, ...]] = {}

    def tbs(
        self,
        serial: int,
        subject: tuple[tuple[str, str], ...],
        spki_der: bytes,
        validity: tuple[datetime, datetime],
        alternative_names: tuple[str, ...] = (),
    ) -> bytes:
        """Return the DER TBSCertificate; ``subject`` is the RDN sequence as (short name, text), the CN last.

        Encoded once for each shape; certificates that differ in serial, common name, key and key identifier alone, all
        of the same lengths, have those four set into the same octets. The lints judge the outcome, not the way.
        """
        common_name = subject[-1][1].encode()
        key_identifier = key_identifier_of(spki_der, self._octets)
        if alternative_names:
            own = _Extension(id=_SAN, critical=False, value=alternative_names_value(alternative_names))
            return self._encode(serial, (subject, validity), spki_der, key_identifier, own)
        values = (
            serial.to_bytes((serial.bit_length() + 8) // 8, "big", signed=True),
            common_name,
            spki_der,
            key_identifier,
        )
        shape = (subject[:-1], validity, len(values[0]), len(common_name), len(spki_der))
        form = self._forms.get(shape)
        if form is not None and common_name.isalnum():  # letters and digits: the same string type as the first one
            return b"".join([octets for pair in zip(form, (*values, b""), strict=True) for octets in pair])
        tbs_der = self._encode(serial, (subject, validity), spki_der, key_identifier)
        form = _form(tbs_der, values)
        if form is not None and common_name.isalnum():
            if len(self._forms) >= _FORMS:
                self._forms.clear()
            self._forms[shape] = form
        return tbs_der

    def _encode(
        self,
        serial: int,
        named: tuple[tuple[tuple[str, str], ...], tuple[datetime, datetime]],
        spki_der: bytes,
        key_identifier: bytes,
        *own: _Extension,
    ) -> bytes:
        subject, validity = named
        extension = _Extension(id=_SKI, critical=False, value=b"\x04" + bytes((self._octets,)) + key_identifier)
        return asn1.encode_der(
            _Tbs(
                version=2,
                serial=serial,
                signature=self._signature,
                issuer=self._issuer,
                validity=_validity(validity[0], validity[1], generalized=self._generalized),
                subject=[_rdn(name, text) for name, text in subject],
                spki=_tlv(spki_der),
                extensions=[*self._before, extension, *self._after, *own],
            )
        )


def _form(tbs_der: bytes, values: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """Return what stands around the values, None when one of them does not stand there exactly once, in this order."""
    pieces, last = [], 0
    for value in values:
        start = tbs_der.find(value)
        if start < last or tbs_der.find(value, start + 1) >= 0:
            return None
        pieces.append(tbs_der[last:start])
        last = start + len(value)
    return (*pieces, tbs_der[last:])


def name_der(subject: tuple[tuple[str, str], ...]) -> bytes:
    """Return a Name as DER."""
    wrapped = asn1.encode_der(_WrappedName(name=[_rdn(name, text) for name, text in subject]))
    return bytes(_tlv(wrapped).data)


def assemble(tbs_der: bytes, algorithm: KeyAlgorithm, signature: bytes) -> bytes:
    """Join to-be-signed bytes and signature value to a certificate (RFC 5280 4.1)."""
    return asn1.encode_der(
        _Certificate(
            tbs=_tlv(tbs_der),
            algorithm=_algorithm_tlv(algorithm),
            signature=asn1.BitString(signature, 0),
        )
    )


def signed_bytes_of(certificate_der: bytes) -> bytes:
    """Return the TBSCertificate of a certificate exactly as it stands in it."""
    try:
        return asn1.encode_der(asn1.decode_der(_Certificate, certificate_der).tbs)
    except ValueError as error:
        raise MalformedError("not a DER certificate") from error


def carries(certificate_der: bytes, tbs_der: bytes) -> bool:
    """Tell whether a certificate's signed part is exactly these octets: they follow the outer header, 4 octets long."""
    return certificate_der.startswith(_LONG_SEQUENCE) and certificate_der.startswith(tbs_der, 4)


def signature_of(certificate_der: bytes) -> bytes:
    """Return the signature value of a certificate."""
    try:
        return asn1.decode_der(_Certificate, certificate_der).signature.as_bytes()
    except ValueError as error:
        raise MalformedError("not a DER certificate") from error


def signature_is_valid(key: PublicKey, algorithm: KeyAlgorithm, signed: bytes, signature: bytes) -> bool:
    """Tell whether a signature value verifies with the issuer's public key."""
    try:
        if algorithm is KeyAlgorithm.ED448:
            cast("ed448.Ed448PublicKey", key).verify(signature, signed)
        else:
            cast("ec.EllipticCurvePublicKey", key).verify(signature, signed, _CERTIFICATE_SIGNATURE[algorithm])
    except InvalidSignature:
        return False
    return True


def key_identifier_of(spki_der: bytes, octets: int) -> bytes:
    """Return a subject key identifier of RFC 5280 4.2.1.2: 20 octets by method 1, 8 octets by method 2."""
    bits = key_bits_of(spki_der)
    digest = hashlib.sha1(bits, usedforsecurity=False).digest()
    if octets == len(digest):
        return digest
    return bytes((0x40 | digest[12] & 0x0F,)) + digest[13:]


def _tlv(der: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, der)


@lru_cache(maxsize=8)
def _algorithm_tlv(algorithm: KeyAlgorithm) -> asn1.TLV:
    return _tlv(SIGNATURE_ALGORITHM_DER[algorithm])


@lru_cache(maxsize=256)
def _validity(not_before: datetime, not_after: datetime, *, generalized: bool) -> asn1.TLV:
    times = [
        asn1.GeneralizedTime(moment) if generalized or moment.year >= FIRST_GENERALIZED_YEAR else asn1.UTCTime(moment)
        for moment in (not_before, not_after)
    ]
    return _tlv(asn1.encode_der(_Validity(not_before=times[0], not_after=times[1])))


def _rdn(name: str, text: str) -> asn1.SetOf[_Attribute]:
    value: asn1.PrintableString | asn1.IA5String | str = text
    if name == "DC":
        value = asn1.IA5String(text)  # RFC 4519 2.4
    elif _PRINTABLE.issuperset(text):
        value = asn1.PrintableString(text)
    return asn1.SetOf([_Attribute(type=_OID[name], value=value)])
