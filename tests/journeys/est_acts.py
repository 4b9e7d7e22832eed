"""What tests do with EST: a client that speaks through a trusted proxy, requests of partners, answers taken apart."""

import base64
import hashlib
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote

from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.clock import SystemClock
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime import open_runtime
from tests.builders import make_csr, name, new_key
from webapp import create_app

PROXY_SECRET = "a secret that only the proxy knows"
STATION = "DEPNCE12345"
CSR_TYPE = {"Content-Type": "application/pkcs10"}


@dataclass
class EstClient:
    """One client of one environment; certificate and binding travel in the headers of a trusted proxy."""

    runtime: object
    app: object
    basic: tuple[str, str] | None = None
    certificate_der: bytes | None = None
    tls_unique: bytes | None = None
    headers: dict = field(default_factory=dict)

    def _headers(self):
        headers = dict(self.headers)
        if self.basic is not None:
            text = base64.b64encode(":".join(self.basic).encode()).decode()
            headers["Authorization"] = f"Basic {text}"
        if self.certificate_der is not None or self.tls_unique is not None:
            headers["X-Pncpki-Proxy-Secret"] = PROXY_SECRET
        if self.certificate_der is not None:
            headers["Client-Cert"] = f":{base64.b64encode(self.certificate_der).decode()}:"
        if self.tls_unique is not None:
            headers["X-Ssl-Protocol"] = "TLSv1.2"
            headers["X-Ssl-Unique-Id"] = base64.b64encode(self.tls_unique).decode()
        return headers

    def get(self, path, **more):
        return self.app.test_client().get(path, headers=self._headers(), **more)

    def post(self, path, body, content_type="application/pkcs10", **more):
        headers = self._headers()
        if content_type is not None:
            headers["Content-Type"] = content_type
        return self.app.test_client().post(path, data=body, headers=headers, **more)

    def enroll(self, csr_der, label="cpo", operation="simpleenroll"):
        return self.post(f"/.well-known/est/{label}/{operation}", base64.encodebytes(csr_der))

    def anonymous(self):
        return EstClient(self.runtime, self.app)

    def with_certificate(self, certificate_der, **more):
        return EstClient(self.runtime, self.app, certificate_der=certificate_der, **more)


def trust_proxy(home, more=""):
    """Let the environment believe a proxy on this machine."""
    (home / "secrets" / "proxy").write_text(PROXY_SECRET)
    with (home / "pncpki.toml").open("a") as file:
        file.write('\n[est.proxy]\nnetworks = ["127.0.0.1/32"]\nsecret_file = "secrets/proxy"\n' + more)
    return home


@contextmanager
def est_client(home, partner="demo-cpo", clock=None, more=""):
    """A client with a partner's machine secret."""
    with closing(open_runtime(trust_proxy(home, more), clock)) as runtime:
        secret = runtime.credentials.make_secret(partner)
        yield EstClient(runtime, create_app(runtime), basic=(partner, secret))


def station_csr(common_name=STATION, key=None, **parts):
    """A charging station's request."""
    parts.setdefault("subject", name(("C", "DE"), ("O", "Test Operator"), ("CN", common_name)))
    return make_csr(common_name, key or new_key(KeyAlgorithm.SECP256R1), **parts)


def renewal_csr(certificate_der, key, **parts):
    """A request that repeats the subject of a certificate."""
    subject = x509.load_der_x509_certificate(certificate_der).subject
    return make_csr(key=key, subject=subject, **parts)


def certificates_in(answer):
    """The certificates of an answer, in order."""
    assert answer.status_code == 200, (answer.status, answer.data)
    return certificates_of(base64.b64decode(answer.data))


def certificates_of(pkcs7_der):
    """The certificates of a certs-only message, in order."""
    signed_data = cms.ContentInfo.load(pkcs7_der, strict=True)["content"]
    assert (len(signed_data["signer_infos"]), len(signed_data["digest_algorithms"])) == (0, 0)
    return [one.chosen.dump() for one in signed_data["certificates"]]


def enrolled(client, key, common_name=STATION, label="cpo"):
    """A fresh station certificate."""
    (certificate_der,) = certificates_in(client.enroll(station_csr(common_name, key), label))
    return certificate_der


def escaped_pem(certificate_der):
    """A certificate as nginx hands it over."""
    pem = x509.load_der_x509_certificate(certificate_der).public_bytes(Encoding.PEM).decode()
    return quote(pem)


def fingerprint(certificate_der):
    return hashlib.sha256(certificate_der).hexdigest()


def device(common_name="device 1", ca_name="Manufacturer Root", days=(-1, 30), key=None):
    """A manufacturer's root and a device certificate below it."""
    root_key, key = new_key(), key or new_key()
    now = SystemClock().now()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ca_name)])

    def build(name, key, *, ca):
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=-1 if ca else days[0]))
            .not_valid_after(now + timedelta(days=3650 if ca else days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if ca:
            usage = dict.fromkeys(
                (
                    "digital_signature",
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            )
            builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        return builder.sign(root_key, hashes.SHA256())

    leaf_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    return build(subject, root_key, ca=True), build(leaf_name, key, ca=False).public_bytes(Encoding.DER)
