"""EST with programs of other people over real TLS: BouncyCastle, strongSwan, curl and openssl (RFC 7030).

A test skips only where its program is not installed; ``make test`` installs them all (deployments/setup.sh).
"""

import base64
import json
import os
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki_core.model.clock import SystemClock
from pki_core.model.states import CertificateState
from pki_core.runtime import open_runtime
from pki_core.services.credentials import CLIENT_PROFILE
from pki_core.wire.pem import certificate_pem
from tests.builders import make_csr, new_key
from tests.journeys.acts import copy_home
from tests.journeys.est_acts import certificates_of, station_csr
from tests.journeys.serving_acts import serving

pytest_plugins = ["tests.journeys.environments"]
pytestmark = pytest.mark.slow

JARS = [Path("/usr/share/java") / f"{name}.jar" for name in ("bcprov", "bcpkix", "bcutil", "bctls")]
SUBJECT = "C=DE, O=Test Operator, CN=DEPNCE{}"


@pytest.fixture(scope="module")
def front(founded_home, tmp_path_factory):
    """A running server, and what a partner has: a machine secret, a client certificate with its key."""
    home = copy_home(founded_home, tmp_path_factory.mktemp("est") / "home")
    key = new_key()
    with closing(open_runtime(home)) as runtime:
        secret = runtime.credentials.make_secret("demo-cpo")
        profile = runtime.profiles[CLIENT_PROFILE]
        issued = runtime.credentials.issue_certificate("demo-cpo", make_csr("x", key), profile)
    files = tmp_path_factory.mktemp("partner")
    certificate = files / "partner.pem"
    certificate.write_text(certificate_pem(issued.certificate_der))
    with serving(home) as served:
        yield Front(served, files, secret, (certificate, write_key(files / "partner.key", key)))


class Front:
    def __init__(self, served, files, secret, own):
        self.served, self.files, self.secret, self.own = served, files, secret, own
        self.ca = Path(served.ready["ca_file"])
        self.server = f"localhost:{served.https_port}"
        self.url = f"https://{self.server}"

    def state_of(self, certificate):
        with closing(open_runtime(self.served.home)) as runtime:
            return runtime.certificates.show(f"{certificate.serial_number:x}")


def write_key(path, key):
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def run(*command, env=None, check=True):
    result = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        check=False,
        env={**os.environ, **(env or {})},
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    if check:
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


# --- curl and openssl


def curl(front, path, *more, body=None, secret=True):
    """Ask with curl; returns (status, headers, body)."""
    out, head = front.files / "answer", front.files / "head"
    command = ["curl", "-sS", "--cacert", front.ca, "-o", out, "-D", head, "-w", "%{http_code}", *more]
    if secret:
        netrc = front.files / "netrc"
        netrc.write_text(f"machine localhost login demo-cpo password {front.secret}\n")
        netrc.chmod(0o600)
        command += ["--netrc-file", netrc]
    if body is not None:
        file = front.files / "body"
        file.write_bytes(body)
        command += ["-H", "Content-Type: application/pkcs10", "--data-binary", f"@{file}"]
    status = int(run(*command, front.url + path).stdout)
    return status, head.read_text(), out.read_bytes() if out.exists() else b""


def openssl_request(front, subject="/O=Test Operator/CN=DEPNCECURL1"):
    """A key and a request made by openssl."""
    key, csr = front.files / "openssl.key", front.files / "openssl.csr"
    run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", key, "-out", csr, "-subj", subject)  # fmt: skip
    return key, csr


def unpacked(front, body):
    """The certificates of an answer as openssl reads them."""
    file = front.files / "answer.p7"
    file.write_bytes(base64.b64decode(body))
    text = run("openssl", "pkcs7", "-inform", "DER", "-in", file, "-print_certs").stdout.decode()
    return x509.load_pem_x509_certificates(text.encode())


@needs("curl")
def test_curl_and_openssl_enrol_with_a_machine_secret_and_pem(front):
    key, csr = openssl_request(front)
    status, head, body = curl(front, "/.well-known/est/cpo/simpleenroll", body=csr.read_bytes())
    assert status == 200, body
    (certificate,) = unpacked(front, body)
    chain = unpacked(front, curl(front, "/.well-known/est/cpo/cacerts", secret=False)[2])
    leaf, roots, others = front.files / "leaf.pem", front.files / "root.pem", front.files / "others.pem"
    leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
    roots.write_bytes(chain[-1].public_bytes(Encoding.PEM))
    others.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain[:-1]))
    run("openssl", "verify", "-CAfile", roots, "-untrusted", others, leaf)
    public = run("openssl", "pkey", "-in", key, "-pubout").stdout
    assert run("openssl", "x509", "-in", leaf, "-noout", "-pubkey").stdout == public
    for line in ("Content-Type: application/pkcs7-mime; smime-type=certs-only", "Content-Transfer-Encoding: base64"):
        assert line in head
    assert re.search(r"^Content-Length: [0-9]+\r?$", head, re.MULTILINE)
    assert "Transfer-Encoding: chunked" not in head


@needs("curl")
def test_header_names_are_written_in_title_case(front):
    _, head, _ = curl(front, "/.well-known/est/cacerts", secret=False)
    names = [line.partition(":")[0] for line in head.splitlines()[1:] if ":" in line]
    assert [name for name in names if name != name.title()] == []


@needs("curl")
def test_the_order_of_challenges_on_the_wire_is_basic_first_on_a_line_of_its_own(front):
    status, head, body = curl(front, "/.well-known/est/simpleenroll", secret=False, body=b"x")
    lines = [line for line in head.splitlines() if line.startswith("WWW-Authenticate")]
    assert (status, body) == (401, b"")
    assert lines == ['WWW-Authenticate: Basic realm="pncpki"', 'WWW-Authenticate: Bearer realm="pncpki"']


@needs("curl")
def test_curl_sends_a_chunked_body_as_some_clients_always_do(front):
    body = base64.encodebytes(station_csr("DEPNCECHUNK1"))
    status, _, answer = curl(
        front, "/.well-known/cpo/simpleenroll", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", body=body
    )
    assert status == 200, answer


@needs("curl")
def test_ten_chunked_megabytes_are_refused_and_the_server_lives_on(front):
    more = ("-H", "Transfer-Encoding: chunked", "-H", "Expect:")
    file = front.files / "large"
    file.write_bytes(b"A" * 10_000_000)
    result = run("curl", "-sS", "--cacert", front.ca, "-u", f"demo-cpo:{front.secret}", "-o", os.devnull, "-w",
                 "%{http_code}", "-H", "Content-Type: application/pkcs10", *more, "--data-binary", f"@{file}",
                 front.url + "/.well-known/est/cpo/simpleenroll", check=False)  # fmt: skip
    assert result.stdout in {b"413", b"000"}  # refused, or hung up on while still sending
    assert curl(front, "/.well-known/est/cacerts", secret=False)[0] == 200


@needs("curl")
def test_curl_enrols_with_the_partners_client_certificate_and_renews_with_the_stations(front):
    certificate, key = front.own
    mutual = ("--cert", certificate, "--key", key)
    station_key, csr = openssl_request(front, "/O=Test Operator/CN=DEPNCEMTLS1")
    status, _, body = curl(front, "/.well-known/est/cpo/simpleenroll", *mutual, secret=False, body=csr.read_bytes())
    assert status == 200, body
    (old,) = unpacked(front, body)
    station = front.files / "station.pem"
    station.write_bytes(old.public_bytes(Encoding.PEM))
    renewal = front.files / "renewal.csr"
    run("openssl", "x509", "-x509toreq", "-in", station, "-signkey", station_key, "-out", renewal)
    own = ("--cert", station, "--key", station_key)
    path = "/.well-known/est/cpo/simplereenroll"
    status, _, body = curl(front, path, *own, secret=False, body=renewal.read_bytes())
    assert status == 200, body
    (new,) = unpacked(front, body)
    assert (new.subject, new.public_key()) == (old.subject, old.public_key())
    assert front.state_of(old).state is CertificateState.GOOD  # the old one is not revoked by the way
    assert curl(front, path, *mutual, secret=False, body=renewal.read_bytes())[0] == 403


@needs("curl")
def test_spoofed_proxy_headers_are_ignored_on_a_direct_connection(front):
    field = base64.b64encode(x509.load_pem_x509_certificate(front.own[0].read_bytes()).public_bytes(Encoding.DER))
    for secret in ((), ("-H", "X-Pncpki-Proxy-Secret: guess"), ("-H", "X-Pncpki-Proxy-Secret;")):
        status, _, _ = curl(
            front,
            "/.well-known/est/cpo/simpleenroll",
            "-H",
            f"Client-Cert: :{field.decode()}:",
            *secret,
            secret=False,
            body=base64.b64encode(station_csr()),
        )
        assert status == 401


@needs("curl")
def test_a_request_for_opnc_is_answered_as_opnc_says(front):
    path = "/opnc/v1/pki/est/simpleenroll?caDomain=cpo&iso15118Version=ISO15118-2"
    status, head, body = curl(front, path, body=base64.b64encode(station_csr("DEPNCEOPNC1")))
    assert status == 200, body
    document = {"certificate": base64.b64encode(certificates_of(base64.b64decode(body))[0]).decode()}
    document["revocationReason"] = "superseded"
    file = front.files / "revoke.json"
    file.write_text(json.dumps(document))
    status, _, body = curl(front, "/opnc/v1/pki/pki/revokeCertificate", "-H", "Content-Type: application/json",
                           "--data-binary", f"@{file}")  # fmt: skip
    assert status == 200, body
    assert "application/pkcs7-mime; smime-type=certs-only" in head


# --- BouncyCastle


@pytest.fixture(scope="module")
def bouncy(front, tmp_path_factory):
    """Run our client of BouncyCastle's classes; returns its standard output."""
    if shutil.which("javac") is None or not all(jar.exists() for jar in JARS):
        pytest.skip("a JDK or BouncyCastle is not installed")
    classes = tmp_path_factory.mktemp("classes")
    path = os.pathsep.join(map(str, JARS))
    run("javac", "-cp", path, "-d", classes, Path(__file__).with_name("BcEstClient.java"))

    def ask(act, *, check=True, **settings):
        env = {"EST_SERVER": front.server, "EST_CA": str(front.ca)}
        env |= {f"EST_{name.upper()}": str(value) for name, value in settings.items()}
        result = run("java", "-cp", f"{classes}{os.pathsep}{path}", "BcEstClient", act, env=env, check=check)
        return result.stdout.decode() + ("" if check else result.stderr.decode())

    return ask


def basic(front):
    return {"user": "demo-cpo", "password": front.secret}


def test_bouncycastle_reads_the_ca_certificates_and_attributes(bouncy):
    chain = x509.load_pem_x509_certificates(bouncy("cacerts", label="cpo").encode())
    assert sum(one.issuer == one.subject for one in chain) == 1
    assert len(chain) == 3
    assert "1.2.840.10045.2.1" in bouncy("csrattrs", label="cpo")


def test_bouncycastle_enrols_after_the_challenge_with_a_machine_secret(front, bouncy):
    text = bouncy("enroll", label="cpo", subject=SUBJECT.format("BC1"), **basic(front))
    (certificate,) = x509.load_pem_x509_certificates(text.encode())
    assert front.state_of(certificate).common_name == "DEPNCEBC1"


def test_bouncycastle_renews_with_the_certificate_itself(front, bouncy, tmp_path):
    key = tmp_path / "bc.key"
    text = bouncy("enroll", label="cpo", subject=SUBJECT.format("BC2"), new_key=key, **basic(front))
    old = tmp_path / "bc.pem"
    old.write_text(text)
    renewed = bouncy("reenroll", label="cpo", certificate=old, key=key)
    before, after = (x509.load_pem_x509_certificate(one.encode()) for one in (text, renewed))
    assert before.subject == after.subject
    assert before.serial_number != after.serial_number


def test_bouncycastle_binds_its_request_to_the_connection_where_that_is_required(front, bouncy):
    certificate, key = front.own
    text = bouncy("pop", label="linked", subject=SUBJECT.format("BC3"), certificate=certificate, key=key)
    assert len(x509.load_pem_x509_certificates(text.encode())) == 1
    refused = bouncy(
        "enroll", check=False, label="linked", subject=SUBJECT.format("BC4"), certificate=certificate, key=key
    )
    assert "linking.required" in refused


def test_bouncycastle_waits_for_approval(front, bouncy):
    answer = bouncy("enroll", label="manual", subject=SUBJECT.format("BC5"), **basic(front))
    assert re.match(r"pending (29[0-9]|300)", answer)


def test_bouncycastle_shows_its_user_why_it_was_refused(front, bouncy):
    answer = bouncy("enroll", check=False, label="cpo", subject="CN=DEICEE1", **basic(front))
    assert "identifier.outside_prefixes" in answer


# --- strongSwan


@needs("pki")
def test_strongswan_fetches_the_cas_enrols_and_renews(front, tmp_path):
    url = f"{front.url}/strongswan"
    run("pki", "--estca", "--url", url, "--cacert", front.ca, "--caout", tmp_path / "ca", "--outform", "pem")
    fetched = sorted(tmp_path.glob("ca*"))
    assert len(fetched) == 3
    chain = [word for file in fetched for word in ("--cacert", file)]
    key, csr = tmp_path / "key.pem", tmp_path / "csr.pem"
    key.write_bytes(run("pki", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem").stdout)
    subject = "C=DE, O=Test Operator, CN=DEPNCESWAN1"
    made = run("pki", "--req", "--in", key, "--type", "ecdsa", "--dn", subject, "--outform", "pem")
    csr.write_bytes(made.stdout)
    common = ["pki", "--est", "--url", url, "--cacert", front.ca, *chain, "--outform", "pem"]
    enrolled = run(*common, "--in", csr, "--userpass", f"demo-cpo:{front.secret}")
    certificate = x509.load_pem_x509_certificate(enrolled.stdout)
    assert front.state_of(certificate).common_name == "DEPNCESWAN1"
    old, renewal = tmp_path / "old.pem", tmp_path / "renewal.pem"
    old.write_bytes(enrolled.stdout)
    rdns = ", ".join(reversed(certificate.subject.rfc4514_string().split(",")))
    renewal.write_bytes(run("pki", "--req", "--in", key, "--type", "ecdsa", "--dn", rdns, "--outform", "pem").stdout)
    renewed = x509.load_pem_x509_certificate(run(*common, "--in", renewal, "--cert", old, "--key", key).stdout)
    assert renewed.subject == certificate.subject
    assert renewed.not_valid_after_utc > SystemClock().now()


# --- libest: in no distribution. Built from its source and on PATH, it runs here as well.

ESTCLIENT = pytest.mark.skipif(
    shutil.which("estclient") is None, reason="libest's estclient is packaged nowhere: build it, put it on PATH"
)


def libest(front, folder, *options, label="cpo"):
    """Run libest's client; it ends with 0 whatever happens, so the answer's file is what counts."""
    host, port = front.server.split(":")
    command = ["estclient", *options, "-s", host, "-p", port, "-o", folder, "--path-seg", label]
    result = run(*command, env={"EST_OPENSSL_CACERT": str(front.ca)}, check=False)
    return result.stdout.decode(errors="replace") + result.stderr.decode(errors="replace")


def pkcs7_of(path):
    return [x509.load_der_x509_certificate(der) for der in certificates_of(base64.b64decode(path.read_bytes()))]


@ESTCLIENT
def test_libest_fetches_the_cas_and_attributes_enrols_and_renews(front, tmp_path):
    said = libest(front, tmp_path, "-g")
    assert len(pkcs7_of(tmp_path / "cacert-0-0.pkcs7")) == 3, said
    said = libest(front, tmp_path, "-a")
    assert list(tmp_path.glob("csr-*")), said + str(list(tmp_path.iterdir()))
    key, csr = openssl_request(front, "/O=Test Operator/CN=DEPNCELIBEST1")
    said = libest(front, tmp_path, "-e", "-y", csr, "-u", "demo-cpo", "-h", front.secret)
    (old,) = pkcs7_of(tmp_path / "cert-0-0.pkcs7")
    assert front.state_of(old).common_name == "DEPNCELIBEST1", said
    station = tmp_path / "old.pem"
    station.write_bytes(old.public_bytes(Encoding.PEM))
    (tmp_path / "cert-0-0.pkcs7").unlink()
    said = libest(front, tmp_path, "-r", "-c", station, "-k", key)
    (new,) = pkcs7_of(
        tmp_path / "newcert-0-0.pkcs7" if (tmp_path / "newcert-0-0.pkcs7").exists() else tmp_path / "cert-0-0.pkcs7"
    )
    assert new.subject == old.subject, said
    assert new.serial_number != old.serial_number


@ESTCLIENT
def test_libest_binds_its_request_to_the_connection_where_that_is_required(front, tmp_path):
    certificate, key = front.own
    new_key = write_key(tmp_path / "new.key", ec.generate_private_key(ec.SECP256R1()))
    options = ("-e", "-x", new_key, "--common-name", "DEPNCELIBEST3", "-c", certificate, "-k", key, "-z")
    said = libest(front, tmp_path, *options, label="linked")
    assert len(pkcs7_of(tmp_path / "cert-0-0.pkcs7")) == 1, said
