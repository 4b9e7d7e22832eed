"""Renewals: contracts near their end are made anew for as long as their operator asked, and no others."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from pki_core.model.errors import HsmUnavailableError, LeaseLostError, OvertakenError
from pki_core.model.revocations import Reason
from pki_core.services import contract_renewals
from pki_core.services.contract_generation import ContractGeneration
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.cps_signers import CpsSigners
from pki_core.store.contract_making import ContractMakingGateway
from tests.journeys.contract_acts import (
    ED448,
    EMAID,
    OTHER_EMAID,
    OTHER_PCID,
    P256,
    P521,
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
    assert runtime.contracts.renewals.run() == (1, 0, False, ())
    second = contract(runtime)
    assert second.valid_to - first.valid_to == timedelta(days=100)
    assert (second.is_default, second.certificate_id != first.certificate_id) == (True, True)
    assert vehicle.install_2(signed_data(runtime), runtime.clock.now(), b"\0") == EMAID
    assert [one[0] for one in events(runtime)] == ["oem.contract.updated", "mo.contract.updated.sent.to.oem"]
    assert runtime.contracts.renewals.run() == (0, 0, False, ())


def test_contracts_that_nobody_wants_renewed_or_that_last_are_left_alone(environment):
    Garage(environment).build_many([PCID, OTHER_PCID])
    make(environment, near_end(environment), wanted(environment, OTHER_EMAID, OTHER_PCID, renew_days=100))
    before = contract(environment), contract(environment, OTHER_EMAID)
    assert environment.contracts.renewals.run() == (0, 0, False, ())
    assert (contract(environment), contract(environment, OTHER_EMAID)) == before


def test_a_contract_of_short_renewals_is_due_when_half_of_one_is_left(environment):
    Garage(environment).build()
    now = environment.clock.now()
    make(environment, wanted(environment, ends=now + timedelta(days=6), renew_days=10))
    assert environment.contracts.renewals.run() == (0, 0, False, ())
    make(environment, wanted(environment, ends=now + timedelta(days=4), renew_days=10))
    assert environment.contracts.renewals.run() == (1, 0, False, ())
    assert environment.contracts.renewals.run() == (0, 0, False, ())


def test_a_dry_run_counts_and_changes_nothing(environment):
    Garage(environment).build()
    make(environment, near_end(environment, renew_days=100))
    before = contract(environment)
    assert environment.contracts.renewals.run(dry_run=True) == (1, 0, False, ())
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
    assert environment.contracts.renewals.run() == (1, 1, False, ())
    assert ("contract.not_renewed", f"{EMAID}: vehicle.not_available") in audited(environment)


def test_a_token_that_is_away_leaves_the_rest_to_the_next_run(environment, monkeypatch):
    def away(*_arguments):
        raise HsmUnavailableError("away")

    Garage(environment).build()
    make(environment, near_end(environment, renew_days=90))
    with monkeypatch.context() as patched:
        patched.setattr(ContractSigning, "signed", away)
        assert environment.contracts.renewals.run() == (0, 0, True, ())
    assert environment.contracts.renewals.run() == (1, 0, False, ())


def test_a_contract_that_was_revoked_or_is_on_hold_is_not_renewed(any_environment):
    runtime = any_environment
    Garage(runtime).build_many([PCID, OTHER_PCID])
    orders = near_end(runtime, renew_days=90), near_end(runtime, OTHER_EMAID, OTHER_PCID, renew_days=90)
    revoked, held = make(runtime, *orders)
    runtime.revocations.revoke(f"{revoked.serial:x}", Reason.KEY_COMPROMISE, actor="test")
    runtime.revocations.revoke(f"{held.serial:x}", Reason.CERTIFICATE_HOLD, actor="test")
    assert runtime.contracts.renewals.run() == (0, 0, False, ())
    assert contract(runtime).certificate_id == revoked.certificate_id
    runtime.revocations.release(f"{held.serial:x}", actor="test")
    assert runtime.contracts.renewals.run() == (1, 0, False, ())


def test_a_contract_that_is_revoked_or_replaced_while_it_is_renewed_is_not(any_environment, monkeypatch):
    runtime = any_environment
    Garage(runtime).build()
    (first,) = make(runtime, near_end(runtime, renew_days=90))
    plain, meanwhile = ContractSigning.signed, []

    def changed_meanwhile(signing, messages, signer, keep=None):
        made = plain(signing, messages, signer, keep)
        while meanwhile:
            meanwhile.pop()()
        return made

    monkeypatch.setattr(ContractSigning, "signed", changed_meanwhile)
    meanwhile.append(lambda: make(runtime, near_end(runtime, renew_days=90)))
    assert runtime.contracts.renewals.run() == (0, 0, True, ())
    second = contract(runtime)
    assert second.certificate_id != first.certificate_id
    serial = f"{x509.load_der_x509_certificate(second.leaf_der).serial_number:x}"
    meanwhile.append(lambda: runtime.revocations.revoke(serial, Reason.KEY_COMPROMISE, actor="test"))
    assert runtime.contracts.renewals.run() == (0, 0, True, ())
    assert contract(runtime).certificate_id == second.certificate_id


def test_without_a_signer_of_one_kind_the_others_are_renewed_and_the_run_says_what_waits(environment):
    garage = Garage(environment)
    garage.build()
    garage.build(OTHER_PCID, P521)
    make(environment, near_end(environment, renew_days=90))
    make(environment, near_end(environment, OTHER_EMAID, OTHER_PCID, renew_days=90), algorithm=P521)
    signer = environment.contracts.signers.choose(P256).record
    environment.revocations.revoke(signer.serial, Reason.KEY_COMPROMISE, actor="test")
    *counts, failures = environment.contracts.renewals.run()
    assert counts == [1, 0, False]
    (failure,) = failures
    assert failure.startswith("1 of demo-mo, secp256r1: no CPS signer with a secp256r1 key is in force")


def test_a_vehicle_with_keys_of_two_kinds_keeps_that_of_its_contract(environment):
    vehicle = Garage(environment).build(algorithm=ED448)
    make(environment, near_end(environment, renew_days=90), algorithm=ED448)
    Garage(environment).build(algorithm=P521)
    assert environment.contracts.renewals.run() == (1, 0, False, ())
    assert contract(environment).key.algorithm is ED448
    assert vehicle.install_20(signed_data(environment), environment.clock.now(), b"\0") == EMAID


def test_a_renewed_contract_keeps_its_root_while_somebody_signs_below_it(environment, monkeypatch):
    Garage(environment).build()
    make(environment, near_end(environment, renew_days=90))
    newest = environment.contracts.signers.choose(P256)
    kept, gone = "ab" * 32, "cd" * 32
    monkeypatch.setattr(CpsSigners, "active", lambda _signers: [newest, replace(newest, root_sha256=kept)])
    for before, after in ((kept, kept), (gone, newest.root_sha256)):
        ends = int((environment.clock.now() + SOON).timestamp())
        with environment.store.transaction() as work:
            work.contract_pool._connection.exec_driver_sql(
                f"UPDATE contract SET cps_fingerprint = '{before}', valid_to = {ends}"  # noqa: S608  # ours
            )
        assert environment.contracts.renewals.run() == (1, 0, False, ())
        assert contract(environment).cps_fingerprint == after


def test_renewals_go_on_from_page_to_page(environment, monkeypatch):
    pcids = [f"WPNPAGES{number:09d}" for number in range(5)]
    Garage(environment).build_many(pcids)
    make(environment, *[near_end(environment, f"DEPNC{n:09d}", pcid, renew_days=90) for n, pcid in enumerate(pcids)])
    monkeypatch.setattr(contract_renewals, "_PIECE", 2)
    plain, pages = ContractMakingGateway.due, iter(range(8))

    def counted(gateway, *arguments):
        assert next(pages, None) is not None, "a page is read again and again"
        return plain(gateway, *arguments)

    monkeypatch.setattr(ContractMakingGateway, "due", counted)
    assert environment.contracts.renewals.run(dry_run=True) == (5, 0, False, ())
    assert environment.contracts.renewals.run() == (5, 0, False, ())


def test_a_contract_of_long_renewals_is_due_within_the_window_and_not_before(environment):
    Garage(environment).build()
    now, window = environment.clock.now(), environment.contracts.renewals._window
    make(environment, wanted(environment, ends=now + window + timedelta(minutes=1), renew_days=730))
    assert environment.contracts.renewals.run() == (0, 0, False, ())
    make(environment, wanted(environment, ends=now + window - timedelta(minutes=1), renew_days=730))
    assert environment.contracts.renewals.run() == (1, 0, False, ())


@pytest.mark.parametrize("days", [-1, 731])
def test_nobody_renews_for_longer_than_a_certificate_lives(environment, days):
    Garage(environment).build()
    (refused,) = make(environment, near_end(environment, renew_days=days))
    assert refused.code == "contract.renewal_invalid"
    assert environment.pools.contracts.of_vehicle(OEM, PCID) == []


@pytest.mark.parametrize("error", [LeaseLostError, OvertakenError])
def test_a_renewal_that_somebody_was_quicker_than_is_left_to_the_next_run_and_no_operator_is_called(
    environment, monkeypatch, error
):
    Garage(environment).build_many([PCID, OTHER_PCID])
    orders = [near_end(environment, renew_days=100), near_end(environment, OTHER_EMAID, OTHER_PCID, renew_days=100)]
    make(environment, *orders)

    def overtaken(*_):
        raise error("somebody was quicker")

    with monkeypatch.context() as patched:
        patched.setattr(ContractGeneration, "renew", overtaken)
        assert environment.contracts.renewals.run() == (0, 0, True, ())
    assert environment.contracts.renewals.run() == (2, 0, False, ())
