"""``pncpki serve``: two listeners as one, TLS as it should be, and clients that are slow, rude or many."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509

from tests.journeys.acts import ROOT, copy_home
from tests.journeys.serving_acts import SHORT_TIMES, add_settings, processes_of, serving, start, stop, wait_for

pytest_plugins = ["tests.journeys.environments"]
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]

CLIENT_HELLO_BEGUN = b"\x16\x03\x01\x02\x00\x01"
MANY = 200  # more than all threads of all workers together


@pytest.fixture(scope="module")
def served(founded_home, tmp_path_factory):
    """One server for the tests that leave it as it was."""
    home = add_settings(copy_home(founded_home, tmp_path_factory.mktemp("served") / "home"), SHORT_TIMES)
    with serving(home) as running:
        yield running


def connected(served, port=None):
    return socket.create_connection(("127.0.0.1", port or served.https_port), 10)


def is_closed_by_server(connection, seconds):
    """Tell whether the server closed a connection in time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def s_client(served, *arguments, text="Q\n"):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.https_port}", "-CAfile", served.ready["ca_file"]]
    done = subprocess.run([*command, *arguments], input=text, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


# --- two listeners


def test_both_listeners_answer_when_the_server_says_it_is_ready(served):
    assert served.https("GET", "/healthz")[0] == 200
    assert served.plain("GET", "/healthz")[0] == 200
    assert served.ready["pid"] == served.process.pid


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/est/cacerts",
        "/.well-known/est/cpo/simpleenroll",
        "/.well-known/cpo/cacerts",
        "/cpo/cacerts/ISO15118-20/secp521r1/",
        "/opnc/v1/pki/est/cacerts",
        "/est/cacerts",
        "//.well-known/est/cacerts",
        "/ocspx",
    ],
)
def test_what_partners_use_does_not_exist_without_tls(served, path):
    for method in ("GET", "POST"):
        status, headers, body = served.plain(method, path)
        assert (status, body) == (404, b"There is nothing here.\n")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"


def test_what_readers_of_certificates_fetch_is_on_both_listeners(served):
    for path in ("/aia/mo-sub2.cer", "/pki/roots", "/pki", "/readyz"):
        assert served.plain("GET", path)[0] == served.https("GET", path)[0] == 200
    assert served.https("GET", "/.well-known/est/cacerts")[0] == 200


def test_header_names_are_in_title_case_behind_tls(served):
    # libest compares them case by case
    with served.connect() as connection:
        connection.sendall(b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n")[1:]]
    assert {"Content-Type", "Content-Length", "Content-Transfer-Encoding"} <= set(names)
    assert all(part[0].isupper() for name in names for part in name.split("-"))


def test_kept_alive_connections_serve_many_requests(served):
    with served.connect() as connection:
        for _ in range(5):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b'"alive"}' not in answer:
                answer += connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 OK")


def test_requests_sent_together_are_all_answered(served):
    with served.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        answers = b""
        while answers.count(b'"alive"}') < 3:
            piece = connection.recv(4096)
            assert piece
            answers += piece


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


# --- slow clients


def test_stalled_handshakes_do_not_stop_a_good_client(served):
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(connected(served)).sendall(CLIENT_HELLO_BEGUN)
        begun = time.monotonic()
        for _ in range(5):
            assert served.https("GET", "/healthz")[0] == 200
        assert time.monotonic() - begun < 1.5  # below the deadline of a handshake: nobody waited for one


def test_slow_headers_do_not_stop_a_good_client(served):
    context = served.context()
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(served.connect(context)).sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        begun = time.monotonic()
        for _ in range(5):
            assert served.https("GET", "/healthz")[0] == 200
        assert time.monotonic() - begun < 2.5


def test_a_handshake_has_one_deadline_however_it_drips(served):
    with connected(served) as connection:
        begun = time.monotonic()
        for octet in CLIENT_HELLO_BEGUN + bytes(100):
            try:
                connection.sendall(bytes((octet,)))
            except OSError:
                break
            if is_closed_by_server(connection, 0.2):
                break
        assert 1.5 < time.monotonic() - begun < 5


def test_headers_have_one_deadline_however_they_drip(served):
    with served.connect() as connection:
        begun = time.monotonic()
        while time.monotonic() - begun < 10:
            try:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " if begun == 0 else b"x")
            except OSError:
                break
            if is_closed_by_server(connection, 0.2):
                break
        assert 2.5 < time.monotonic() - begun < 6


def test_a_body_that_does_not_come_ends_its_request(served):
    head = b"POST /.well-known/est/cpo/simpleenroll HTTP/1.1\r\nHost: localhost\r\n"
    with served.connect() as connection:
        connection.sendall(head + b"Content-Type: application/pkcs10\r\nContent-Length: 500\r\n\r\nMII")
        begun = time.monotonic()
        assert is_closed_by_server(connection, 15)
        assert time.monotonic() - begun < 8


def test_a_body_has_one_deadline_however_it_drips(served):
    head = b"POST /.well-known/est/cpo/simpleenroll HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    with served.connect() as connection:
        connection.sendall(head + b"Content-Type: application/pkcs10\r\n\r\n")
        begun = time.monotonic()
        while time.monotonic() - begun < 15:
            try:
                connection.sendall(b"1\r\nM\r\n")
            except OSError:
                break
            if is_closed_by_server(connection, 0.3):
                break
        assert time.monotonic() - begun < 9


def test_what_is_no_tls_at_all_is_closed(served):
    with connected(served) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert is_closed_by_server(connection, 5)


# --- large requests


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100 + b"\r\n", b"431"),
    ],
    ids=["line", "header", "many headers"],
)
def test_heads_have_limits(served, line, status):
    with served.connect() as connection:
        connection.sendall(line)
        connection.settimeout(8)
        assert connection.recv(4096)[9:12] == status


@pytest.mark.parametrize("path", ["/.well-known/est/cpo/simpleenroll", "/ocsp", "/healthz", "/nothing"])
@pytest.mark.parametrize("listener", ["https", "plain"])
def test_a_large_chunked_body_leaves_memory_flat(served, listener, path):
    piece = bytes(64 * 1024)
    chunk = b"%x\r\n" % len(piece) + piece + b"\r\n"
    before = peak_memory(served)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    head += "Content-Type: application/ocsp-request\r\n\r\n"
    with served.connect() if listener == "https" else connected(served, served.http_port) as connection:
        try:
            connection.sendall(head.encode())
            for _ in range(10 * 16):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # refused before it was all sent: as good
    assert peak_memory(served) - before < 6 * 1024
    assert served.https("GET", "/healthz")[0] == served.plain("GET", "/healthz")[0] == 200


def peak_memory(served):
    """The largest resident set each process ever had, added up, in KiB."""
    total = 0
    for pid in served.processes():
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmHWM:")[2].split()[0])
    return total


# --- start and end


def test_the_certificate_is_renewed_while_clients_are_served(home):
    with serving(home) as served:
        old = presented(served)
        done = subprocess.run(
            [sys.executable, "-m", "webapp", "certificate", "--renew", "--home", str(home)], cwd=ROOT, check=False
        )
        assert done.returncode == 0
        asked = []

        def is_new():
            asked.append(served.https("GET", "/healthz")[0])
            return presented(served).serial_number != old.serial_number

        assert wait_for(is_new)
        assert wait_for(lambda: len([act for act in served.processes().values() if act == "https"]) == 3)
        assert [presented(served).serial_number == old.serial_number for _ in range(8)] == [False] * 8
        assert set(asked) == {200}
        assert s_client(served, "-tls1_2", "-reconnect", text="").count("Reused, TLSv1.2") == 5


def presented(served):
    with served.connect() as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_in_order(home, number):
    served = start(home)
    assert sorted(set(served.processes().values())) == ["https", "plain"]
    assert stop(served, number) == 0
    assert processes_of(home) == {}


@pytest.mark.parametrize("act", ["https", "plain"])
def test_a_listener_that_falls_takes_the_other_with_it(home, act):
    served = start(home)
    first = min(pid for pid, does in served.processes().items() if does == act)
    os.kill(first, signal.SIGKILL)
    assert served.process.wait(30) == 3
    served.process.stdout.close()
    assert wait_for(lambda: processes_of(home) == {})


def test_no_process_stays_when_the_server_is_killed(home):
    served = start(home)
    assert stop(served, signal.SIGKILL) == -signal.SIGKILL
    assert wait_for(lambda: processes_of(home) == {}, 30)


@pytest.mark.parametrize("option", ["--https-port", "--http-port"])
def test_a_taken_port_is_one_sentence(home, option):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = {"--https-port": "0", "--http-port": "0", option: str(port)}
        words = [word for pair in ports.items() for word in pair]
        command = [sys.executable, "-m", "flows", "serve", "--home", str(home), *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    said = f"pncpki: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another with {option}\n"
    assert (done.stdout, done.stderr) == ("", said)
    assert processes_of(home) == {}


def test_the_front_is_light():
    code = (
        "import sys, time; begun = time.process_time(); import webapp.app;"
        "print(time.process_time() - begun, *sorted({'pandas', 'prefect', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 1.2  # about half of that on a quiet machine
