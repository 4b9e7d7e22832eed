"""Chains for contract data: a V2G root with CPS and MO branches, an OEM root and their leaves, one set an algorithm."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.contracts import CertificateChain, RootCertificateId
from pki_core.model.signer import KeyAlgorithm
from tests.builders import NOW, MemorySigner, name, new_key

PCID = "WVWTEST20260000171"
EMAID = "DEABCC123456788"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A certificate with its key; a CA too."""

    certificate: x509.Certificate
    key: object
    above: "Entity | None"

    @property
    def der(self):
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_identifier(self):
        return self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest

    @property
    def root_id(self):
        return RootCertificateId(
            issuer_name=self.certificate.subject.rfc4514_string(), serial=self.certificate.serial_number
        )

    def chain(self):
        """The leaf and everything between it and its root."""
        subs, above = [], self.above
        while above.above:
            subs.append(above.der)
            above = above.above
        return CertificateChain(certificate_der=self.der, sub_certificates_der=tuple(subs))

    def signer(self, algorithm):
        signer = MemorySigner(algorithm)
        signer.key = self.key
        return signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """Everybody who takes part in a certificate installation."""

    algorithm: KeyAlgorithm
    v2g_root: Entity
    cps: Entity
    contract: Entity
    oem: Entity


def issue(common_name, key, issuer=None, branch="V2G", *, is_ca=True, lifetime=timedelta(days=3650)):
    """Issue a certificate, self-signed without an issuer."""
    subject = name(("C", "DE"), ("O", "Test"), ("DC", branch), ("CN", common_name))
    signing_key = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + lifetime)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier(x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest[:8]),
            critical=False,
        )
    )
    return Entity(certificate=builder.sign(signing_key, _digest(signing_key)), key=key, above=issuer)


def make_chains(algorithm, *, contract_key=None, pcid=PCID, emaid=EMAID):
    """New keys and certificates throughout."""
    roots = {branch: issue(f"{branch} Root", new_key(algorithm), branch=branch) for branch in ("V2G", "OEM")}

    def leaf(root, branch, common_name, key=None):
        sub = roots[root]
        for level in (1, 2):
            sub = issue(f"{branch} Sub{level}", new_key(algorithm), sub, root)
        return issue(common_name, key or new_key(algorithm), sub, branch, is_ca=False)

    return Chains(
        algorithm=algorithm,
        v2g_root=roots["V2G"],
        cps=leaf("V2G", "CPS", "Test CPS"),
        contract=leaf("V2G", "MO", emaid, contract_key),
        oem=leaf("OEM", "OEM", pcid),
    )


@cache
def chains(algorithm=KeyAlgorithm.SECP256R1):
    """One set an algorithm, where it does not matter which."""
    return make_chains(algorithm)


def _digest(key):
    if isinstance(key, ed448.Ed448PrivateKey):
        return None
    return hashes.SHA256() if key.curve.name == "secp256r1" else hashes.SHA512()
