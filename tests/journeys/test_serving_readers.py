"""Readers of long answers who take their time: OCSP goes on, memory stays, and they are sent away."""

import os
import socket
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from pki_core.runtime import open_runtime
from tests.journeys.crl_acts import LABEL, published
from tests.journeys.serving_acts import SHORT_TIMES, add_settings, is_closed_by_server, serving
from webapp.long_answers import LONG, AnswerLimits, LongAnswers
from webapp.plain_front import DESCRIPTORS
from webapp.slow_readers import SlowReaders

pytest_plugins = ["tests.journeys.environments", "tests.journeys.serving_environment"]

PIECE = 1_048_576
PIECES = 12
MANY = 300  # more than all threads of the plain listener


@pytest.fixture
def served_long(home):
    """A server whose CRL is 12 MiB long; how it is served does not depend on what it says."""
    with closing(open_runtime(home)) as runtime:
        record = published(runtime)
    with closing(sqlite3.connect(home / "store.db")) as database:
        rows = [(record.id, number, bytes([number]) * PIECE) for number in range(PIECES)]
        database.execute("delete from crl_piece where crl_id = ?", (record.id,))
        database.executemany("insert into crl_piece (crl_id, seq, octets) values (?, ?, ?)", rows)
        database.execute("update crl set octets = ? where id = ?", (PIECE * PIECES, record.id))
        database.commit()
    with serving(add_settings(home, SHORT_TIMES)) as running:
        yield running


@pytest.mark.slow
@pytest.mark.enable_socket
def test_slow_readers_of_a_long_crl_stop_nobody_and_are_sent_away(served_long):
    path = f"/crl/{LABEL}.crl"
    before = memory(served_long)
    with ExitStack() as stack:
        slow = [stack.enter_context(slow_reader(served_long.http_port, path)) for _ in range(MANY)]
        begun = time.monotonic()
        for _ in range(10):
            assert served_long.plain("GET", "/ocsp/MAA=")[0] == 200
        assert time.monotonic() - begun < 2
        status, headers, _ = served_long.plain("GET", path)
        assert (status, headers["Retry-After"]) == (503, "10")
        assert memory(served_long) - before < 100 * 1024
        assert is_closed_by_server(slow[0], 10)
    status, headers, body = served_long.plain("GET", path)
    assert (status, len(body)) == (200, PIECE * PIECES)
    assert body[::PIECE] == bytes(range(PIECES))


def slow_reader(port, path):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def memory(served):
    """What the plain listener's processes hold, in KiB."""
    pids = [pid for pid, act in served.processes().items() if act == "plain"]
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in texts)


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.parametrize("path", [f"/crl/{LABEL}.crl", "/ocsp/MAA=", "/ocsp", "/crl"])
def test_the_status_of_certificates_is_not_behind_tls(served, path):
    assert served.https("GET", path)[0] == 404
    assert served.https("POST", path)[0] == 404


@pytest.mark.enable_socket
def test_looking_for_slow_readers_keeps_nothing_open_and_ends_those_alone():
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        slow = stack.enter_context(slow_reader(port, "/"))
        quick = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        served = [stack.enter_context(listener.accept()[0]) for _ in range(2)]
        for one in served:
            one.settimeout(0.2)
            with suppress(TimeoutError):
                one.sendall(bytes(20_000_000) if one.getpeername() == slow.getsockname() else b"short")
        readers = SlowReaders(port, 10)
        before = sorted(os.listdir(DESCRIPTORS))  # noqa: PTH208
        readers._look(0)
        readers._look(9)
        readers._look(11)
        assert sorted(os.listdir(DESCRIPTORS)) == before  # noqa: PTH208
        assert is_closed_by_server(slow, 5)
        assert quick.recv(10) == b"short"
        assert not is_closed_by_server(quick, 0.1)


class Body:
    """An answer that tells whether it was closed."""

    def __init__(self, octets):
        self.octets = octets
        self.is_closed = False

    def __iter__(self):
        return iter([bytes(self.octets)])

    def close(self):
        self.is_closed = True


def asked(front, path="/crl/x.crl", method="GET"):
    said = []
    answer = front(
        {"PATH_INFO": path, "REQUEST_METHOD": method}, lambda status, headers: said.append((status, headers))
    )
    return said[0][0][:3], answer


def limited(octets, made, **limits):
    def app(_environ, start_response):
        start_response("200 OK", [("Content-Length", str(octets))])
        made.append(Body(octets))
        return made[-1]

    return LongAnswers(app, AnswerLimits(threads=16, **limits))


def test_long_answers_have_room_again_when_they_are_closed_and_no_sooner():
    made = []
    front = limited(LONG + 1, made)
    answers = [asked(front) for _ in range(3)]
    assert [status for status, _ in answers] == ["200", "200", "503"]  # an eighth of the threads
    assert made[2].is_closed
    assert [len(piece) for piece in answers[0][1]] == [LONG, 1]
    assert asked(front)[0] == "503"
    answers[0][1].close()
    answers[0][1].close()
    assert made[0].is_closed
    assert [asked(front)[0] for _ in range(2)] == ["200", "503"]


def test_readers_of_what_is_public_leave_room_for_partners():
    front = limited(LONG + 1, [])
    assert [asked(front)[0] for _ in range(3)] == ["200", "200", "503"]
    assert [asked(front, "/v1/batches")[0] for _ in range(5)] == ["200"] * 4 + ["503"]


def test_short_answers_and_heads_are_never_counted():
    front = limited(LONG, [])
    assert [asked(front)[0] for _ in range(20)] == ["200"] * 20
    front = limited(LONG + 1, [])
    assert [asked(front, method="HEAD")[0] for _ in range(20)] == ["200"] * 20


def test_a_long_answer_ends_when_its_time_is_up():
    _, answer = asked(limited(LONG + 1, [], seconds=0))
    assert list(answer) == []
