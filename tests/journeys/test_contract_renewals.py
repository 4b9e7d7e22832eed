"""Renewals: contracts near their end are made anew for as long as their operator asked, and no others."""

from datetime import timedelta

import pytest

from pki_core.model.errors import HsmUnavailableError
from pki_core.services.contract_signing import ContractSigning
from tests.journeys.contract_acts import (
    EMAID,
    OTHER_EMAID,
    OTHER_PCID,
    PCID,
    Garage,
    contract,
    make,
    signed_data,
    wanted,
)
from tests.journeys.pool_acts import OEM, audited, events, forget_events

pytest_plugins = ["tests.journeys.environments"]
SOON = timedelta(days=20)


def near_end(runtime, emaid=EMAID, pcid=PCID, **changes):
    return wanted(runtime, emaid, pcid, ends=runtime.clock.now() + SOON, **changes)


def test_a_contract_is_renewed_for_as_long_as_was_asked_and_its_vehicle_installs_it(any_environment):
    runtime = any_environment
    vehicle = Garage(runtime).build()
    make(runtime, near_end(runtime, renew_days=100))
    first = contract(runtime)
    forget_events(runtime)
    assert runtime.contracts.renewals.run() == (1, 0, False)
    second = contract(runtime)
    assert second.valid_to - first.valid_to == timedelta(days=100)
    assert (second.is_default, second.certificate_id != first.certificate_id) == (True, True)
    assert vehicle.install_2(signed_data(runtime), runtime.clock.now(), b"\0") == EMAID
    assert [one[0] for one in events(runtime)] == ["oem.contract.updated", "mo.contract.updated.sent.to.oem"]
    assert runtime.contracts.renewals.run() == (0, 0, False)


def test_contracts_that_nobody_wants_renewed_or_that_last_are_left_alone(environment):
    Garage(environment).build_many([PCID, OTHER_PCID])
    make(environment, near_end(environment), wanted(environment, OTHER_EMAID, OTHER_PCID, renew_days=100))
    before = contract(environment), contract(environment, OTHER_EMAID)
    assert environment.contracts.renewals.run() == (0, 0, False)
    assert (contract(environment), contract(environment, OTHER_EMAID)) == before


def test_a_contract_of_short_renewals_is_due_when_half_of_one_is_left(environment):
    Garage(environment).build()
    now = environment.clock.now()
    make(environment, wanted(environment, ends=now + timedelta(days=6), renew_days=10))
    assert environment.contracts.renewals.run() == (0, 0, False)
    make(environment, wanted(environment, ends=now + timedelta(days=4), renew_days=10))
    assert environment.contracts.renewals.run() == (1, 0, False)
    assert environment.contracts.renewals.run() == (0, 0, False)


def test_a_dry_run_counts_and_changes_nothing(environment):
    Garage(environment).build()
    make(environment, near_end(environment, renew_days=100))
    before = contract(environment)
    assert environment.contracts.renewals.run(dry_run=True) == (1, 0, False)
    assert contract(environment) == before


def test_a_contract_that_cannot_be_renewed_is_noted_and_stops_no_other(environment):
    vehicle, _ = Garage(environment).build_many([PCID, OTHER_PCID])
    make(
        environment, near_end(environment, renew_days=90), near_end(environment, OTHER_EMAID, OTHER_PCID, renew_days=90)
    )
    with environment.store.transaction() as work:
        work.provisioning_pool._connection.exec_driver_sql(
            f"UPDATE provisioning_certificate SET valid_to = 1 WHERE pcid = '{vehicle.pcid}'"  # noqa: S608  # ours
        )
    assert environment.contracts.renewals.run() == (1, 1, False)
    assert ("contract.not_renewed", f"{EMAID}: vehicle.not_available") in audited(environment)


def test_a_token_that_is_away_leaves_the_rest_to_the_next_run(environment, monkeypatch):
    def away(*_arguments):
        raise HsmUnavailableError("away")

    Garage(environment).build()
    make(environment, near_end(environment, renew_days=90))
    with monkeypatch.context() as patched:
        patched.setattr(ContractSigning, "signed", away)
        assert environment.contracts.renewals.run() == (0, 0, True)
    assert environment.contracts.renewals.run() == (1, 0, False)


@pytest.mark.parametrize("days", [-1, 731])
def test_nobody_renews_for_longer_than_a_certificate_lives(environment, days):
    Garage(environment).build()
    (refused,) = make(environment, near_end(environment, renew_days=days))
    assert refused.code == "contract.renewal_invalid"
    assert environment.pools.contracts.of_vehicle(OEM, PCID) == []
