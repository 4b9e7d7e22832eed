"""Reminders of renewals: each ending is told once, to the operator or the OEM it concerns, whatever dies in between."""

from datetime import timedelta

import pytest

from pki_core.model.errors import MalformedError, StoreUnavailableError
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.webhooks import events_for
from pki_core.store.outbox import OutboxGateway
from tests.builders import new_key, some_key
from tests.journeys.pool_acts import (
    EMAID,
    MO,
    OEM,
    OTHER_EMAID,
    OTHER_PCID,
    PCID,
    YEAR,
    contract_of,
    events,
    everything,
    foreign_ca,
    forget_events,
    opened,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.pool_environments"]

CONTRACT = ("mo.contract.renewal.due", "DEPNC", PCID, EMAID)
VEHICLE = ("oem.prov.cert.renewal.due", "WPN", PCID, "")


@pytest.fixture
def filled(runtime):
    """One vehicle ends with its contract in a year, another in three years."""
    ca = foreign_ca(runtime)
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, OTHER_PCID, key=new_key(), years=3))
    runtime.pools.contracts.publish(MO, contract_of(ca, years=1))
    runtime.pools.contracts.publish(MO, contract_of(ca, OTHER_EMAID, OTHER_PCID, years=3))
    forget_events(runtime)
    return runtime


def test_what_ends_within_thirty_days_is_told_once_to_whom_it_concerns(filled):
    filled.clock.moment += YEAR - timedelta(days=30, seconds=1)
    assert filled.pools.reminders.run().contracts == 0
    filled.clock.advance(seconds=1)
    report = filled.pools.reminders.run()
    assert (report.contracts, report.provisioning) == (1, 1)
    assert events(filled) == [CONTRACT, VEHICLE]
    report = filled.pools.reminders.run()
    assert (report.contracts, report.provisioning, len(events(filled))) == (0, 0, 2)
    filled.clock.advance(days=1)
    assert filled.pools.reminders.run().contracts == 0


def test_another_number_of_days_tells_once_and_silences_no_other(filled):
    filled.clock.moment += YEAR - timedelta(days=60)
    assert filled.pools.reminders.run(days=60).contracts == 1
    assert filled.pools.reminders.run(days=60).contracts == 0
    assert filled.pools.reminders.run(days=30).contracts == 0
    filled.clock.advance(days=31)
    assert filled.pools.reminders.run(days=60).contracts == 0
    assert filled.pools.reminders.run(days=30).contracts == 1


def test_what_comes_in_with_an_end_before_the_mark_is_told_by_the_next_run_and_once(filled):
    ca, reminders = foreign_ca(filled, "late"), filled.pools.reminders
    reminders.run()
    filled.clock.advance(hours=1)
    end = filled.clock.now() + timedelta(days=28)
    filled.pools.contracts.publish(MO, contract_of(ca, end=end, start=filled.clock.now()))
    forget_events(filled)
    for _ in range(2):  # pages of one
        filled.clock.advance(days=1)
        expected = reminders.run(dry_run=True).contracts
        assert reminders.run(page=1).contracts == expected
    assert events(filled) == [CONTRACT]


def test_a_vehicle_with_keys_of_two_algorithms_is_told_once_and_counted_once(runtime):
    ca, reminders, end = foreign_ca(runtime), runtime.pools.reminders, runtime.clock.now() + timedelta(days=20)
    for algorithm in (KeyAlgorithm.SECP521R1, KeyAlgorithm.ED448):
        runtime.pools.provisioning.publish(OEM, vehicle_of(ca, key=some_key(algorithm), end=end))
    forget_events(runtime)
    assert reminders.run(dry_run=True).provisioning == reminders.run().provisioning == 1
    assert events(runtime) == [VEHICLE]
    runtime.clock.advance(hours=1)
    for algorithm in (KeyAlgorithm.SECP521R1, KeyAlgorithm.ED448):  # late, both of them
        upload = vehicle_of(ca, OTHER_PCID, key=some_key(algorithm), end=end)
        runtime.pools.provisioning.publish(OEM, upload)
    forget_events(runtime)
    runtime.clock.advance(hours=1)
    assert reminders.run(dry_run=True).provisioning == reminders.run().provisioning == 1
    assert events(runtime) == [(VEHICLE[0], "WPN", OTHER_PCID, "")]


def test_what_is_committed_after_a_run_that_began_later_is_told_by_the_next_one(filled):
    ca, reminders = foreign_ca(filled, "late"), filled.pools.reminders
    reminders.run()
    end = filled.clock.now() + timedelta(days=28)
    filled.clock.advance(hours=1)
    reminders.run()
    filled.clock.advance(seconds=-50)  # when these transactions began
    filled.pools.contracts.publish(MO, contract_of(ca, end=end, start=filled.clock.now()))
    filled.pools.provisioning.publish(OEM, vehicle_of(ca, "WPNLATE0000000000", key=new_key(), end=end))
    filled.clock.advance(days=1)
    report = reminders.run()
    assert (report.contracts, report.provisioning) == (1, 1)


def test_marks_of_an_earlier_version_lose_nothing_that_came_in_since(filled):
    ca, reminders = foreign_ca(filled, "late"), filled.pools.reminders
    reminders.run()
    with filled.store.transaction() as work:
        names = "'reminded contracts late', 'reminded provisioning late'"
        work.marks._connection.exec_driver_sql(f"DELETE FROM mark WHERE name IN ({names})")  # noqa: S608  # ours
    filled.clock.advance(hours=1)
    end = filled.clock.now() + timedelta(days=28)
    filled.pools.contracts.publish(MO, contract_of(ca, end=end, start=filled.clock.now()))
    filled.clock.advance(days=1)
    assert reminders.run().contracts == 1


@pytest.mark.parametrize("days", [0, -1, 366])
def test_reminders_come_within_a_year(filled, days):
    with pytest.raises(MalformedError):
        filled.pools.reminders.run(days=days)


def test_a_dry_run_counts_and_changes_nothing(filled):
    filled.clock.moment += YEAR - timedelta(days=20)
    before = everything(filled)
    report = filled.pools.reminders.run(dry_run=True)
    assert (report.contracts, report.provisioning) == (1, 1)
    assert everything(filled) == before
    assert filled.pools.reminders.run().contracts == 1
    assert filled.pools.reminders.run(dry_run=True).contracts == 0


@pytest.mark.parametrize("fatal", [1, 2, 3])
def test_a_run_that_dies_between_pages_tells_the_rest_and_nothing_twice(runtime, monkeypatch, fatal):
    ca = foreign_ca(runtime)
    for at in range(6):
        pcid, end = f"WPNPAGED0000000{at:02d}", runtime.clock.now() + timedelta(days=10, seconds=at // 2)
        runtime.pools.provisioning.publish(OEM, vehicle_of(ca, pcid, key=new_key(), years=3))
        runtime.pools.contracts.publish(MO, contract_of(ca, f"DEPNCC{at:08d}", pcid, end=end))
    forget_events(runtime)
    honest, pages = OutboxGateway.append, []

    def dying(gateway, at, told):
        pages.append(told)
        honest(gateway, at, told)
        if len(pages) == fatal:
            raise StoreUnavailableError("killed")

    monkeypatch.setattr(OutboxGateway, "append", dying)
    with pytest.raises(StoreUnavailableError):
        runtime.pools.reminders.run(page=1)  # two that end in one second stay together
    monkeypatch.undo()
    assert len(events(runtime)) == 2 * (fatal - 1)
    assert runtime.pools.reminders.run(page=1).contracts == 6 - 2 * (fatal - 1)
    assert len(events(runtime)) == len(set(events(runtime))) == 6


def test_cas_in_their_last_fifth_are_named(home):
    with opened(home) as runtime:
        assert runtime.pools.reminders.run().warnings == ()
        end = runtime.certificates.chain("mo-sub2")[0].not_after
        runtime.clock.moment = end - timedelta(days=1)
        assert any(f"CA mo-sub2 ends on {end:%Y-%m-%d}" in one for one in runtime.pools.reminders.run().warnings)


def test_only_those_who_renew_may_hear_of_it():
    assert CONTRACT[0] in events_for(frozenset({"mo"}))
    assert VEHICLE[0] in events_for(frozenset({"oem"}))
    assert not {CONTRACT[0], VEHICLE[0]} & events_for(frozenset({"cpo"}))
    assert VEHICLE[0] not in events_for(frozenset({"mo"}))
