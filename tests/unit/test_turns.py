"""Turns at other people's servers: bounded for one asker, for all, and in time; names within a time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pki_core.model.errors import OutboundUnavailableError, OverloadedError
from pki_core.model.outbound import OutboundAnswer, OutboundPolicy, OutboundRequest, TurnPolicy
from pki_core.outbound.client import OutboundClient
from pki_core.outbound.lookups import Lookups
from pki_core.outbound.status import StatusFetcher
from pki_core.outbound.turns import Turns


def turns(at_once=3, of_one_asker=2, seconds=10.0):
    return Turns(TurnPolicy(at_once=at_once, of_one_asker=of_one_asker, seconds=seconds))


def held(some, asker, work, *, leave):
    """Take a turn in a thread of its own and hold it; returns when it has it."""
    has_it = threading.Event()

    def hold():
        with some.asked_by(asker):
            some.seconds_for_call()
            has_it.set()
            leave.wait(10)

    work.submit(hold)
    assert has_it.wait(10)


def test_one_asker_has_some_turns_and_all_together_a_few_more():
    some, leave = turns(), threading.Event()
    with ThreadPoolExecutor(4) as work:
        try:
            for _ in range(2):
                held(some, "oem", work, leave=leave)
            with some.asked_by("oem"), pytest.raises(OverloadedError):
                some.seconds_for_call()
            held(some, "mo", work, leave=leave)
            with some.asked_by("cpo"), pytest.raises(OverloadedError):
                some.seconds_for_call()
        finally:
            leave.set()
    with some.asked_by("oem"):
        assert some.seconds_for_call() == pytest.approx(5.0)


def test_all_calls_of_a_request_share_one_time_and_none_may_take_all_of_it():
    some = turns(seconds=0.2)
    with some.asked_by("oem"):
        assert some.seconds_for_call() == pytest.approx(0.1)
        time.sleep(0.15)
        assert some.seconds_for_call() < 0.06
        time.sleep(0.06)
        with pytest.raises(OutboundUnavailableError):
            some.seconds_for_call()
    assert some.seconds_for_call() is None  # a flow


class _Client:
    """Answers by host; remembers what it was asked."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def call(self, request: OutboundRequest):
        self.asked.append(request)
        found = self.answers[request.url.split("/")[2]]
        if isinstance(found, float):
            time.sleep(min(found, request.seconds or 0.0))
            raise OutboundUnavailableError("no answer")
        return OutboundAnswer(status=found, body=b"")


def test_a_host_that_does_not_answer_is_left_alone_at_every_url():
    client = _Client({"hangs.test": 0.0, "other.test": 200, "refuses.test": 404})
    fetcher = StatusFetcher(client, turns())
    for path in ("1", "2", "3"):
        with pytest.raises(OutboundUnavailableError):
            fetcher.crl(f"http://hangs.test/{path}")
    assert len(client.asked) == 1
    for path in ("1", "2", "2"):
        with pytest.raises(OutboundUnavailableError):
            fetcher.crl(f"http://refuses.test/{path}")
    assert len(client.asked) == 3
    assert fetcher.crl("http://other.test/") == b""


def test_one_asker_leaves_a_host_alone_and_another_asks_it_himself():
    client = _Client({"hangs.test": 0.0})
    some = turns()
    fetcher = StatusFetcher(client, some)
    for asker, asked in (("oem", 1), ("oem", 1), ("mo", 2), ("mo", 2)):
        with some.asked_by(asker), pytest.raises(OutboundUnavailableError):
            fetcher.crl("http://hangs.test/")
        assert len(client.asked) == asked


def test_what_fails_over_tls_says_nothing_of_the_plain_port():
    client = _Client({"hangs.test:8080": 0.0})
    fetcher = StatusFetcher(client, turns())
    for url in ("https://hangs.test:8080/", "http://hangs.test:8080/", "https://HANGS.test:8080/other"):
        with pytest.raises(OutboundUnavailableError):
            fetcher.crl(url)
    assert len(client.asked) == 2


def test_time_that_somebody_else_used_up_is_not_held_against_a_host():
    client = _Client({"hangs.test": 9.0, "slow.test": 9.0})
    some = turns(seconds=0.3)
    fetcher = StatusFetcher(client, some)
    with some.asked_by("oem"):
        with pytest.raises(OutboundUnavailableError):
            fetcher.crl("http://hangs.test/")
        time.sleep(0.05)
        with pytest.raises(OutboundUnavailableError):
            fetcher.crl("http://slow.test/")
    with some.asked_by("mo"), pytest.raises(OutboundUnavailableError, match="no answer"):
        fetcher.crl("http://slow.test/")


def test_a_name_server_that_hangs_is_given_up_in_time():
    stop = threading.Event()
    try:
        limits = OutboundPolicy(allowed_networks=(), connect_seconds=5, total_seconds=0.2)
        client = OutboundClient(limits, resolve=lambda _host, _port: stop.wait(20) and [])
        begun = time.monotonic()
        with pytest.raises(OutboundUnavailableError, match="TimeoutError"):
            client.call(OutboundRequest(url="http://slow.test/", headers={}, max_octets=1))
        assert time.monotonic() - begun < 2
    finally:
        stop.set()


def test_names_that_hang_leave_no_more_threads_behind_than_there_may_be():
    stop, running = threading.Event(), []

    def resolve(host, _port):
        running.append(host)
        stop.wait(20)
        return ["192.0.2.1"]

    lookups = Lookups(resolve, at_once=2)
    try:
        for at in range(5):
            with pytest.raises(TimeoutError):
                lookups.addresses(f"{at}.test", 80, 0.02)
        assert len(running) == 2
    finally:
        stop.set()
    assert lookups.addresses("good.test", 80, 5) == ["192.0.2.1"]
