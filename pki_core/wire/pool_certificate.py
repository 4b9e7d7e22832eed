"""Certificates that come into the pools (RFC 5280 4.1, 6.1), other people's among them: read, and held to their issuer.

Read with asn1crypto: the field's real certificates encode ``cA FALSE``, which strict decoders refuse.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from asn1crypto import x509

from pki_core.model.certificates import serial_text
from pki_core.model.errors import CsrRejectedError, MalformedError
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.public_key import load_public_key
from pki_core.wire.unreadable import BY_ASN1CRYPTO

MAX_OCTETS = 4096  # ISO 15118-20 allows 1600; roots of others carry more
_ALTERNATIVE_PUBLIC_KEY = "2.5.29.72"
_OF_CAS = frozenset({"key_cert_sign", "crl_sign"})
_KNOWN_IN_LEAFS = frozenset(
    {"basic_constraints", "key_usage", "extended_key_usage", "subject_alt_name", "certificate_policies"}
)
_SIGNED_BY = {
    "1.2.840.10045.4.3.2": KeyAlgorithm.SECP256R1,
    "1.2.840.10045.4.3.4": KeyAlgorithm.SECP521R1,
    "1.3.101.113": KeyAlgorithm.ED448,
}


@dataclass(frozen=True, kw_only=True)
class PoolCertificate:
    """What the pools want to know of a certificate."""

    der: bytes
    serial: str
    common_name: str
    not_before: datetime
    not_after: datetime
    spki_der: bytes
    is_ca: bool
    may_sign_certificates: bool
    path_length: int | None
    subject: str  # comparable: RFC 5280 7.1
    issuer: str
    signature_algorithm: str  # dotted OID
    signed_der: bytes
    signature: bytes

    @cached_property
    def algorithm(self) -> KeyAlgorithm:
        """The key's algorithm; MalformedError when it is none of ISO 15118."""
        try:
            return load_public_key(self.spki_der)[0]
        except CsrRejectedError as error:
            raise MalformedError(str(error)) from error

    @property
    def is_self_issued(self) -> bool:
        """Whether it names itself as its issuer."""
        return self.subject == self.issuer

    def is_signed_by(self, issuer: "PoolCertificate") -> bool:
        """Tell whether its signature verifies with another certificate's key, and that is the issuer it names."""
        algorithm = _SIGNED_BY.get(self.signature_algorithm)
        if algorithm is None or self.issuer != issuer.subject:
            return False
        try:
            found, key = load_public_key(issuer.spki_der)
        except CsrRejectedError:
            return False
        return found is algorithm and signature_is_valid(key, algorithm, self.signed_der, self.signature)


def read_certificate(certificate_der: bytes) -> PoolCertificate:
    """Read a certificate.

    Raises:
        MalformedError: it is none, is longer than any in the field, or cannot be read in some part.
    """
    if not 0 < len(certificate_der) <= MAX_OCTETS:
        raise MalformedError(f"a certificate has at most {MAX_OCTETS} octets")
    try:
        return _read(x509.Certificate.load(certificate_der, strict=True), certificate_der)
    except BY_ASN1CRYPTO as error:
        raise MalformedError("not a DER certificate") from error


def _read(parsed: Any, certificate_der: bytes) -> PoolCertificate:  # noqa: ANN401  # asn1crypto has no types
    constraints = parsed.basic_constraints_value
    usage = parsed.key_usage_value
    is_ca = constraints is not None and bool(constraints["ca"].native)
    tbs = parsed["tbs_certificate"]
    if tbs["signature"].dump() != parsed["signature_algorithm"].dump():
        raise ValueError("two signature algorithms")
    names = [value.native for rdn in parsed.subject.chosen for value in rdn if value["type"].native == "common_name"]
    return PoolCertificate(
        der=certificate_der,
        serial=serial_text(max(parsed.serial_number, 0)),
        common_name=str(names[-1]["value"]) if names else "",
        not_before=parsed.not_valid_before,
        not_after=parsed.not_valid_after,
        spki_der=parsed.public_key.dump(),
        is_ca=is_ca,
        may_sign_certificates=is_ca and (usage is None or "key_cert_sign" in usage.native),
        path_length=constraints["path_len_constraint"].native if is_ca else None,
        subject=parsed.subject.hashable,
        issuer=parsed.issuer.hashable,
        signature_algorithm=parsed["signature_algorithm"]["algorithm"].dotted,
        signed_der=tbs.dump(),
        signature=parsed["signature_value"].native,
    )


def leaf_fault(certificate_der: bytes) -> str:
    """Say what keeps a leaf from signing for its owner in ISO 15118 (Annex F); "" when nothing does.

    Certificates of 2021 and 2022 have no key usage, and work. What is there has to allow signatures and no CA's acts.

    Raises:
        MalformedError: not a DER certificate.
    """
    try:
        parsed = x509.Certificate.load(certificate_der, strict=True)
        usage = parsed.key_usage_value
        allowed = None if usage is None else set(usage.native)
        unknown = sorted(set(parsed.critical_extensions) - _KNOWN_IN_LEAFS)
    except BY_ASN1CRYPTO as error:
        raise MalformedError("not a DER certificate") from error
    if allowed is not None and "digital_signature" not in allowed:
        return "may not make signatures: its key usage lacks digitalSignature"
    if allowed is not None and allowed & _OF_CAS:
        return "has the key usage of a CA"
    return f"has critical extensions that vehicles do not know: {', '.join(unknown)}" if unknown else ""


def alternative_public_key(certificate_der: bytes) -> bytes:
    """Return the DER SubjectPublicKeyInfo in a certificate's subjectAltPublicKeyInfo; b"" when there is none.

    Raises:
        MalformedError: not a DER certificate.
    """
    try:
        extensions = x509.Certificate.load(certificate_der, strict=True)["tbs_certificate"]["extensions"]
        for extension in extensions:
            if extension["extn_id"].dotted == _ALTERNATIVE_PUBLIC_KEY:
                return bytes(extension["extn_value"])
    except BY_ASN1CRYPTO as error:
        raise MalformedError("not a DER certificate") from error
    return b""


def domain_components_of(certificate_der: bytes) -> tuple[str, ...]:
    """Return the DC values of a certificate's subject, which name its role in ISO 15118; MalformedError for others."""
    try:
        subject = x509.Certificate.load(certificate_der, strict=True).subject
        parts = [part for rdn in subject.chosen for part in rdn]
        return tuple(str(part["value"].native) for part in parts if part["type"].native == "domain_component")
    except BY_ASN1CRYPTO as error:
        raise MalformedError("not a DER certificate") from error
