"""The shipped nginx and HAProxy configurations with the real programs: client certificates arrive, forged ones not."""

import base64
import os
import shutil
import socket
import ssl
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime import open_runtime
from tests.builders import make_csr, name, new_key, raw_csr, tlv
from tests.journeys.acts import ROOT, copy_home
from tests.journeys.est_acts import certificates_of, escaped_pem, station_csr
from tests.journeys.serving_acts import Served, add_settings, ask, renewal_20, serving, wait_for

pytest_plugins = ["tests.journeys.environments"]
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]

SECRET = "only this proxy knows it"
PROXY = '\n[est.proxy]\nunix_socket = true\nsecret_file = "secrets/proxy"\n'
ENROLL = "/.well-known/est/cpo/simpleenroll"


class Behind(Served):
    """A server reached through a proxy."""

    @property
    def https_port(self):
        return self.ready["proxy_https"]

    @property
    def http_port(self):
        return self.ready["proxy_http"]

    def enroll(self, certificate=None, **headers):
        context = self.context(certificate=certificate)
        body = base64.encodebytes(station_csr())
        return self.https("POST", ENROLL, body, {"Content-Type": "application/pkcs10", **headers}, context)

    def direct(self, **headers):
        """A request that reaches the socket without the proxy."""
        import http.client

        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.ready["socket"]))
        headers = {"Content-Type": "application/pkcs10", **headers}
        return ask(connection, "POST", ENROLL, base64.encodebytes(station_csr()), headers)


def program(name):
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_ports():
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def nginx(directory, home, ports, places):
    """The shipped file with this test's places in it."""
    text = (ROOT / "deployments" / "nginx.conf").read_text()
    replaced = {
        "worker_processes auto": "worker_processes 1",
        "/var/log/nginx/error.log": "stderr",
        "/run/nginx.pid": f"{directory}/nginx.pid",
        "listen 443 ssl": f"listen 127.0.0.1:{ports[0]} ssl",
        "listen 80": f"listen 127.0.0.1:{ports[1]}",
        "/etc/pncpki/proxy-secret.conf": f"{directory}/proxy-secret.conf",
        "/etc/pncpki/server.pem": f"{home}/secrets/tls/server.pem",
        "access_log off;": "access_log off;"
        + "".join(
            f" {kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
        **places,
    }
    (directory / "proxy-secret.conf").write_text(f'proxy_set_header X-Pncpki-Proxy-Secret "{SECRET}";\n')
    file = write(directory / "nginx.conf", text, replaced)
    own_user = "user root;" if os.geteuid() == 0 else ""
    return [program("nginx"), "-p", str(directory), "-c", str(file), "-g", f"daemon off; {own_user}"]


def haproxy(directory, home, ports, places):
    text = (ROOT / "deployments" / "haproxy.cfg").read_text()
    replaced = {
        "bind :443": f"bind 127.0.0.1:{ports[0]}",
        "bind :80": f"bind 127.0.0.1:{ports[1]}",
        "/etc/pncpki/server.pem": f"{home}/secrets/tls/server.pem",
        "/etc/pncpki/trust.pem": f"{home}/secrets/tls/trust.pem",
        **places,
    }
    return [program("haproxy"), "-f", str(write(directory / "haproxy.cfg", text, replaced))]


def write(file, text, replaced):
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    return file


@pytest.fixture(scope="module", params=[nginx, haproxy], ids=["nginx", "haproxy"])
def behind(request, founded_home, tmp_path_factory):
    """The server behind a proxy."""
    directory = tmp_path_factory.mktemp("proxy")
    home = add_settings(copy_home(founded_home, directory / "home"), PROXY)
    (home / "secrets" / "proxy").write_text(SECRET)
    door = directory / "front.sock"
    ports = free_ports()
    with serving(home, "--proxy-socket", str(door)) as served:
        places = {"/run/pncpki/front.sock": str(door), "127.0.0.1:8080": f"127.0.0.1:{served.http_port}"}
        command = request.param(directory, home, ports, places)
        environment = {**os.environ, "PNCPKI_PROXY_SECRET": SECRET}
        with (directory / "proxy.log").open("wb") as log:
            proxy = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            assert wait_for(lambda: is_open(ports[0])), (directory / "proxy.log").read_text()
            ready = {**served.ready, "proxy_https": ports[0], "proxy_http": ports[1], "socket": door}
            yield Behind(served.process, home, ready)
        finally:
            proxy.terminate()
            proxy.wait(10)


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def partner(behind, tmp_path_factory):
    """A partner's client certificate and key, as a file for TLS and in DER."""
    key = new_key()
    with closing(open_runtime(behind.home)) as runtime:
        issued = runtime.credentials.issue_certificate("demo-cpo", make_csr("x", key), runtime.profiles["tls_client"])
    file = tmp_path_factory.mktemp("partner") / "client.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate = x509.load_der_x509_certificate(issued.certificate_der)
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return file, issued.certificate_der


def test_a_partner_with_a_client_certificate_enrols(behind, partner):
    status, headers, body = behind.enroll((partner[0],))
    assert status == 200
    assert "Content-Type" in str(headers)
    (certificate_der,) = certificates_of(base64.b64decode(body))
    assert x509.load_der_x509_certificate(certificate_der)


def test_without_a_certificate_there_is_a_401_and_no_html(behind):
    status, headers, body = behind.enroll()
    assert (status, body) == (401, b"")
    assert headers["WWW-Authenticate"].startswith("Basic")


def test_a_stranger_s_certificate_is_answered_not_hung_up_on(behind, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*made, "-subj", "/CN=demo-cpo", "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    assert behind.enroll((certificate, key))[0] in {401, 403}


def artefact_of(behind, label):
    pem = (behind.home / "ca" / f"{label}.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def forged(certificate_der):
    """Every header an application could be made to believe."""
    field = f":{base64.b64encode(certificate_der).decode()}:"
    return {
        "Client-Cert": field,
        "X-Ssl-Client-Cert": escaped_pem(certificate_der),
        "X-SSL-CLIENT-CERT": escaped_pem(certificate_der),
        "X_Ssl_Client_Cert": escaped_pem(certificate_der),
        "Client_Cert": field,
        "X-Ssl-Protocol": "TLSv1.2",
        "X-Ssl-Unique-Id": "AAAA",
    }


def test_forged_headers_are_ignored_through_the_proxy(behind, partner):
    assert behind.enroll(**forged(partner[1]))[0] == 401
    assert behind.enroll(**forged(partner[1]), **{"X-Pncpki-Proxy-Secret": SECRET})[0] == 401
    # Beside a real certificate they change nothing either.
    assert behind.enroll((partner[0],), **forged(artefact_of(behind, "mo-sub2")))[0] == 200


def test_forged_headers_are_ignored_beside_the_proxy(behind, partner):
    assert behind.direct(**forged(partner[1]))[0] == 401
    assert behind.direct(**forged(partner[1]), **{"X-Pncpki-Proxy-Secret": "guessed, guessed"})[0] == 401


def test_chunked_requests_come_through(behind, partner):
    body = iter([base64.encodebytes(station_csr())])
    context = behind.context(certificate=(partner[0],))
    headers = {"Content-Type": "application/pkcs10", "Transfer-Encoding": "chunked"}
    assert behind.https("POST", ENROLL, body, headers, context, encode_chunked=True)[0] == 200


def test_a_request_that_is_too_large_is_refused_without_html(behind, partner):
    context = behind.context(certificate=(partner[0],))
    with behind.connect(context) as connection:
        head = f"POST {ENROLL} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n"
        connection.sendall(f"{head}Content-Length: 9000000\r\n\r\n".encode())
        answer = connection.recv(4096)
    assert answer[9:12] == b"413"
    assert b"html" not in answer.lower()


def test_header_names_are_in_title_case(behind):
    with behind.connect() as connection:
        connection.sendall(b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    for field in (b"Content-Type: ", b"Content-Length: ", b"Content-Transfer-Encoding: "):
        assert field in answer


def test_the_plain_side_serves_what_everybody_reads_and_nothing_else(behind):
    assert behind.plain("GET", "/aia/mo-sub2.cer")[0] == 200
    assert behind.plain("GET", "/.well-known/est/cacerts")[0] == 404
    for path in ("/ocsp/MAA=", "/ocsp/MA//MAA=", "/crl/mo-sub2.crl", "/pki/roots", "/pki"):
        assert behind.plain("GET", path)[0] == 200
    for path in (
        "/metrics",
        "/%6detrics",
        "/%256detrics",
        "//metrics",
        "/metrics/",
        "/pki/../metrics",
        "/ocsp/../metrics",
    ):
        for asked in (behind.plain, behind.https):
            status, _, body = asked("GET", path)
            assert status == 404 or b"pncpki_" not in body
    assert behind.plain("GET", "/%6detrics")[0] == behind.https("GET", "/%6detrics")[0] == 404
    assert behind.plain("GET", "/readyz")[0] == 404


@pytest.mark.parametrize(
    "octets",
    [
        b"GET /ocsp/" + b"A" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["long", "no request", "two lengths", "large", "nothing"],
)
def test_the_plain_side_refuses_without_html(behind, octets, request):
    with socket.create_connection(("127.0.0.1", behind.http_port), 10) as connection:
        connection.sendall(octets)
        answer = connection.recv(4096)
    assert answer[9:10] == b"4", answer
    # HAProxy has words of its own, from below its configuration, for what is no HTTP at all.
    is_its_own = answer[9:12] == b"400" and "haproxy" in request.node.callspec.id
    assert is_its_own or b"html" not in answer.lower()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_hand_the_certificate_over(behind, partner, version):
    context = behind.context(version=version, certificate=(partner[0],))
    body = base64.encodebytes(station_csr())
    assert behind.https("POST", ENROLL, body, {"Content-Type": "application/pkcs10"}, context)[0] == 200


def test_the_socket_is_not_open_to_everybody(behind):
    assert Path(behind.ready["socket"]).stat().st_mode & 0o7 == 0


def bound_csr(tls_unique):
    """A request with the binding of its connection as challengePassword (RFC 7030 3.5)."""
    password = tlv(0x31, tlv(0x13, base64.b64encode(tls_unique)))
    attribute = tlv(0x30, bytes.fromhex("06092a864886f70d010907") + password)
    subject = name(("C", "DE"), ("CN", "DEPNCE12345")).public_bytes()
    return raw_csr(new_key(), subject=subject, attributes=tlv(0xA0, attribute))


def test_a_request_bound_to_its_connection_works_where_the_proxy_tells_the_binding(behind, partner, request):
    context = behind.context(version=ssl.TLSVersion.TLSv1_2, certificate=(partner[0],))
    with behind.connect(context) as connection:
        body = base64.encodebytes(bound_csr(connection.get_channel_binding("tls-unique")))
        head = (
            f"POST /.well-known/est/linked/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        )
        connection.sendall(f"{head}Content-Type: application/pkcs10\r\n\r\n".encode() + body)
        answer = connection.recv(4096)
    tells = "haproxy" in request.node.callspec.id
    assert answer[9:12] == (b"200" if tells else b"403")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_station_renews_a_certificate_that_is_for_servers_alone(behind, tmp_path, version):
    assert renewal_20(behind, tmp_path / "station.pem", KeyAlgorithm.SECP521R1, version) == 200
