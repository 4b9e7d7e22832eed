"""Clients without credentials that mean harm, at the HTTPS listener: nobody else notices them."""

import base64
import socket
import time
from contextlib import ExitStack, closing, suppress

import pytest

from pki_core.runtime import open_runtime
from tests.journeys.rest_acts import VRA
from tests.journeys.serving_acts import connected

pytest_plugins = ["tests.journeys.environments", "tests.journeys.serving_environment"]
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]

ENROLL = b"POST /.well-known/est/cpo/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n"
MANY = 100  # more than all threads of both workers


def assert_served_soon(served, seconds=2.0):
    """Five requests of a good client are answered in time."""
    begun = time.monotonic()
    for _ in range(5):
        assert served.https("GET", "/.well-known/est/cacerts")[0] == 200
    assert time.monotonic() - begun < seconds


def said(connection, octets, seconds=8):
    """Send, and return all that is answered until the server closes."""
    connection.settimeout(seconds)
    connection.sendall(octets)
    answer = b""
    with suppress(ConnectionError):
        while piece := connection.recv(4096):
            answer += piece
    return answer


def test_more_connections_than_there_is_room_for_end_no_worker(served):
    before = served.processes()
    waiting = []
    with ExitStack() as stack:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            waiting.append(stack.enter_context(closing(begun(served.https_port))))
            if len(waiting) >= 400:
                for number, one in enumerate(waiting[:100]):  # old ones speak while new ones come
                    with suppress(OSError):
                        one.send(b"\x16")
                    if number % 2:
                        waiting.append(stack.enter_context(closing(begun(served.https_port))))
                for one in waiting[:100]:
                    one.close()
                del waiting[:100]
    assert_served_soon(served, 5)
    assert served.processes() == before


def begun(port):
    connection = socket.socket()
    connection.settimeout(0)
    with suppress(BlockingIOError):
        connection.connect(("127.0.0.1", port))
    return connection


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 9000\r\n\r\nMII",
        b"Transfer-Encoding: chunked\r\n\r\n1000\r\nMII",
        b"Content-Length: 0\r\n\r\n",
    ],
    ids=["stalled", "stalled in a chunk", "whole, and the connection kept"],
)
def test_stalled_bodies_and_kept_connections_take_no_thread(served, body):
    context = served.context()
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(served.connect(context)).sendall(ENROLL + body)
        assert_served_soon(served)


def test_clients_that_do_not_close_when_they_are_told_to_hold_up_nobody(served):
    context = served.context()
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(served.connect(context))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert_served_soon(served)


def test_long_bodies_that_stall_leave_threads_for_everybody_else(served):
    with closing(open_runtime(served.home)) as runtime:
        secret = runtime.credentials.make_secret("demo-cpo")
    user = base64.b64encode(f"demo-cpo:{secret}".encode()).decode()
    head = f"PUT {VRA} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {user}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n{"
    context = served.context()
    with ExitStack() as stack:
        for _ in range(MANY):
            last = stack.enter_context(served.connect(context))
            last.sendall(head.encode())
        assert_served_soon(served)
        last.settimeout(2)
        assert last.recv(4096).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: ")


def test_a_client_that_waits_to_be_told_to_send_its_body_is_told_once(served):
    head = b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
    with served.connect() as connection:
        connection.settimeout(5)
        connection.sendall(ENROLL + head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert said(connection, b"MII").startswith(b"HTTP/1.1 401 ")


GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (GET + b"X: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (GET + b"Authorization: Basic a\x01b\r\n\r\n", b"400"),
        (ENROLL + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
        (ENROLL + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nMII\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (GET + b"Host: localhost\r\n\r\n", b"400"),
        (ENROLL + b"Transfer-Encoding: xchunked\r\n\r\n3\r\nMII\r\n0\r\n\r\n", b"501"),
        (ENROLL + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nMII\r\n0\r\n\r\n", b"501"),
    ],
    ids=[
        "line",
        "header",
        "control character",
        "two lengths",
        "chunk",
        "no request",
        "no host",
        "two hosts",
        "coding",
        "two codings",
    ],
)
def test_what_cannot_be_read_is_refused_in_plain_text(served, octets, status):
    with served.connect() as connection:
        answer = said(connection, octets)
    assert answer[9:12] == status
    assert b"Content-Type: text/plain; charset=utf-8\r\n" in answer
    assert b"<" not in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"\r\n", b"400"),
        (b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nMII\r\n0\r\n\r\n", b"501"),
        (b"Host: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"501"),
    ],
    ids=["no host", "two codings", "two codings in two lines"],
)
def test_the_plain_listener_refuses_what_rfc_9112_does(served, rest, status):
    with connected(served, served.http_port) as connection:
        answer = said(connection, b"POST /ocsp HTTP/1.1\r\n" + rest)
    assert answer[9:12] == status
    assert answer.count(b"HTTP/1.1") == 1
    with connected(served, served.http_port) as connection:  # RFC 9112 3.2 asks it of HTTP/1.1 alone
        assert said(connection, b"GET /healthz HTTP/1.0\r\n\r\n")[9:12] == b"200"


BAD_HOSTS = {
    "none": b"",
    "two": b"Host: a\r\nHost: b\r\n",
    "one and none": b"Host: a\r\nHost:\r\n",
    "the same one twice": b"Host: a\r\nHost: a\r\n",
    "empty": b"Host:\r\n",
    "with a path": b"Host: a b/c\r\n",
    "with a user": b"Host: u@h\r\n",
    "no ASCII": b"Host: \xff\xfe\r\n",
    "an address of IPv6 without brackets": b"Host: ::1\r\n",
}


@pytest.mark.parametrize("hosts", BAD_HOSTS.values(), ids=BAD_HOSTS)
@pytest.mark.parametrize("listener", ["https", "plain"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_request_whose_host_is_not_one_valid_host_is_400_on_both_listeners(served, hosts, listener, version):
    with served.connect() if listener == "https" else connected(served, served.http_port) as connection:
        answer = said(connection, b"GET /healthz HTTP/" + version + b"\r\n" + hosts + b"Connection: close\r\n\r\n")
    shown_as_none = {
        "https": [b""],
        "plain": [b"", b"Host:\r\n", b"Host: \xff\xfe\r\n"],
    }  # granian says "" of all three
    is_fine = version == b"1.0" and hosts in shown_as_none[listener]  # HTTP/1.0 may lack it
    assert answer[9:12] == (b"200" if is_fine else b"400")


@pytest.mark.parametrize("host", [b"pki.example:8080", b"[::1]:8080", b"127.0.0.1"])
@pytest.mark.parametrize("listener", ["https", "plain"])
def test_a_valid_host_is_taken_whatever_it_names(served, host, listener):
    with served.connect() if listener == "https" else connected(served, served.http_port) as connection:
        answer = said(connection, b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert answer[9:12] == b"200"


@pytest.mark.parametrize("path", [b"/healthz", b"/crl/cpo-sub2.crl", b"/ocsp/MEIwQDA"])
def test_a_method_in_small_letters_is_not_implemented_by_the_plain_listener(served, path):
    with connected(served, served.http_port) as connection:
        answer = said(connection, b"get " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer[9:12] == b"501"


BAD_TRAILERS = {
    "host": b"Host: x\r\n",
    "length": b"Content-Length: 5\r\n",
    "credentials": b"Authorization: x\r\n",
    "list of trailers": b"Trailer: x\r\n",
    "no colon": b"nocolon\r\n",
    "space in a name": b"A b: c\r\n",
    "nul": b"A: b\0c\r\n",
    "folded": b"A: b\r\n c\r\n",
    "long": b"A: " + b"x" * 20_000 + b"\r\n",
    "many": b"".join(b"A%d: b\r\n" % number for number in range(300)),
}


@pytest.fixture(scope="module")
def cpo(served):
    """The header of a partner with a secret."""
    with closing(open_runtime(served.home)) as runtime:
        secret = runtime.credentials.make_secret("demo-cpo")
    return b"Authorization: Basic " + base64.b64encode(f"demo-cpo:{secret}".encode()) + b"\r\n"


@pytest.mark.parametrize("trailer", BAD_TRAILERS.values(), ids=BAD_TRAILERS)
@pytest.mark.parametrize(
    ("path", "kind", "answered"),
    [
        (b"POST /.well-known/est/cpo/simpleenroll", b"application/pkcs10", b"text/plain; charset=utf-8"),
        (b"POST /opnc/v1/pki/pki/revokeCertificate", b"application/json", b"application/json"),
        (b"POST /oauth/token", b"application/json", b"application/json"),
        (b"POST /oauth/token", b"application/x-www-form-urlencoded", b"application/json"),
        (b"PUT " + VRA.encode(), b"application/json", b"application/json"),
    ],
    ids=["est", "revocation", "token", "token by form", "rest"],
)
def test_a_trailer_that_cannot_be_read_is_the_clients_fault_and_ends_the_connection(
    served, cpo, path, kind, answered, trailer
):
    head = path + b" HTTP/1.1\r\nHost: localhost\r\n" + cpo + b"Content-Type: " + kind + b"\r\n"
    with served.connect() as connection:
        answer = said(connection, head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + trailer + b"\r\n")
    assert answer[9:12] == b"400"
    assert b"Content-Type: " + answered + b"\r\n" in answer
    assert b"Connection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_label_that_asks_for_a_code_alone_reads_the_body_of_anybody_and_refuses_it_as_well(served):
    head = ENROLL.replace(b"/cpo/", b"/code/") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with served.connect() as connection:
        answer = said(connection, head + b"Host: x\r\n\r\n")
    assert answer[9:12] == b"400"
    assert b"Connection: close\r\n" in answer


def test_what_is_no_tls_gets_no_answer_and_no_worker_ends(served):
    before = served.processes()
    with connected(served) as connection:
        assert said(connection, GET + b"\r\n") in {b"", b"\x15\x03\x01\x00\x02\x02\x46"}
    assert served.processes() == before
