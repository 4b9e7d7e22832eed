"""``pncpki serve``: two listeners as one, started together and ended together; a fallen one is started again."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from tests.journeys.acts import ROOT, found_by_command
from tests.journeys.serving_acts import processes_of, s_client, serving, start, stop, wait_for
from webapp.children import Child, Start

pytest_plugins = ["tests.journeys.environments", "tests.journeys.serving_environment"]
pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]


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


def test_figures_of_both_listeners_are_read_at_either(served):
    served.plain("GET", "/aia/mo-sub2.cer")
    served.https("GET", "/.well-known/est/cacerts")

    def has_both(text):
        return 'family="aia",status="200"' in text and 'family="est",status="200"' in text

    assert wait_for(lambda: has_both(served.plain("GET", "/metrics")[2].decode()))
    assert wait_for(lambda: has_both(served.https("GET", "/metrics")[2].decode()))


# --- start and end


def test_the_certificate_is_renewed_while_clients_are_served(home):
    with serving(home) as served:
        old = presented(served)
        done = subprocess.run(
            [sys.executable, "-m", "webapp", "certificate", "--renew", "--home", str(home)], cwd=ROOT, check=False
        )
        assert done.returncode == 0
        with asking(served) as asked:
            assert wait_for(lambda: presented(served).serial_number != old.serial_number)
            assert wait_for(lambda: len([act for act in served.processes().values() if act == "https"]) == 3)
            assert [presented(served).serial_number == old.serial_number for _ in range(8)] == [False] * 8
        assert len(asked) > 20
        assert set(asked) == {200}
        assert s_client(served, "-tls1_2", "-reconnect", text="").count("Reused, TLSv1.2") == 5


@contextmanager
def asking(served):
    """Four clients that ask without a pause, with a connection each time; gives the list of what they got."""
    asked, enough = [], threading.Event()

    def ask():
        while not enough.is_set():
            try:
                asked.append(served.https("GET", "/healthz")[0])
            except (OSError, http.client.HTTPException) as error:
                asked.append(repr(error))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        yield asked
    finally:
        enough.set()
        for client in clients:
            client.join(30)


def presented(served):
    with served.connect() as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_in_order(home, number):
    served = start(home)
    assert sorted(set(served.processes().values())) == ["https", "plain"]
    assert stop(served, number) == 0
    assert processes_of(home) == {}


def test_what_falls_is_started_again_and_leaves_the_rest_alone(home):
    with serving(home) as served:
        for act, which, ask in (("plain", max, served.plain), ("https", min, served.https)):  # a worker; its master
            before = served.processes()
            fallen = which(pid for pid, does in before.items() if does == act)
            os.kill(fallen, signal.SIGKILL)
            assert wait_for(partial(is_whole_again, served, ask, before, fallen), 40)
            assert {pid for pid, does in before.items() if does != act} <= set(served.processes())


def is_whole_again(served, ask, before, fallen):
    after = served.processes()
    return fallen not in after and len(after) == len(before) and answers(ask)


def answers(ask):
    try:
        return ask("GET", "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_listener_that_falls_again_and_again_is_given_up():
    child = Child(Start(name="listener", command=[sys.executable, "-c", "raise SystemExit(7)"], environment={}))
    starts, now = 1, 0.0
    while child.process.wait(10) == 7 and child.look(now):
        before, now = child.process, now + 10
        assert child.look(now)  # the pause is over
        starts += child.process is not before
    assert starts == 5
    child = Child(Start(name="listener", command=[sys.executable, "-c", "raise SystemExit(7)"], environment={}))
    for now in range(0, 200, 20):  # as often, in a longer time
        assert child.process.wait(10) == 7
        assert child.look(now)
        assert child.look(now + 10)
    child.process.wait(10)


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
    assert float(seconds) < 2.5  # a fourth of that on a quiet machine; `make bench` holds it to its target


@pytest.mark.softhsm
def test_the_token_is_opened_by_workers_only(tmp_path):
    # A process that forks with a token open gives its children sessions that are not theirs.
    home = tmp_path / "home"
    found_by_command(home, f"sqlite:///{home}/store.db", key_store="softhsm")
    with serving(home) as served:
        ready = [served.https("GET", "/readyz"), served.plain("GET", "/readyz")]
        assert [status for status, _, _ in ready] == [200, 200]
        parents = {served.process.pid, *(parent_of(pid) for pid in served.processes())}
        opened = {pid for pid in {served.process.pid, *served.processes()} if has_loaded_token(pid)}
        assert opened
        assert opened.isdisjoint(parents)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def has_loaded_token(pid):
    return "softhsm" in Path(f"/proc/{pid}/maps").read_text()
