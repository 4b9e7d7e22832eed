"""CRLs and changes that are committed behind a list's reading under an earlier time: found, promised, and listed.

A change carries the time at which it was begun, by its machine's clock. ``late`` acts under such a time.
"""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import text

from pki_core.model.crls import MARGIN, RUN_EVERY
from pki_core.model.revocations import Reason, shard_of
from tests.journeys.acts import rows
from tests.journeys.crl_acts import LABEL, combined, content, crl_of, leaf, leaves, listed, opened, published, revoke

pytest_plugins = ["tests.journeys.environments"]

SHARDED = "cpo-sub2"


@pytest.fixture
def runtime(any_home):
    """An environment an hour on whose lists are all of this moment."""
    with opened(any_home) as runtime:
        runtime.clock.advance(hours=1)
        runtime.crls.publish_due(everything=True)
        runtime.clock.advance(minutes=10)
        yield runtime


@contextmanager
def late(runtime, seconds):
    """Act by a clock that is behind, as a transaction does that was begun earlier."""
    now = runtime.clock.now()
    runtime.clock.moment = now - timedelta(seconds=seconds)
    yield
    runtime.clock.moment = now


def is_late(runtime):
    (code,) = (one.code for one in runtime.readiness.look() if one.name == "listing")
    return code != "ok"


@pytest.mark.parametrize("seconds", [1, 8, 59, int(MARGIN.total_seconds())])
def test_a_revocation_committed_behind_the_list_is_due_promised_and_listed_once(runtime, seconds):
    early, serial = leaves(runtime, 2)
    revoke(runtime, early)
    runtime.crls.publish(LABEL)
    with late(runtime, seconds):
        done = revoke(runtime, serial)
    assert listed(crl_of(runtime)) == [early]
    assert runtime.crls.due() == [f"{LABEL}.crl"]
    assert runtime.crls.promised()[LABEL] <= done.crl_by
    runtime.clock.moment = done.crl_by
    assert is_late(runtime)
    assert runtime.crls.publish_due().published == (f"{LABEL}.crl",)
    assert listed(crl_of(runtime)) == [early, serial]
    for _ in range(3):
        assert (runtime.crls.due(), runtime.crls.promised(), is_late(runtime)) == ([], {}, False)
        runtime.clock.advance(minutes=1)


def test_what_is_promised_is_counted_from_the_late_change_itself_when_there_is_no_other(runtime):
    (serial,) = leaves(runtime, 1)
    runtime.crls.publish(LABEL)
    with late(runtime, 20):
        done = revoke(runtime, serial)
    assert runtime.crls.promised() == {LABEL: done.crl_by}


def test_what_a_ca_has_not_listed_by_its_end_is_late_no_more(runtime):
    (serial,) = leaves(runtime, 1)
    done = revoke(runtime, serial)
    end = runtime.issuers.get(LABEL).record.not_after
    for moment, promised in ((end - timedelta(seconds=1), {LABEL: done.crl_by}), (end, {})):  # no list follows its end
        runtime.clock.moment = moment
        assert runtime.crls.promised() == promised


def test_what_is_promised_of_a_new_change_is_not_counted_from_those_the_list_knows(runtime):
    early, serial = leaves(runtime, 2)
    revoke(runtime, early)
    runtime.clock.advance(minutes=4)
    runtime.crls.publish(LABEL)
    assert runtime.crls.promised() == {}
    runtime.clock.advance(seconds=30)
    done = revoke(runtime, serial)
    assert runtime.crls.promised() == {LABEL: done.crl_by}


def test_a_change_in_the_second_of_the_list_but_behind_it_is_due(runtime):
    first, second = leaves(runtime, 2)
    revoke(runtime, first)
    runtime.crls.publish(LABEL)
    assert runtime.crls.due() == []  # what the list knows makes no other one
    revoke(runtime, second)
    assert runtime.crls.publish_due().published == (f"{LABEL}.crl",)
    assert runtime.crls.due() == []


def test_a_change_by_a_clock_ahead_is_listed_and_not_due_again_and_again(runtime):
    (serial,) = leaves(runtime, 1)
    since = runtime.clock.now()
    with late(runtime, -3600):
        revoke(runtime, serial, revoked_at=since)
    published_names = []
    for _ in range(4):
        published_names += runtime.crls.publish_due().published
        runtime.clock.advance(minutes=5)
    assert published_names == [f"{LABEL}.crl"]
    assert listed(crl_of(runtime)) == [serial]
    assert runtime.crls.promised() == {}


def test_the_release_of_a_hold_the_list_knows_is_due_when_it_is_committed_late(runtime):
    (serial,) = leaves(runtime, 1)
    revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    runtime.clock.advance(seconds=60)
    runtime.crls.publish(LABEL)
    assert runtime.crls.due() == []
    with late(runtime, 30):
        runtime.revocations.release(serial, actor="test")
    assert runtime.crls.publish_due().published == (f"{LABEL}.crl",)
    assert listed(crl_of(runtime)) == []
    assert runtime.crls.due() == []


def test_a_list_of_a_version_that_did_not_count_is_judged_by_time_alone(runtime):
    first, second = leaves(runtime, 2)
    runtime.crls.publish(LABEL)
    with runtime.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE crl SET seen = NULL"))
    revoke(runtime, first)  # in the second of the list: whether it knows of it nobody can tell
    assert (runtime.crls.due(), runtime.crls.promised()) == ([], {})
    runtime.clock.advance(seconds=1)
    done = revoke(runtime, second)
    assert (runtime.crls.due(), runtime.crls.promised()) == ([f"{LABEL}.crl"], {LABEL: done.crl_by})
    assert runtime.crls.publish_due().published == (f"{LABEL}.crl",)
    assert runtime.crls.due() == []


def test_a_late_change_of_a_shard_makes_that_shard_due(any_home):
    with opened(any_home, certificates="crl_shards = 2") as runtime:
        runtime.clock.advance(hours=1)
        by_shard = {}
        while len(by_shard) < 2:
            by_shard |= {shard_of(int(serial, 16), 2): serial for serial in leaves(runtime, 4, "evse_leaf")}
        revoke(runtime, by_shard[0])
        runtime.crls.publish_due(everything=True)
        with late(runtime, 20):
            revoke(runtime, by_shard[1])
        assert runtime.crls.publish_due().published == (f"{SHARDED}.crl", f"{SHARDED}-01.crl")
        assert runtime.crls.due() == []
        assert listed(crl_of(runtime, f"{SHARDED}-01")) == [by_shard[1]]


def test_a_certificate_that_ended_before_a_list_that_missed_it_is_in_the_next_one(runtime):
    short, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(seconds=20))
    runtime.clock.advance(seconds=30)
    runtime.crls.publish(LABEL)
    with late(runtime, 20):  # before its end, committed behind the list that was issued after it
        revoke(runtime, short)
    runtime.clock.advance(minutes=1)
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == [short]  # RFC 5280 3.3: one list issued after its end holds it


def test_a_delta_tells_what_its_base_missed(any_home):
    with opened(any_home, crl="delta_minutes = 15") as runtime:
        runtime.clock.advance(hours=1)
        (serial,) = leaves(runtime, 1)
        runtime.crls.publish(LABEL)
        with late(runtime, int(MARGIN.total_seconds())):
            revoke(runtime, serial)
        runtime.clock.advance(minutes=20)
        runtime.crls.publish_due()
        assert listed(crl_of(runtime)) == []
        assert list(combined(crl_of(runtime), crl_of(runtime, f"{LABEL}-delta"))) == [int(serial, 16)]
        runtime.clock.advance(hours=1)
        runtime.crls.publish_due()
        assert list(content(crl_of(runtime))) == [int(serial, 16)]


def test_the_publisher_comes_by_in_time_for_what_is_promised(runtime):
    (serial,) = leaves(runtime, 1)
    runtime.crls.publish(LABEL)
    with late(runtime, 8):
        done = revoke(runtime, serial)
    while not is_late(runtime):
        runtime.clock.advance(seconds=int(RUN_EVERY.total_seconds()))
        runtime.crls.publish_due()
        if runtime.clock.now() >= done.crl_by:
            break
    assert listed(crl_of(runtime)) == [serial]
    assert not is_late(runtime)


@pytest.mark.slow
@pytest.mark.postgres
def test_a_revocation_that_waits_for_a_lock_while_a_list_is_read_is_in_the_next_list(founded_postgres, tmp_path):
    from tests.journeys.acts import copy_home

    founded, databases = founded_postgres
    url = databases.create()
    with opened(copy_home(founded, tmp_path / "home", url)) as runtime:
        runtime.clock.advance(hours=1)
        (serial,) = leaves(runtime, 1)
        runtime.crls.publish_due(everything=True)
        runtime.clock.advance(minutes=1)
        with runtime.store._engine.connect() as held:
            held.execute(text("LOCK TABLE audit IN SHARE MODE"))  # what sealing takes
            revoking = threading.Thread(target=revoke, args=(runtime, serial))
            revoking.start()
            wait_for_waiting(runtime, 1)
            runtime.clock.advance(seconds=8)
            publishing = threading.Thread(target=runtime.crls.publish, args=(LABEL,))
            publishing.start()
            wait_for_waiting(runtime, 2)
            held.rollback()
            revoking.join()
            publishing.join()
        assert listed(crl_of(runtime)) == []
        assert published(runtime).this_update == runtime.clock.now()
        assert list(runtime.crls.promised()) == [LABEL]
        runtime.clock.advance(minutes=5)
        assert runtime.crls.publish_due().published == (f"{LABEL}.crl",)
        assert listed(crl_of(runtime)) == [serial]
        assert (runtime.crls.due(), runtime.crls.promised()) == ([], {})
    databases.drop(url)


def wait_for_waiting(runtime, count):
    """Wait until so many wait for a lock."""
    deadline = time.monotonic() + 30
    ours = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    waiting = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND database = {ours}"  # noqa: S608
    while rows(runtime, waiting)[0][0] < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
