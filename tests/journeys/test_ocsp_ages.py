"""OCSP and clocks: a revocation the feed cannot see is told a minute later, one by a clock a minute behind at once."""

import time
from contextlib import ExitStack
from datetime import timedelta

import pytest

from pki_core.hsm.soft_key import FileSigner
from pki_core.model.errors import HsmUnavailableError, StoreUnavailableError
from pki_core.services import ocsp_directory, ocsp_feed
from pki_core.services.ocsp_cache import FACT_SECONDS
from tests.ocsp_forms import certificate_id

pytest_plugins = ["tests.journeys.environments", "tests.journeys.ocsp_environments"]

BEHIND = 61  # seconds: one more than the feed looks back


@pytest.fixture
def passing(monkeypatch):
    """Let time pass, on the machine's counter alone: what the clock says is moved apart from it."""
    told = [time.monotonic()]
    for module in (ocsp_feed, ocsp_directory):
        monkeypatch.setattr(module, "monotonic", lambda: told[0])

    def passes(front, seconds):
        told[0] += seconds
        front.clock.advance(seconds=seconds)

    return passes


def revoke_by_a_clock_behind(front, serial, seconds, reason=1):
    front.clock.advance(seconds=-seconds)
    front.revoke(serial, reason)
    front.clock.advance(seconds=seconds)


def both(front, record, serial):
    """What is said without a nonce and with one."""
    response = front.ask_with_nonce(certificate_id(record, serial))
    return [front.status(record, serial), response.statuses[0] if response.status == "successful" else response.status]


@pytest.mark.parametrize("is_signed_ahead", [False, True])
def test_a_revocation_by_a_machine_far_behind_is_told_a_minute_later(any_asked, is_signed_ahead):
    record, serial = any_asked.issue()
    any_asked.clock.advance(hours=1)
    if is_signed_ahead:
        any_asked.runtime.ocsp_refresh.run()
    assert both(any_asked, record, serial) == ["good", "good"]
    revoke_by_a_clock_behind(any_asked, serial, BEHIND)
    any_asked.clock.advance(seconds=FACT_SECONDS)
    assert both(any_asked, record, serial) == ["revoked", "revoked"]
    any_asked.clock.advance(days=20)
    assert both(any_asked, record, serial) == ["revoked", "revoked"]


def test_a_minute_is_counted_from_the_look_at_the_store_not_from_the_answer(asked):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    revoked = asked.clock.now() + timedelta(seconds=1)
    assert both(asked, record, serial) == ["good", "good"]
    revoke_by_a_clock_behind(asked, serial, BEHIND)
    while asked.clock.now() < revoked + timedelta(seconds=FACT_SECONDS):
        asked.clock.advance(seconds=10)
        # By other hashes, with a nonce and without: nothing that is remembered makes another thing younger.
        told = [asked.status(record, serial, name) for name in ("sha384", "sha1")] + both(asked, record, serial)
    assert told == ["revoked"] * 4


def test_a_revocation_by_a_machine_a_minute_behind_is_told_at_once(any_asked):
    record, serial = any_asked.issue()
    any_asked.clock.advance(hours=1)
    assert both(any_asked, record, serial) == ["good", "good"]
    revoke_by_a_clock_behind(any_asked, serial, BEHIND - 1)
    assert both(any_asked, record, serial) == ["revoked", "revoked"]


def test_a_revocation_by_a_machine_behind_is_told_at_once_when_nobody_asked_meanwhile(asked, passing):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    assert both(asked, record, serial) == ["good", "good"]
    passing(asked, 5)
    revoke_by_a_clock_behind(asked, serial, BEHIND - 10)
    passing(asked, FACT_SECONDS - 10)  # what is remembered would still be believed
    assert both(asked, record, serial) == ["revoked", "revoked"]


def test_a_revocation_by_a_machine_far_behind_is_told_soon_also_while_too_many_look_up(asked):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    assert both(asked, record, serial) == ["good", "good"]
    revoke_by_a_clock_behind(asked, serial, BEHIND)
    with ExitStack() as crowd:
        for _ in range(asked.policy.most_looking):
            crowd.enter_context(asked.ocsp._looking)
        asked.clock.advance(seconds=FACT_SECONDS)
        assert both(asked, record, serial) == ["good", "good"]  # a burst takes no answer away at once
        asked.clock.advance(seconds=FACT_SECONDS)
        assert both(asked, record, serial) == ["try_later", "try_later"]
    assert both(asked, record, serial) == ["revoked", "revoked"]


def test_too_many_who_have_answers_signed_take_none_away_that_was_looked_up(asked):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    first = asked.ask(id_der)
    with ExitStack() as crowd:
        for _ in range(asked.policy.most_live):
            crowd.enter_context(asked.ocsp._live)
        for _ in range(3):
            asked.clock.advance(hours=2)
            assert asked.ask_with_nonce(id_der).der == first.der


def test_a_ca_revoked_by_a_machine_far_behind_is_not_answered_for_a_minute_later(asked, passing, monkeypatch):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    assert asked.status(record, serial) == "good"
    revoke_by_a_clock_behind(asked, asked.serial_of_ca("mo-sub2"), BEHIND, reason=2)
    passing(asked, FACT_SECONDS)
    assert both(asked, record, serial) == ["unauthorized", "unauthorized"]

    def away(_self):
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(type(asked.runtime.store), "reading", away)
    assert asked.status(record, serial) == "try_later"  # and not what was known before


def test_a_ca_revoked_while_the_directory_is_read_is_not_answered_for(asked, monkeypatch):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    assert asked.status(record, serial) == "good"
    directory = asked.ocsp._directory
    plain, has_read = type(directory)._load, []

    def load(self):
        found = plain(self)
        if self is directory and not has_read:
            has_read.append(True)
            asked.revoke(asked.serial_of_ca("mo-sub2"), 2)
            asked.ocsp._feed._look()  # it tells of the CA now, and what was read before is kept only then
        return found

    monkeypatch.setattr(type(directory), "_load", load)
    directory.current(0.0)
    assert has_read
    assert both(asked, record, serial) == ["unauthorized", "unauthorized"]


def test_what_a_delegate_signed_that_a_machine_far_behind_revoked_is_not_told_a_minute_later(asked, passing):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    assert asked.status(record, serial) == "good"
    (delegate,) = asked.responders("mo-sub2")
    revoke_by_a_clock_behind(asked, int(delegate.serial, 16), BEHIND)
    passing(asked, FACT_SECONDS)
    assert both(asked, record, serial) == ["try_later", "try_later"]


def test_a_minute_later_an_answer_that_is_still_true_is_the_same_answer(asked, monkeypatch):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    first = asked.ask(id_der)
    monkeypatch.setattr(FileSigner, "sign", None)  # nothing is signed for that
    for _ in range(5):
        asked.clock.advance(seconds=FACT_SECONDS)
        assert asked.ask(id_der).der == first.der


def test_the_store_is_asked_once_a_minute(asked, monkeypatch):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    asked.ask(id_der)
    gateway, looks = type(asked.runtime.store), []
    plain = gateway.reading
    monkeypatch.setattr(gateway, "reading", lambda self: looks.append(1) or plain(self))
    monkeypatch.setattr(asked.ocsp._feed, "is_fresh", lambda: True)
    for _ in range(2):
        asked.clock.advance(seconds=FACT_SECONDS)
        for _ in range(20):
            asked.ask(id_der)
    assert len(looks) == 2


def test_while_the_store_is_away_answers_older_than_a_minute_are_given_all_the_same(asked, monkeypatch):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    first = asked.ask(id_der)

    def away(_self):
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(type(asked.runtime.store), "reading", away)
    for seconds in (FACT_SECONDS, 3600, 12 * 3600):
        asked.clock.advance(seconds=seconds)
        assert asked.ask(id_der).der == asked.ask_with_nonce(id_der).der == first.der


def test_what_the_store_no_longer_says_is_not_told_because_the_token_is_away(asked, monkeypatch):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    assert both(asked, record, serial) == ["good", "good"]
    revoke_by_a_clock_behind(asked, serial, BEHIND)

    def away(_self, _messages):
        raise HsmUnavailableError("the token is away")

    monkeypatch.setattr(FileSigner, "sign", away)
    asked.clock.advance(seconds=FACT_SECONDS)
    with_nonce = asked.ask_with_nonce(certificate_id(record, serial))  # asked first: no plain one has looked yet
    assert with_nonce.status == asked.status(record, serial) == "try_later"


# What may happen to a clock between two looks, and how long nobody asks: each ends with a revocation that the clock
# of the time wrote down. (seconds the clock jumps, seconds that pass), before it is revoked and after.
JUMPS = {
    "set back, then revoked": ([(-90, 0)], [(0, 65)]),
    "idle, then set back and revoked": ([(0, 600), (-610, 0)], [(0, 5)]),
    "set back and revoked, then idle for longer than that": ([(-600, 0)], [(0, 630)]),
    "set back twice": ([(-300, 10), (-300, 10)], [(0, 630)]),
    "set back and put right again": ([(-600, 5)], [(600, 60)]),
    "put ahead, set back and revoked": ([(600, 10), (-700, 0)], [(0, 120)]),
}


@pytest.mark.parametrize("name", JUMPS)
def test_whatever_a_clock_does_a_revocation_is_not_missed(any_asked, passing, name):
    record, serial = any_asked.issue()
    any_asked.clock.advance(hours=1)
    assert both(any_asked, record, serial) == ["good", "good"]
    before, after = JUMPS[name]
    for jump, seconds in before:
        any_asked.clock.advance(seconds=jump)
        passing(any_asked, seconds)
    any_asked.revoke(serial, 1)
    for jump, seconds in after:
        any_asked.clock.advance(seconds=jump)
        passing(any_asked, seconds)
    told = both(any_asked, record, serial)
    assert "good" not in told  # try_later where the clock is behind the last signature: nothing is signed then
    any_asked.clock.advance(hours=1)
    assert both(any_asked, record, serial) == ["revoked", "revoked"]


def test_a_clock_that_was_set_back_takes_no_true_answer_away(asked, passing):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    asked.clock.advance(hours=3)
    first = asked.ask(id_der)
    asked.clock.advance(hours=-1)
    assert asked.ask(id_der).der == first.der
    passing(asked, 30)
    asked.clock.advance(hours=-1)
    assert asked.ask_with_nonce(id_der).der == first.der


def test_a_clock_that_was_set_back_while_the_store_is_away_leaves_nothing_to_believe(asked, passing, monkeypatch):
    record, serial = asked.issue()
    asked.clock.advance(hours=1)
    assert asked.status(record, serial) == "good"
    asked.clock.advance(seconds=-90)
    asked.ocsp._feed.is_fresh()
    plain = type(asked.runtime.store).reading

    def away(_self):
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(type(asked.runtime.store), "reading", away)
    assert asked.status(record, serial) == "try_later"
    monkeypatch.setattr(type(asked.runtime.store), "reading", plain)
    passing(asked, 30)
    deadline = time.monotonic() + 10
    while asked.status(record, serial) != "good":  # nobody waits for the look that finds the store back
        assert time.monotonic() < deadline
        time.sleep(0.01)
