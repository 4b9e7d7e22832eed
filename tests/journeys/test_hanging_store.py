"""A database that hangs, neither answering nor gone: OCSP says what it has, others are told to come again, at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from io import BytesIO

import pytest
from cryptography import x509

from pki_core.model.errors import HsmUnavailableError, StoreUnavailableError
from pki_core.runtime import open_runtime
from tests.journeys.crl_acts import LABEL, published
from tests.journeys.serving_acts import add_settings
from tests.ocsp_forms import Response, certificate_id, request
from webapp.app import create_app, wsgi_application
from webapp.few_reads import FewReads
from webapp.listeners import PLAIN
from webapp.long_answers import AnswerLimits

pytest_plugins = ["tests.journeys.environments"]

THREADS = 32
SOON = 5  # seconds; the feed of revocations takes a store for away after two
CRL = f"/crl/{LABEL}.crl"


class Front:
    """The plain listener's application, in as many threads as it has, before a store that can be made to hang."""

    def __init__(self, runtime, pool):
        self.runtime = runtime
        self._app = wsgi_application(runtime, listener=PLAIN, answers=AnswerLimits(threads=THREADS))
        self._pool = pool
        self.answers_again = threading.Event()
        self.answers_again.set()
        self.waiting = 0

    def hang(self, monkeypatch):
        honest = self.runtime.store.reading

        @contextmanager
        def reading():
            self.waiting += not self.answers_again.is_set()
            self.answers_again.wait(60)
            with honest() as work:
                yield work

        self.answers_again.clear()
        monkeypatch.setattr(self.runtime.store, "reading", reading)

    def begin(self, path, body=b""):
        return self._pool.submit(self._ask, path, body)

    def _ask(self, path, body):
        told = []
        environ = {
            "REQUEST_METHOD": "POST" if body else "GET",
            "PATH_INFO": path,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
        }
        octets = b"".join(self._app(environ, lambda status, headers, *_: told.append((status[:3], dict(headers)))))
        return *told[0], octets


@pytest.fixture
def front(home):
    add_settings(home, f"\n[serving]\nplain_threads = {THREADS}\n")
    with closing(open_runtime(home)) as runtime, ThreadPoolExecutor(THREADS) as pool:
        published(runtime)
        made = Front(runtime, pool)
        try:
            yield made
        finally:
            made.answers_again.set()


@pytest.fixture
def question(front):
    """An OCSP request, answered before the store hangs."""
    with front.runtime.store.reading() as work:
        issuer, ca = work.issuers.get("mo-sub1"), work.issuers.get("mo-sub2")
    serial = x509.load_der_x509_certificate(ca.certificate_der).serial_number
    asked = request(certificate_id(issuer, serial))
    assert said_by(front.begin("/ocsp", asked)) == "successful"
    return issuer, serial, asked


def said_by(answer):
    status, _, octets = answer.result(SOON)
    assert status == "200"
    return Response(octets).status


@pytest.mark.parametrize("path", [CRL, "/aia/mo-sub2.cer", "/pki/roots", "/readyz", "/metrics"])
def test_many_who_ask_for_what_a_hanging_store_has_leave_ocsp_its_threads(front, question, monkeypatch, path):
    front.hang(monkeypatch)
    crowd = [front.begin(path) for _ in range(300)]
    assert said_by(front.begin("/ocsp", question[2])) == "successful"
    assert front.begin("/healthz").result(SOON)[0] == "200"
    at_once = [one.result() for one in crowd if one.done()]
    assert len([headers for status, headers, _ in at_once if status == "503" and "Retry-After" in headers]) > 200
    front.answers_again.set()
    wait(crowd, SOON)
    assert front.begin(CRL).result(SOON)[0] == "200"


def test_many_who_ask_ocsp_what_is_not_remembered_leave_threads_for_what_is(front, question, monkeypatch):
    issuer, serial, asked = question
    front.hang(monkeypatch)
    crowd = [front.begin("/ocsp", request(certificate_id(issuer, serial + at))) for at in range(1, 300)]
    assert said_by(front.begin("/ocsp", asked)) == "successful"
    assert {said_by(one) for one in crowd if one.done()} == {"try_later"}
    assert front.waiting <= THREADS // 2 + 1  # and the feed
    front.answers_again.set()
    wait(crowd, SOON)
    assert said_by(front.begin("/ocsp", request(certificate_id(issuer, serial, "sha256")))) == "successful"


def test_readers_of_crls_are_counted_apart_from_those_who_ask_for_the_health(front, monkeypatch):
    front.hang(monkeypatch)
    crowd = [front.begin(CRL) for _ in range(THREADS)]
    assert front.begin("/readyz").result(SOON)[2].startswith(b"{")
    front.answers_again.set()
    wait(crowd, SOON)


def test_whoever_reads_figures_takes_no_place_of_those_who_ask_whether_this_is_ready(front, monkeypatch):
    gate = threading.Event()
    assert front.begin("/readyz").result(SOON)[0] == "200"
    monkeypatch.setattr(front.runtime.readiness, "seconds_left", lambda: gate.wait(60) and {})
    crowd = [front.begin("/metrics") for _ in range(THREADS // 2)]
    try:
        assert front.begin("/readyz").result(SOON)[0] == "200"
    finally:
        gate.set()
    wait(crowd, SOON)


def test_places_are_free_again_when_an_answer_was_a_fault():
    class BrokenError(Exception):
        pass

    def app(_environ, _start_response):
        raise BrokenError

    few = FewReads(app, 4)
    for _ in range(3):
        with pytest.raises(BrokenError):
            few({"PATH_INFO": CRL, "REQUEST_METHOD": "GET"}, None)


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_a_hanging_store_is_told_within_seconds_and_then_at_once(front, monkeypatch, path):
    client = create_app(front.runtime).test_client()
    front.hang(monkeypatch)
    began = time.monotonic()
    answer = client.get(path)
    assert time.monotonic() - began < SOON
    if path == "/readyz":
        assert (answer.status_code, answer.json["status"]) == (503, "not ready")
        assert answer.json["checks"] == {"store": "store.unavailable", "keys": "store.unavailable"}
    else:
        assert 'pncpki_check_ok{check="store"} 0' in answer.text
    began = time.monotonic()
    assert [one.code for one in front.runtime.readiness.look()] == [StoreUnavailableError.code] * 2
    assert front.waiting <= 4  # one of each kind: nothing is begun again while it hangs
    assert time.monotonic() - began < 1
    front.answers_again.set()
    deadline = time.monotonic() + SOON
    while {one.code for one in front.runtime.readiness.look()} != {"ok"}:
        assert time.monotonic() < deadline


def test_a_token_that_hangs_is_told_within_seconds(front, monkeypatch):
    gate = threading.Event()

    def bind(_label):
        gate.wait(60)
        raise HsmUnavailableError("the token is away")

    monkeypatch.setattr(front.runtime.key_store, "bind", bind)
    began = time.monotonic()
    try:
        found = {one.name: one.code for one in front.runtime.readiness.look()}
        assert time.monotonic() - began < SOON
    finally:
        gate.set()
    assert (found["store"], found["keys"], found["crl"]) == ("ok", HsmUnavailableError.code, "ok")
