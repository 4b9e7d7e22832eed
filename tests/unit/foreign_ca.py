"""Somebody else's CA, made with another library: certificates, OCSP responses and CRLs, right by default."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
DAY = timedelta(days=1)


def der(thing):
    return thing.public_bytes(Encoding.DER)


class ForeignCa:
    """One CA."""

    def __init__(self, name="Foreign CA"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.make(
            self.name, self.key, [(x509.BasicConstraints(ca=True, path_length=None), True)], serial=1
        )

    def make(self, subject, key, extensions, serial=None, lifetime=(NOW - YEAR, NOW + YEAR)):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(serial or x509.random_serial_number())
        builder = builder.not_valid_before(lifetime[0]).not_valid_after(lifetime[1])
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def leaf(self, ocsp_url="", crl_url="", name="leaf"):
        """A certificate that names where its status is told."""
        extensions = []
        if ocsp_url:
            place = x509.UniformResourceIdentifier(ocsp_url)
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
            extensions.append((x509.AuthorityInformationAccess([access]), False))
        if crl_url:
            place = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
            extensions.append((x509.CRLDistributionPoints([place]), False))
        key = ec.generate_private_key(ec.SECP256R1())
        return self.make(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, extensions)

    def responder(self, *, usage=ExtendedKeyUsageOID.OCSP_SIGNING, lifetime=(NOW - DAY, NOW + DAY)):
        """A key and the certificate that makes it a responder."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "responder")])
        extensions = [(x509.ExtendedKeyUsage([usage]), False)]
        return key, self.make(name, key, extensions, lifetime=lifetime)

    def response(self, leaf, standing=ocsp.OCSPCertStatus.GOOD, *, signer=None, about=None, times=None):
        """A response about a leaf, signed by the CA or by ``signer``, a key and its certificate."""
        key, certificate = signer or (self.key, self.certificate)
        begin, end = times or (NOW - timedelta(hours=1), NOW + timedelta(hours=1))
        is_revoked = standing is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=about or leaf,
            issuer=self.certificate,
            algorithm=hashes.SHA1(),  # noqa: S303  # the CertID everybody uses
            cert_status=standing,
            this_update=begin,
            next_update=end,
            revocation_time=NOW - DAY if is_revoked else None,
            revocation_reason=x509.ReasonFlags.key_compromise if is_revoked else None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, certificate)
        if signer is not None:
            builder = builder.certificates([certificate])
        return der(builder.sign(key, hashes.SHA256()))

    def crl(self, revoked=(), extensions=(), *, key=None, name=None, times=None):
        """A CRL that lists some certificates."""
        begin, end = times or (NOW - DAY, NOW + DAY)
        builder = x509.CertificateRevocationListBuilder().issuer_name(name or self.name)
        builder = builder.last_update(begin).next_update(end)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            entry = entry.revocation_date(NOW - DAY)
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.superseded), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return der(builder.sign(key or self.key, hashes.SHA256()))
