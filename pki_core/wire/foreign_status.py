"""Status of other people's certificates: OCSP (RFC 6960) and CRLs (RFC 5280 6.3) as their relying party reads them.

Nothing is believed that is not signed by the certificate's issuer, or by a responder that this issuer made one
(RFC 6960 4.2.2.2), and that is not of now. Certificates are read with asn1crypto: the field's encode ``cA FALSE``.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import CRLEntryExtensionOID, ExtendedKeyUsageOID, ExtensionOID

from pki_core.model.errors import MalformedError
from pki_core.model.foreign_status import StatusReport, StatusSources
from pki_core.model.pools import ForeignStatus
from pki_core.wire.unreadable import BY_ASN1CRYPTO, BY_CRYPTOGRAPHY

_TOLERANCE = timedelta(minutes=5)  # between their clock and ours
_WITHOUT_END = timedelta(days=1)  # RFC 6960 4.2.2.1: no nextUpdate = newer information is always there
_WEAK = frozenset({"md5", "sha1"})  # others than the CA can make signatures with them
_UNDERSTOOD = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.AUTHORITY_KEY_IDENTIFIER})


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCertificate:
    """A certificate and the CA certificate above it, as far as its status is concerned."""

    serial: int
    is_ca: bool
    sources: StatusSources
    issuer: x509.Certificate
    issuer_name_hash: bytes  # SHA-1, as every responder in the field knows it
    issuer_key_hash: bytes


def read_foreign(certificate_der: bytes, issuer_der: bytes) -> ForeignCertificate:
    """Read a certificate and its issuer.

    Raises:
        MalformedError: one of them cannot be read, or the one does not name the other as its issuer.
    """
    try:
        parsed: Any = asn1_x509.Certificate.load(certificate_der, strict=True)
        above: Any = asn1_x509.Certificate.load(issuer_der, strict=True)
        issuer = x509.load_der_x509_certificate(issuer_der)
        issuer.public_key()
        if parsed.issuer != above.subject:
            raise MalformedError("the certificate names another issuer")
        constraints = parsed.basic_constraints_value
        return ForeignCertificate(
            serial=parsed.serial_number,
            is_ca=constraints is not None and bool(constraints["ca"].native),
            sources=StatusSources(
                ocsp_urls=tuple(_web(parsed.ocsp_urls)),
                crl_urls=tuple(_web(point.url for point in parsed.crl_distribution_points)),
            ),
            issuer=issuer,
            issuer_name_hash=hashlib.sha1(above.subject.dump(), usedforsecurity=False).digest(),
            issuer_key_hash=hashlib.sha1(bytes(above.public_key["public_key"]), usedforsecurity=False).digest(),
        )
    except (*BY_ASN1CRYPTO, *BY_CRYPTOGRAPHY) as error:
        raise MalformedError("a certificate cannot be read") from error


def ocsp_request_der(asked: ForeignCertificate) -> bytes:
    """Return a request for one certificate (RFC 6960 4.1.1), without a nonce: answers signed ahead are welcome."""
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        asked.issuer_name_hash,
        asked.issuer_key_hash,
        asked.serial,
        hashes.SHA1(),  # noqa: S303  # a name of the certificate, not a seal
    )
    return builder.build().public_bytes(serialization.Encoding.DER)


def read_ocsp(response_der: bytes, asked: ForeignCertificate, source: str, now: datetime) -> StatusReport:
    """Return what a response says of a certificate.

    Raises:
        MalformedError: it says nothing that can be believed; the text says why.
    """
    try:
        response = ocsp.load_der_ocsp_response(response_der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise MalformedError(f"the responder answers {response.response_status.name.lower()}")
        _check_responder(response, asked.issuer, now)
        wanted = (asked.issuer_name_hash, asked.issuer_key_hash, asked.serial)
        for single in response.responses:
            if (single.issuer_name_hash, single.issuer_key_hash, single.serial_number) == wanted:
                return _single(single, source, now)
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("the response cannot be read") from error
    raise MalformedError("the response is about another certificate")


def _single(single: ocsp.OCSPSingleResponse, source: str, now: datetime) -> StatusReport:
    begin = single.this_update_utc
    end = single.next_update_utc or begin + _WITHOUT_END
    _check_time(begin, end, now)
    standing = {
        ocsp.OCSPCertStatus.GOOD: ForeignStatus.GOOD,
        ocsp.OCSPCertStatus.REVOKED: ForeignStatus.REVOKED,
        ocsp.OCSPCertStatus.UNKNOWN: ForeignStatus.UNKNOWN,
    }[single.certificate_status]
    reason = single.revocation_reason
    return StatusReport(
        standing=standing,
        source=source,
        this_update=begin,
        good_until=end,
        revoked_at=single.revocation_time_utc,
        reason="" if reason is None else reason.value,
    )


def _check_responder(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> None:
    for candidate in [issuer, *response.certificates]:
        if _is_named(candidate, response) and _may_answer(candidate, issuer, now) and _has_signed(candidate, response):
            return
    raise MalformedError("the response is not signed by the CA, nor by a responder of its own")


def _is_named(candidate: x509.Certificate, response: ocsp.OCSPResponse) -> bool:
    if response.responder_name is not None:
        return candidate.subject == response.responder_name
    return x509.SubjectKeyIdentifier.from_public_key(candidate.public_key()).digest == response.responder_key_hash


def _may_answer(candidate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    if candidate == issuer:
        return True
    if not candidate.not_valid_before_utc <= now + _TOLERANCE or now > candidate.not_valid_after_utc:
        return False
    try:
        candidate.verify_directly_issued_by(issuer)
        usage = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (*BY_CRYPTOGRAPHY, InvalidSignature, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _has_signed(candidate: x509.Certificate, response: ocsp.OCSPResponse) -> bool:
    key, signed, signature = candidate.public_key(), response.tbs_response_bytes, response.signature
    digest = response.signature_hash_algorithm
    if digest is not None and digest.name in _WEAK:
        return False
    try:
        if isinstance(key, ed448.Ed448PublicKey | ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(signature, signed, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        else:
            return False
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCrl:
    """A CRL that may be believed about certificates of its issuer."""

    parsed: x509.CertificateRevocationList
    source: str
    octets: int
    this_update: datetime
    next_update: datetime
    point_urls: tuple[str, ...]  # of the distribution point it is for; () = it covers every certificate
    for_leafs_only: bool
    for_cas_only: bool


def read_crl(crl_der: bytes, issuer: x509.Certificate, source: str, now: datetime) -> ForeignCrl:
    """Read a complete CRL of an issuer (RFC 5280 6.3.3).

    Raises:
        MalformedError: it is another's, not of now, a delta, indirect, for some reasons only, or carries a critical
            extension that is not understood.
    """
    try:
        parsed = x509.load_der_x509_crl(crl_der)
        if parsed.issuer != issuer.subject or not parsed.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]  # it refuses other keys itself
            raise MalformedError("the CRL is not signed by the CA")
        digest = parsed.signature_hash_algorithm
        if digest is not None and digest.name in _WEAK:
            raise MalformedError(f"the CRL is signed with {digest.name}")
        end = parsed.next_update_utc
        if end is None:
            raise MalformedError("the CRL does not say when the next one is due")  # RFC 5280 5.1.2.5
        _check_time(parsed.last_update_utc, end, now)
        found = {extension.oid: extension for extension in parsed.extensions}
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("the CRL cannot be read") from error
    if ExtensionOID.DELTA_CRL_INDICATOR in found:
        raise MalformedError("the CRL is a delta")
    if any(extension.critical and oid not in _UNDERSTOOD for oid, extension in found.items()):
        raise MalformedError("the CRL carries a critical extension that is not understood")
    point = found.get(ExtensionOID.ISSUING_DISTRIBUTION_POINT)
    value: Any = point.value if point else None
    if value and (value.indirect_crl or value.only_some_reasons or value.only_contains_attribute_certs):
        raise MalformedError("the CRL is indirect, or for some certificates or reasons only")
    return ForeignCrl(
        parsed=parsed,
        source=source,
        octets=len(crl_der),
        this_update=parsed.last_update_utc,
        next_update=end,
        point_urls=tuple(str(name.value) for name in (value.full_name or ())) if value else (),
        for_leafs_only=bool(value and value.only_contains_user_certs),
        for_cas_only=bool(value and value.only_contains_ca_certs),
    )


def look_up(crl: ForeignCrl, asked: ForeignCertificate) -> StatusReport:
    """Return what a CRL says of a certificate.

    Raises:
        MalformedError: it does not cover this one.
    """
    is_other_kind = crl.for_cas_only if not asked.is_ca else crl.for_leafs_only
    is_other_point = crl.point_urls and not set(crl.point_urls) & set(asked.sources.crl_urls)
    if is_other_kind or is_other_point:
        raise MalformedError("the CRL is for other certificates")
    entry = crl.parsed.get_revoked_certificate_by_serial_number(asked.serial)
    return StatusReport(
        standing=ForeignStatus.GOOD if entry is None else ForeignStatus.REVOKED,
        source=crl.source,
        this_update=crl.this_update,
        good_until=crl.next_update,
        revoked_at=None if entry is None else entry.revocation_date_utc,
        reason="" if entry is None else _reason(entry),
    )


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        value: Any = entry.extensions.get_extension_for_oid(CRLEntryExtensionOID.CRL_REASON).value
    except (*BY_CRYPTOGRAPHY, x509.ExtensionNotFound):
        return ""
    return str(value.reason.value)


def _check_time(begin: datetime, end: datetime, now: datetime) -> None:
    if begin > now + _TOLERANCE:
        raise MalformedError("what it says is of the future")
    if end < now - _TOLERANCE:
        raise MalformedError("what it says is out of date")


def _web(urls: Any) -> list[str]:  # noqa: ANN401  # asn1crypto has no types
    return [url for url in urls if isinstance(url, str) and url.lower().startswith(("http://", "https://"))]
