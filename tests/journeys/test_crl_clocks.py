"""CRLs of a clock that ran ahead and was put right: what is revoked stays on its list, and what is promised is due."""

from datetime import timedelta

import pytest

from pki_core.model.errors import CrlGuardError
from pki_core.model.revocations import Reason
from pki_core.services.crls import Approval
from tests.journeys.acts import rows
from tests.journeys.crl_acts import LABEL, crl_of, leaf, leaves, listed, opened, revoke

pytest_plugins = ["tests.journeys.environments"]

RIGHT_NOW_IS_RIGHT = Approval(guards=frozenset({"g4"}), witnesses=("alice", "bob"))


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        runtime.clock.advance(hours=1)
        yield runtime


@pytest.fixture
def short(runtime):
    """A revoked certificate with 40 minutes to live, on the list of ten minutes later."""
    serial, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(minutes=40))
    revoke(runtime, serial)
    runtime.clock.advance(minutes=10)
    runtime.crls.publish(LABEL)
    return serial


def recorded(runtime):
    return [f"{int(serial, 16):x}" for (serial,) in rows(runtime, "SELECT serial FROM revocation ORDER BY number")]


def is_late(runtime):
    (code,) = (one.code for one in runtime.readiness.look() if one.name == "listing")
    return code != "ok"


def test_a_certificate_that_is_good_for_longer_stays_listed_after_the_clock_was_put_right(runtime, short):
    true_time = runtime.clock.now()
    runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL)
    runtime.clock.moment = true_time + timedelta(minutes=1)
    runtime.crls.publish(LABEL, approval=RIGHT_NOW_IS_RIGHT)
    for _ in range(3):
        assert recorded(runtime) == listed(crl_of(runtime)) == [short]
        runtime.clock.advance(minutes=5)
        runtime.crls.publish(LABEL)
    assert recorded(runtime) == listed(crl_of(runtime)) == [short]


def test_nothing_is_forgotten_while_guards_keep_the_list_of_a_clock_that_ran_ahead(runtime, short):
    true_time = runtime.clock.now()
    runtime.clock.advance(minutes=29)
    runtime.crls.publish(LABEL)
    runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL)
    runtime.clock.moment = true_time + timedelta(minutes=1)
    assert {one.error.code for one in runtime.crls.publish_due().failures} >= {"crl.guard.g4"}
    assert recorded(runtime) == [short]


@pytest.mark.usefixtures("short")
def test_a_row_that_vanished_is_missed_behind_a_list_of_a_clock_that_ran_ahead(runtime):
    true_time = runtime.clock.now()
    runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL)
    runtime.clock.moment = true_time + timedelta(minutes=1)
    with runtime.store.transaction() as work:
        work._connection.exec_driver_sql("DELETE FROM revocation")
    with pytest.raises(CrlGuardError, match="G5"):
        runtime.crls.publish(LABEL, approval=RIGHT_NOW_IS_RIGHT)


def test_what_is_revoked_after_the_clock_was_put_right_is_promised_due_and_listed(runtime):
    held, serial = leaves(runtime, 2)
    runtime.crls.publish(LABEL)
    runtime.clock.advance(hours=1)
    runtime.crls.publish(LABEL)
    runtime.clock.advance(minutes=-58)
    revoke(runtime, held, Reason.CERTIFICATE_HOLD)
    runtime.clock.advance(seconds=20)
    runtime.revocations.release(held, actor="test")
    runtime.clock.advance(seconds=20)
    runtime.crls.publish(LABEL, approval=RIGHT_NOW_IS_RIGHT)
    runtime.clock.advance(minutes=1)
    done = revoke(runtime, serial)
    assert runtime.crls.promised() == {LABEL: done.crl_by}
    assert f"{LABEL}.crl" in runtime.crls.due()
    runtime.clock.moment = done.crl_by
    assert is_late(runtime)
    assert f"{LABEL}.crl" in runtime.crls.publish_due().published
    assert listed(crl_of(runtime)) == [serial]
    assert not is_late(runtime)


def test_what_ended_is_forgotten_also_after_a_clock_was_put_right(runtime, short):
    assert recorded(runtime) == [short]
    runtime.clock.advance(hours=3)
    runtime.crls.publish(LABEL)
    runtime.clock.advance(hours=-2)
    runtime.crls.publish(LABEL, approval=RIGHT_NOW_IS_RIGHT)
    for _ in range(2):
        runtime.clock.advance(minutes=10)
        runtime.crls.publish(LABEL)
    assert recorded(runtime) == listed(crl_of(runtime)) == []
