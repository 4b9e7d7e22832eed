"""The worker of the HTTPS listener: which thread serves the next request of a kept-alive connection."""

import queue
import socket
from types import SimpleNamespace

import pytest
from gunicorn.http import errors

from webapp.tls_worker import DeadlineWorker

KEPT, CLOSED = True, False


class Kept:
    """A connection whose client has said something more, or not."""

    def __init__(self, sock):
        self.sock, self.begun = sock, 0

    def expect_request(self):
        self.begun += 1


class Answering(DeadlineWorker):
    """A worker that answers a request by the next of its results."""

    def __init__(self, *results):
        self.alive, self.tpool = True, SimpleNamespace(_work_queue=queue.SimpleQueue())
        self.results = list(results)

    def _serve(self, _conn):
        return self.results.pop(0)


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_client_who_goes_on_at_once_is_served_by_the_thread_that_he_has(ends):
    ours, theirs = ends
    theirs.send(b"more")
    worker, conn = Answering(KEPT, KEPT, CLOSED), Kept(ours)
    assert worker.handle(conn) is CLOSED
    assert (worker.results, conn.begun) == ([], 2)  # each with a deadline of its own


def test_a_client_who_says_nothing_more_gives_the_thread_back(ends):
    worker, conn = Answering(KEPT, KEPT), Kept(ends[0])
    assert worker.handle(conn) is KEPT
    assert (worker.results, conn.begun) == ([True], 0)


def test_a_client_who_goes_on_gives_the_thread_to_those_who_wait_for_one(ends):
    ends[1].send(b"more")
    worker = Answering(KEPT, KEPT)
    worker.tpool._work_queue.put("somebody")
    assert worker.handle(Kept(ends[0])) is KEPT
    assert worker.results == [KEPT]


def test_a_worker_that_shall_end_takes_no_more_requests(ends):
    ends[1].send(b"more")
    worker = Answering(KEPT, KEPT)
    worker.alive = False
    assert worker.handle(Kept(ends[0])) is KEPT


@pytest.mark.parametrize("end", [CLOSED, object()], ids=["closing", "waiting for the rest"])
def test_what_does_not_end_kept_alive_is_not_waited_for(ends, end):
    ends[1].send(b"more")
    worker = Answering(end, KEPT)
    assert worker.handle(Kept(ends[0])) is end


def test_a_connection_that_was_closed_meanwhile_is_left_to_the_loop(ends):
    ends[0].close()
    assert Answering(KEPT).handle(Kept(ends[0])) is KEPT


class Refusing(DeadlineWorker):
    """A worker that writes down what it logs and what it sends."""

    def __init__(self):
        self.written, self.sent = [], []
        self.log = SimpleNamespace(
            info=lambda *_: self.written.append("info"), error=lambda *_, **__: self.written.append("error")
        )

    def _send(self, _client, status, _message):
        self.sent.append(status)


@pytest.mark.parametrize(
    ("fault", "status", "level"),
    [
        (errors.UnsupportedTransferCoding("xchunked"), 501, "info"),
        (errors.InvalidHeaderName("A b"), 400, "info"),
        (errors.InvalidResponseHeader("A"), 500, "error"),
        (RuntimeError("ours"), 500, "error"),
    ],
)
def test_only_a_fault_of_ours_is_logged_as_an_error(fault, status, level):
    worker = Refusing()
    worker.handle_error(None, None, None, fault)
    assert (worker.sent, worker.written) == ([status], [level])
