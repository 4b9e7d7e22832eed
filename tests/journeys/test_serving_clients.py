"""Clients that are slow, rude or many, and requests that are too large: the good ones are served all the same."""

import http.client
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.journeys.serving_acts import connected, is_closed_by_server

pytest_plugins = ["tests.journeys.environments", "tests.journeys.serving_environment"]
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]

CLIENT_HELLO_BEGUN = b"\x16\x03\x01\x02\x00\x01"
MANY = 300  # more than all threads, and more than all connections, of both workers together


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


OCSP_HEAD = b"POST /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\n"


@pytest.mark.parametrize(
    "begun",
    [b"Content-Length: 100\r\n\r\n0", b"Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n"],
    ids=["with a length", "chunked"],
)
def test_stalled_bodies_do_not_stop_the_plain_listener(served, begun):
    with ExitStack() as stack:
        stalled = [stack.enter_context(connected(served, served.http_port)) for _ in range(MANY)]
        for connection in stalled:
            connection.sendall(OCSP_HEAD + begun)
        started = time.monotonic()
        for path in ("/healthz", "/aia/mo-sub2.cer", "/ocsp/MAA="):
            assert served.plain("GET", path)[0] == 200
        assert time.monotonic() - started < 4  # more than all threads were taken
        assert is_closed_by_server(stalled[0], 5)


def test_a_connection_that_is_served_outlives_one_that_stalls(served):
    good = http.client.HTTPConnection("127.0.0.1", served.http_port, timeout=10)
    with connected(served, served.http_port) as stalled, closing(good):
        stalled.sendall(OCSP_HEAD + b"Content-Length: 100\r\n\r\n0")
        good.connect()
        kept = good.sock
        started = time.monotonic()
        while time.monotonic() - started < 4.5:  # the deadline of a body is 3 s
            good.request("GET", "/healthz")
            assert good.getresponse().read()
            time.sleep(0.2)
        assert good.sock is kept
        assert is_closed_by_server(stalled, 0.5)


def test_a_body_on_the_plain_listener_has_one_deadline_however_it_drips(served):
    with connected(served, served.http_port) as connection:
        connection.sendall(OCSP_HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        started = time.monotonic()
        while time.monotonic() - started < 10:
            try:
                connection.sendall(b"1\r\n0\r\n")
            except OSError:
                break
            if is_closed_by_server(connection, 0.3):
                break
        assert time.monotonic() - started < 6


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
