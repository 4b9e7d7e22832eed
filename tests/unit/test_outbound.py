"""The client for other people's servers: where it goes, what it reads, when it gives up. Real sockets on loopback."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest

from pki_core.model.errors import ForbiddenAddressError, OutboundUnavailableError
from pki_core.model.outbound import OutboundPolicy, OutboundRequest
from pki_core.outbound.addresses import is_allowed
from pki_core.outbound.client import OutboundClient
from tests.listening import listening

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def policy(allowed=LOOPBACK, total=5.0):
    return OutboundPolicy(allowed_networks=allowed, connect_seconds=2.0, total_seconds=total)


def get(client, url, limit=1000, **more):
    return client.call(OutboundRequest(url=url, headers=more.pop("headers", {}), max_octets=limit, **more))


class Recorder(BaseHTTPRequestHandler):
    """Answers what the path asks for and remembers who asked."""

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b"x" * 500 if self.path == "/long" else b"answer"
        self.send_response(200)
        if self.path != "/long":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(context=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    server.seen = []
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with listening(server):
        yield server


@pytest.fixture
def server():
    with serving() as running:
        yield running


def test_an_answer_comes_back_whatever_its_status(server):
    client = OutboundClient(policy())
    url = f"http://127.0.0.1:{server.server_port}"
    answer = get(client, f"{url}/path?query=1")
    assert (answer.status, answer.body) == (200, b"answer")
    path, headers = server.seen[0]
    assert (path, headers["Host"]) == ("/path?query=1", f"127.0.0.1:{server.server_port}")
    assert get(client, f"{url}/post", method="POST", body=b"body").status == 503
    assert server.seen[1] == ("/post", b"body")


def test_redirects_are_not_followed(server):
    assert get(OutboundClient(policy()), f"http://127.0.0.1:{server.server_port}/away").status == 302
    assert len(server.seen) == 1


def test_a_long_answer_is_not_read_to_its_end(server):
    client = OutboundClient(policy())
    url = f"http://127.0.0.1:{server.server_port}/long"
    assert len(get(client, url, limit=500).body) == 500
    with pytest.raises(OutboundUnavailableError, match="longer than 499"):
        get(client, url, limit=499)


def test_loopback_is_called_only_where_the_settings_allow_it(server):
    with pytest.raises(ForbiddenAddressError):
        get(OutboundClient(policy(())), f"http://127.0.0.1:{server.server_port}/")
    with pytest.raises(ForbiddenAddressError):
        get(OutboundClient(policy(())), f"http://localhost:{server.server_port}/")
    assert server.seen == []


def test_a_name_that_changes_its_mind_is_asked_once_and_the_judged_address_is_called(server):
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    client = OutboundClient(policy(), resolve=lambda _host, _port: next(answers))
    assert get(client, f"http://rebinding.example:{server.server_port}/").status == 200
    assert next(answers) == ["10.0.0.1"]  # still there: nobody asked again
    assert server.seen[0][1]["Host"] == f"rebinding.example:{server.server_port}"


def test_a_name_with_one_forbidden_address_is_not_called(server):
    client = OutboundClient(policy(()), resolve=lambda _host, _port: ["93.184.216.34", "127.0.0.1"])
    with pytest.raises(ForbiddenAddressError):
        get(client, f"http://two.example:{server.server_port}/")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104  # called, not bound
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:7f00:1::1",
        "fec0::1",
        "3fff::1",
        "5f00::1",
        "::ffff:0:127.0.0.1",
        "::ffff:0:8.8.8.8",
        "2606:4700:4700::5efe:10.0.0.1",
        "2606:4700:4700::200:5efe:127.0.0.1",
        "not an address",
        "",
    ],
)
def test_addresses_that_are_not_public_are_not_called(address):
    assert not is_allowed(address, ())


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:4700:4700::1111", "64:ff9b::5db8:d822", "8.8.8.8", "2606:4700::5efe:808:808"]
)
def test_public_addresses_are_called(address):
    assert is_allowed(address, ())


def test_allowed_networks_are_called_also_behind_a_mapped_address():
    assert is_allowed("127.0.0.1", LOOPBACK)
    assert not is_allowed("10.0.0.1", LOOPBACK)
    assert is_allowed("10.0.0.1", (ip_network("10.0.0.0/8"),))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "//example.com/",
        "http://",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://example.com/a b",
        "http://example.com/\r\nX: y",
        "http://example.com\\@127.0.0.1/",
        "http://example.com:99999/",
        "http://[::1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://" + "a" * 70 + ".example/",
        "http://example.com/" + "x" * 2048,
        "",
    ],
)
def test_what_is_no_address_of_the_web_is_refused_before_anything_is_resolved(url):
    client = OutboundClient(policy(), resolve=None)
    with pytest.raises(ForbiddenAddressError):
        client.check(url)
    with pytest.raises(ForbiddenAddressError):
        get(client, url)


def test_a_private_address_is_told_when_it_is_written_down():
    with pytest.raises(ForbiddenAddressError):
        OutboundClient(policy(())).check("https://169.254.169.254/latest")
    with pytest.raises(ForbiddenAddressError):
        OutboundClient(policy(())).check("https://[::1]/")
    OutboundClient(policy(())).check("https://example.com/hook")


@contextmanager
def dripping(pieces, pause):
    """A server that answers slowly."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip():
        connection, _ = listener.accept()
        with connection:
            try:
                connection.recv(4096)
                for piece in pieces:
                    connection.sendall(piece)
                    if stop.wait(pause):
                        return
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_drips_is_given_up_in_time(scheme):
    drops = [b"HTTP/1.1 200 OK\r\n", *([b"X-Drop: 1\r\n"] * 1000)] if scheme == "http" else [b"\x16"] * 1000
    with dripping(drops, 0.05) as port:
        started = time.monotonic()
        with pytest.raises(OutboundUnavailableError):
            get(OutboundClient(policy(total=0.5)), f"{scheme}://127.0.0.1:{port}/")
        assert time.monotonic() - started < 2.5


def test_a_body_that_drips_is_given_up_in_time():
    with dripping([b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", *([b"x"] * 1000)], 0.05) as port:
        started = time.monotonic()
        with pytest.raises(OutboundUnavailableError):
            get(OutboundClient(policy(total=0.5)), f"http://127.0.0.1:{port}/", limit=10_000)
        assert time.monotonic() - started < 2.5


def test_half_an_answer_is_none():
    drops = [b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nhalf"]
    with dripping(drops, 0) as port, pytest.raises(OutboundUnavailableError, match="ended before"):
        get(OutboundClient(policy()), f"http://127.0.0.1:{port}/", limit=10_000)


def test_nobody_there_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OutboundUnavailableError):
        get(OutboundClient(policy()), f"http://127.0.0.1:{port}/")
    with pytest.raises(OutboundUnavailableError):
        get(OutboundClient(policy(), resolve=lambda _host, _port: []), "http://nowhere.example/")


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory):
    """A CA and a server certificate for a name, not for an address."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    start = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251  # OpenSSL asks the machine's clock

    def build(name, issuer, key, signer, extension):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=9))
        for one, critical in extension:
            builder = builder.add_extension(one, critical=critical)
        return builder.sign(signer, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("root", "hook.example")
    )
    root = build(root_name, root_name, root_key, root_key, [(x509.BasicConstraints(ca=True, path_length=None), True)])
    leaf = build(name, root_name, key, root_key, [(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), False)])
    (folder / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(key_pem + leaf.public_bytes(serialization.Encoding.PEM))
    return folder


def test_tls_is_held_against_the_name_that_was_asked_for(tls_files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_files / "server.pem")

    def resolve(_host, _port):
        return ["127.0.0.1"]

    with serving(context) as server:
        port = server.server_port
        trusting = OutboundClient(policy(), str(tls_files / "root.pem"), resolve)
        assert get(trusting, f"https://hook.example:{port}/").status == 200
        with pytest.raises(OutboundUnavailableError):
            get(trusting, f"https://other.example:{port}/")
        with pytest.raises(OutboundUnavailableError):
            get(OutboundClient(policy(), "", resolve), f"https://hook.example:{port}/")
