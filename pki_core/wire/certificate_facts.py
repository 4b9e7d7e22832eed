"""What revocation asks of a certificate (RFC 5280 4.2): whose it is, and where its CRL is found."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki_core.model.certificates import serial_text
from pki_core.model.errors import MalformedError
from pki_core.wire.unreadable import BY_CRYPTOGRAPHY


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """A few values of one certificate."""

    serial: str
    is_ca: bool
    is_root: bool  # self-issued CA
    may_sign_crls: bool
    crl_urls: tuple[str, ...]


def read_facts(certificate_der: bytes) -> CertificateFacts:
    """Read a certificate; MalformedError when it is none."""
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        found = {extension.oid: extension.value for extension in certificate.extensions}
        constraints = found.get(x509.BasicConstraints.oid)
        is_ca = isinstance(constraints, x509.BasicConstraints) and constraints.ca
        is_root = is_ca and certificate.subject == certificate.issuer  # names cost more than all else: of CAs only
        serial = certificate.serial_number
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("not a certificate") from error
    usage = found.get(x509.KeyUsage.oid)
    points = found.get(x509.CRLDistributionPoints.oid)
    return CertificateFacts(
        serial=serial_text(serial) if serial > 0 else "",
        is_ca=is_ca,
        is_root=is_root,
        may_sign_crls=isinstance(usage, x509.KeyUsage) and usage.crl_sign,
        crl_urls=tuple(_urls(points)) if isinstance(points, x509.CRLDistributionPoints) else (),
    )


def spki_in(certificate_der: bytes) -> bytes:
    """Return the public key of one of our certificates as DER SubjectPublicKeyInfo, the octets that were certified."""
    key = x509.load_der_x509_certificate(certificate_der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _urls(points: x509.CRLDistributionPoints) -> list[str]:
    return [
        name.value
        for point in points
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
