"""The MO CA makes contracts for operators: keys wrapped for their vehicles, signed by the CPS, in the CCP at once."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448

from pki_core.model.errors import MalformedError, SignatureInvalidError, VehicleChangedError
from pki_core.model.pools import PROVISIONING_NOT_AVAILABLE, RootKind
from pki_core.model.revocations import Reason
from pki_core.services import contract_vehicles, contracts, pool_provisioning
from pki_core.services.contract_signing import ContractSigning
from tests.builders import NOW, new_key
from tests.journeys.acts import rows
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
from tests.journeys.pool_acts import EMAID as FOREIGN_EMAID
from tests.journeys.pool_acts import OEM, audited, emaids, events, foreign_ca, forget_events, opened, vehicle_of
from tests.journeys.pool_acts import OTHER_PCID as OTHER_FOREIGN_PCID
from tests.journeys.pool_acts import PCID as FOREIGN_PCID

pytest_plugins = ["tests.journeys.environments"]
NO_SESSION = b"\0"
THIRD_EMAID = "DEPNC000000103"


@pytest.mark.parametrize("algorithm", [P256, P521, ED448])
def test_a_vehicle_installs_what_was_made_for_it(environment, algorithm):
    vehicle = Garage(environment).build(algorithm=algorithm)
    (outcome,) = make(environment, wanted(environment), algorithm=algorithm)
    assert outcome.common_name == EMAID
    install = vehicle.install_2 if algorithm is P256 else vehicle.install_20
    assert install(signed_data(environment), environment.clock.now(), NO_SESSION) == EMAID
    row = contract(environment)
    assert (row.key.pcid, row.key.algorithm, row.is_default) == (PCID, algorithm, True)


def test_the_same_emaid_for_the_same_vehicle_replaces_its_contract(any_environment):
    runtime = any_environment
    vehicle = Garage(runtime).build()
    make(runtime, wanted(runtime))
    first = contract(runtime)
    forget_events(runtime)
    make(runtime, wanted(runtime))
    second = contract(runtime)
    assert second.certificate_id != first.certificate_id
    assert (second.is_default, emaids(runtime)) == (True, [EMAID])
    assert vehicle.install_2(signed_data(runtime), runtime.clock.now(), NO_SESSION) == EMAID
    assert events(runtime) == [
        ("oem.contract.updated", "WPN", PCID, EMAID),
        ("mo.contract.updated.sent.to.oem", "DEPNC", PCID, EMAID),
    ]


def test_everybody_is_told_of_a_new_contract_once_and_it_is_audited(any_environment):
    Garage(any_environment).build()
    make(any_environment, wanted(any_environment))
    assert events(any_environment) == [
        ("oem.contract.created", "WPN", PCID, EMAID),
        ("mo.contract.created.sent.to.oem", "DEPNC", PCID, EMAID),
    ]
    assert ("pool.ccp_published", f"{EMAID} {PCID} added") in audited(any_environment)


def test_the_first_contract_of_a_vehicle_is_its_default_and_no_other(any_environment):
    Garage(any_environment).build_many([PCID, OTHER_PCID])
    orders = [wanted(any_environment, EMAID), wanted(any_environment, OTHER_EMAID)]
    make(any_environment, *orders, wanted(any_environment, THIRD_EMAID, OTHER_PCID))
    defaults = {one: contract(any_environment, one).is_default for one in (EMAID, OTHER_EMAID, THIRD_EMAID)}
    assert defaults == {EMAID: True, OTHER_EMAID: False, THIRD_EMAID: True}


def test_a_contract_ends_when_its_operator_says_or_its_profile_allows(environment):
    Garage(environment).build()
    now = environment.clock.now()
    make(environment, wanted(environment, ends=now + timedelta(days=100)))
    assert contract(environment).valid_to == (now + timedelta(days=100)).replace(microsecond=0)
    make(environment, wanted(environment, ends=now + timedelta(days=9999)))
    assert contract(environment).valid_to <= now + timedelta(days=730)


REFUSALS = {
    "contract.emaid_taken": {"pcid": OTHER_PCID},
    "vehicle.not_available": {"emaid": OTHER_EMAID, "pcid": "WPNNOBODY00000001"},
    "identifier.outside_prefixes": {"emaid": "FRXYZ000000001"},
    "identifier.invalid": {"emaid": "DEPNC"},
    "contract.ended": {"ends": NOW},
    "contract.period_invalid": {"begins": NOW.replace(year=NOW.year + 90), "ends": NOW.replace(year=NOW.year + 89)},
}


@pytest.mark.parametrize("code", REFUSALS)
def test_an_order_that_cannot_be_is_refused_and_nothing_is_drawn_for_it(environment, code):
    Garage(environment).build_many([PCID, OTHER_PCID])
    make(environment, wanted(environment))
    before = rows(environment, "SELECT count(*) FROM certificate_status")
    (refused,) = make(environment, wanted(environment, **REFUSALS[code]))
    assert refused.code == code
    assert rows(environment, "SELECT count(*) FROM certificate_status") == before
    assert emaids(environment) == [EMAID]


def test_a_vehicle_whose_certificate_is_revoked_gets_no_contract(environment):
    vehicle = Garage(environment).build()
    serial = f"{x509.load_der_x509_certificate(vehicle.chain.certificate_der).serial_number:x}"
    environment.revocations.revoke(serial, Reason.KEY_COMPROMISE, actor="test")
    (refused,) = make(environment, wanted(environment))
    assert (refused.code, refused.message) == ("vehicle.not_available", PROVISIONING_NOT_AVAILABLE)


def test_vehicles_of_other_makers_are_asked_about_again_after_a_day(home):
    with opened(home) as runtime:
        ca = foreign_ca(runtime)
        upload = vehicle_of(ca)
        runtime.pools.provisioning.publish(OEM, upload)
        source = runtime.pools.status_source
        source.asked.clear()
        order = wanted(runtime, FOREIGN_EMAID, FOREIGN_PCID)
        assert make(runtime, order)[0].common_name == FOREIGN_EMAID
        assert source.asked == []
        runtime.clock.advance(hours=25)
        make(runtime, order)
        assert source.asked == [upload.leaf_der]
        runtime.clock.advance(hours=25)
        source.silent.add(upload.leaf_der)
        assert make(runtime, order)[0].code == "vehicle.status_unavailable"
        source.silent.clear()
        source.revoked.add(upload.leaf_der)
        assert make(runtime, order)[0].code == "vehicle.not_available"


def test_a_ca_that_does_not_answer_is_asked_once_a_list(home):
    with opened(home) as runtime:
        ca = foreign_ca(runtime)
        uploads = [vehicle_of(ca, pcid) for pcid in (FOREIGN_PCID, OTHER_FOREIGN_PCID)]
        for upload in uploads:
            runtime.pools.provisioning.publish(OEM, upload)
        runtime.clock.advance(hours=25)
        source = runtime.pools.status_source
        source.asked.clear()
        source.silent.update(upload.leaf_der for upload in uploads)
        orders = wanted(runtime, EMAID, FOREIGN_PCID), wanted(runtime, OTHER_EMAID, OTHER_FOREIGN_PCID)
        assert [one.code for one in make(runtime, *orders)] == ["vehicle.status_unavailable"] * 2
        assert len(source.asked) == 1


@pytest.mark.parametrize("y", [1, 0])
def test_a_small_order_key_that_an_earlier_version_took_in_refuses_its_own_order_alone(home, monkeypatch, y):
    small = ed448.Ed448PublicKey.from_public_bytes(y.to_bytes(57, "little"))
    monkeypatch.setattr(pool_provisioning, "_check_key", lambda _der: None)
    with opened(home) as runtime:
        held = SimpleNamespace(public_key=lambda: small)
        runtime.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(runtime), key=held))
        Garage(runtime).build(algorithm=ED448)
        orders = wanted(runtime, FOREIGN_EMAID, FOREIGN_PCID), wanted(runtime)
        refused, made = make(runtime, *orders, algorithm=ED448)
        assert (refused.code, made.common_name) == ("vehicle.key_unusable", EMAID)


def test_a_vehicle_whose_makers_root_has_left_the_pool_gets_no_contract(home):
    with opened(home) as runtime:
        runtime.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(runtime)))
        assert make(runtime, wanted(runtime, FOREIGN_EMAID, FOREIGN_PCID))[0].common_name == FOREIGN_EMAID
        for root in runtime.pools.roots.all(RootKind.OEM):
            runtime.pools.roots.remove(root.id, by=["alice"])
        (refused,) = make(runtime, wanted(runtime, OTHER_EMAID, FOREIGN_PCID))
        assert (refused.code, emaids(runtime)) == ("vehicle.not_available", [FOREIGN_EMAID])


def test_a_vehicle_that_changes_meanwhile_leaves_nothing_and_the_next_try_sees_it(environment, monkeypatch):
    garage = Garage(environment)
    garage.build()
    plain = ContractSigning.signed

    def changed_meanwhile(signing, messages, signer, keep):
        made = plain(signing, messages, signer, keep)
        garage.build()
        return made

    with monkeypatch.context() as patched:
        patched.setattr(ContractSigning, "signed", changed_meanwhile)
        with pytest.raises(VehicleChangedError):
            make(environment, wanted(environment))
    assert emaids(environment) == []
    assert rows(environment, "SELECT count(*) FROM certificate WHERE common_name = 'DEPNC000000101'") == [(0,)]
    (made,) = make(environment, wanted(environment))
    assert made.common_name == EMAID


def test_a_key_that_nothing_can_be_encrypted_for_refuses_its_own_order_alone(environment, monkeypatch):
    vehicle, _ = Garage(environment).build_many([PCID, OTHER_PCID])
    plain, strange = contract_vehicles.vehicle_key_of, new_key(P521).public_key()

    def of_another_curve(der):
        return strange if der == vehicle.chain.certificate_der else plain(der)

    monkeypatch.setattr(contract_vehicles, "vehicle_key_of", of_another_curve)
    before = rows(environment, "SELECT count(*) FROM certificate_status")[0][0]
    refused, made = make(environment, wanted(environment), wanted(environment, OTHER_EMAID, OTHER_PCID))
    assert (refused.code, made.common_name) == ("vehicle.key_unusable", OTHER_EMAID)
    assert rows(environment, "SELECT count(*) FROM certificate_status") == [(before + 1,)]


def test_a_signature_that_does_not_verify_never_leaves(environment, monkeypatch):
    Garage(environment).build()
    signer = environment.contracts.signers.choose(P256)
    key = environment.contracts.signers.key_of(signer)
    plain = type(key).sign

    def of_something_else(one, messages):
        return plain(one, [message + b"!" for message in messages] if one is key else messages)

    monkeypatch.setattr(type(key), "sign", of_something_else)
    with pytest.raises(SignatureInvalidError):
        make(environment, wanted(environment))
    assert emaids(environment) == []


def test_a_list_of_orders_costs_the_token_two_calls(environment, monkeypatch):
    Garage(environment).build_many([PCID, OTHER_PCID])
    calls = []
    key = environment.contracts.signers.key_of(environment.contracts.signers.choose(P256))
    plain = type(key).sign
    monkeypatch.setattr(type(key), "sign", lambda one, messages: calls.append(len(messages)) or plain(one, messages))
    make(environment, wanted(environment), wanted(environment, OTHER_EMAID, OTHER_PCID))
    assert calls == [2, 2]


def test_answers_are_measured_once_for_each_length_of_an_emaid(environment, monkeypatch):
    longer, third, sizes = "DEPNC0000001039", "WPNTESTVEHCLE0003", []
    Garage(environment).build_many([PCID, OTHER_PCID, third])

    def measured(_signer, octets):
        sizes.append(sum(octets.values()))
        if sizes[-1] > sizes[0]:
            raise MalformedError("this one is longer")

    monkeypatch.setattr(contracts, "check_answer_by", measured)
    orders = [(EMAID, PCID), (longer, third), (OTHER_EMAID, OTHER_PCID)]
    outcomes = make(environment, *[wanted(environment, *one) for one in orders])
    assert [getattr(one, "code", "issued") for one in outcomes] == ["issued", "contract.answer_too_long", "issued"]
    assert len(sizes) == 2
