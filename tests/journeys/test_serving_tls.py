"""TLS of the HTTPS listener: versions, suites, sessions, and the identity of clients."""

import base64
import ssl
import subprocess
from contextlib import closing

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime import open_runtime
from tests.builders import make_csr, new_key
from tests.journeys.est_acts import escaped_pem, station_csr
from tests.journeys.serving_acts import renewal_20, s_client

pytest_plugins = ["tests.journeys.environments", "tests.journeys.serving_environment"]
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]

ENROLL = "/.well-known/est/cpo/simpleenroll"


# --- TLS


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_versions_of_tls_are_refused(served, version):
    said = s_client(served, f"-{version}", "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said
    assert "Cipher is (NONE)" in said


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_both_versions_of_today_are_spoken_with_a_certificate_that_verifies(served, version):
    said = s_client(served, f"-{version}", "-verify_return_error", "-verify_hostname", "localhost")
    assert "Verify return code: 0 (ok)" in said


@pytest.mark.parametrize("cipher", ["NULL", "aNULL", "AES128-SHA", "ECDHE-ECDSA-AES128-SHA"])
def test_suites_without_forward_secrecy_or_authenticated_encryption_are_refused(served, cipher):
    said = s_client(served, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert "Cipher is (NONE)" in said


def test_a_session_is_resumed_by_whichever_worker_the_client_meets(served):
    said = s_client(served, "-tls1_2", "-reconnect", text="")
    assert said.count("Reused, TLSv1.2") == 5
    assert said.count("New, TLSv1.2") >= 1


def test_a_tls_1_3_session_is_resumed_by_whichever_worker_the_client_meets(served):
    context = served.context(version=ssl.TLSVersion.TLSv1_3)
    resumed = []
    for _ in range(6):
        with served.connect(context) as first:
            first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            first.recv(4096)  # the tickets come with the answer
            session = first.session
        with served.connect(context, session) as again:
            resumed.append(again.session_reused)
    assert resumed == [True] * 6


def test_renegotiation_is_refused(served):
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{served.https_port}"]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    client.stdin.write(b"R\n")
    client.stdin.flush()
    said = client.communicate(timeout=20)[0]
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said


def test_a_client_without_a_certificate_and_one_with_an_unknown_one(served, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*made, "-subj", "/CN=x", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    assert served.https("GET", "/healthz")[0] == 200
    stranger = served.context(version=ssl.TLSVersion.TLSv1_2, certificate=(certificate, key))
    with pytest.raises(ssl.SSLError, match="unknown ca"):
        served.https("GET", "/healthz", context=stranger)


# --- identity


@pytest.fixture
def client_file(served, tmp_path):
    """A partner's client certificate with its key."""
    key = new_key()
    with closing(open_runtime(served.home)) as runtime:
        profile = runtime.profiles["tls_client"]
        issued = runtime.credentials.issue_certificate("demo-cpo", make_csr("x", key), profile)
    certificate = x509.load_der_x509_certificate(issued.certificate_der).public_bytes(Encoding.PEM)
    file = tmp_path / "client.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate)
    return file


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_reaches_the_application(served, client_file, version):
    context = served.context(version=version, certificate=(client_file,))
    body, headers = base64.encodebytes(station_csr()), {"Content-Type": "application/pkcs10"}
    assert served.https("POST", ENROLL, body, headers, context)[0] == 200
    assert served.https("POST", ENROLL, body, headers)[0] == 401
    chunks = iter([body[:100], body[100:]])
    chunked = {**headers, "Transfer-Encoding": "chunked"}
    assert served.https("POST", ENROLL, chunks, chunked, context, encode_chunked=True)[0] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_session_still_shows_its_certificate(served, client_file, version):
    context = served.context(version=version, certificate=(client_file,))
    body = base64.encodebytes(station_csr())
    head = f"POST {ENROLL} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    session = None
    for resumed in (False, True):
        with served.connect(context, session) as connection:
            assert connection.session_reused is resumed
            connection.sendall(request)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            session = connection.session


def test_a_forged_header_is_no_identity_without_a_proxy(served, client_file):
    pem = client_file.read_bytes()
    certificate_der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    headers = {
        "Content-Type": "application/pkcs10",
        "Client-Cert": f":{base64.b64encode(certificate_der).decode()}:",
        "X-Ssl-Client-Cert": escaped_pem(certificate_der),
        "X-Pncpki-Proxy-Secret": "",
    }
    assert served.https("POST", ENROLL, base64.encodebytes(station_csr()), headers)[0] == 401


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("algorithm", [KeyAlgorithm.SECP521R1, KeyAlgorithm.ED448])
def test_a_station_renews_a_certificate_that_is_for_servers_alone(served, tmp_path, algorithm, version):
    assert renewal_20(served, tmp_path / "station.pem", algorithm, version) == 200


def test_what_is_no_ca_makes_no_client_certificates(served, client_file, tmp_path):
    # Any purpose is accepted, not any issuer: a leaf of ours signs one for somebody else.
    lines = ["basicConstraints=CA:FALSE", "extendedKeyUsage=clientAuth"]
    (tmp_path / "extensions").write_text("\n".join(lines))
    own, other = tmp_path / "key.pem", tmp_path / "csr.pem"
    ask = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*ask, "-subj", "/CN=demo-mo", "-keyout", own, "-out", other], check=True, capture_output=True)
    sign = ["openssl", "x509", "-req", "-in", other, "-CA", client_file, "-CAkey", client_file, "-days", "9"]
    made = tmp_path / "made.pem"
    done = [*sign, "-CAcreateserial", "-extfile", tmp_path / "extensions", "-out", made]
    subprocess.run(done, check=True, capture_output=True)
    chain = tmp_path / "chain.pem"
    certificate = client_file.read_bytes()[client_file.read_bytes().index(b"-----BEGIN CERTIFICATE") :]
    chain.write_bytes(own.read_bytes() + made.read_bytes() + certificate)
    context = served.context(version=ssl.TLSVersion.TLSv1_2, certificate=(chain,))
    with pytest.raises(ssl.SSLError, match="unknown ca"):
        served.https("GET", "/healthz", context=context)
