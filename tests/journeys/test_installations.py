"""Answers to vehicles: EXI in, EXI out, and no key is touched on the way."""

from datetime import timedelta

import pytest
from cryptography import x509
from sqlalchemy import update

from pki_core.model.errors import MalformedError, NotAuthorizedError, NotFoundError
from pki_core.model.profiles import Edition
from pki_core.model.revocations import Reason
from pki_core.services.installations import INVALID_EXI, session_id_of
from pki_core.store import pool_tables
from pki_core.wire.contract_data import BAD_SIGNATURE, NO_CERTIFICATE_2, NO_CONTRACT_20, decode_message
from tests.builders import new_key
from tests.contract_chains import Entity
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
    wanted,
)
from tests.journeys.installation_acts import CPO, ISO_2, ISO_20, MO, OEM, ask, code_of
from tests.journeys.pool_acts import OTHER_OEM, events, foreign_ca, forget_events, opened, vehicle_of
from tests.vehicle import SESSION, Vehicle

pytest_plugins = ["tests.journeys.environments"]
THIRD_EMAID = "DEPNC000000103"


class NoKeys:
    """A token that nobody may reach."""

    def __getattr__(self, name):
        raise AssertionError(f"the token was asked: {name}")


@pytest.mark.parametrize("algorithm", [P256, P521, ED448])
def test_a_vehicle_gets_its_contract_and_the_token_is_not_asked(environment, algorithm):
    vehicle = Garage(environment).build(algorithm=algorithm)
    make(environment, wanted(environment), algorithm=algorithm)
    environment.key_store.close()
    environment.__dict__["key_store"] = NoKeys()
    environment.issuers._bound.clear()
    answer = ask(environment, vehicle, ISO_2 if algorithm is P256 else ISO_20)
    (item,) = answer.items
    install = vehicle.install_2 if algorithm is P256 else vehicle.install_20
    assert install(item.exi, environment.clock.now()) == EMAID
    del environment.__dict__["key_store"]


def test_a_vehicle_of_the_first_edition_gets_its_default_contract_alone(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment), wanted(environment, OTHER_EMAID))
    assert [one.contract.emaid for one in ask(environment, vehicle).items] == [EMAID]
    environment.pools.contracts.set_default(OEM, PCID, OTHER_EMAID)
    (item,) = ask(environment, vehicle).items
    assert vehicle.install_2(item.exi, environment.clock.now()) == OTHER_EMAID


def test_a_default_of_the_twenty_edition_leaves_those_of_the_first_to_be_had(environment):
    garage = Garage(environment)
    vehicle, twenty = garage.build(), garage.build(algorithm=P521)
    make(environment, wanted(environment, THIRD_EMAID), algorithm=P521)  # the first of the vehicle, so its default
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2
    make(environment, wanted(environment, OTHER_EMAID), wanted(environment))
    (item,) = ask(environment, vehicle).items
    assert vehicle.install_2(item.exi, environment.clock.now()) == EMAID
    environment.pools.contracts.set_default(OEM, PCID, OTHER_EMAID)
    assert [one.contract.emaid for one in ask(environment, vehicle).items] == [OTHER_EMAID]
    assert [one.contract.emaid for one in ask(environment, twenty, ISO_20).items] == [THIRD_EMAID]
    environment.pools.contracts.delete(MO, OTHER_EMAID)  # no default any more, and none is put in its place
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2


def test_a_vehicle_of_the_twenty_edition_gets_a_list_with_those_it_names_first(environment):
    vehicle = Garage(environment).build(algorithm=P521)
    orders = [wanted(environment, emaid) for emaid in (EMAID, OTHER_EMAID, THIRD_EMAID)]
    make(environment, *orders, algorithm=P521)
    answer = ask(environment, vehicle, ISO_20, emaids=[THIRD_EMAID])
    assert [one.contract.emaid for one in answer.items] == [THIRD_EMAID, EMAID, OTHER_EMAID]
    messages = [decode_message(Edition.ISO_20, one.exi) for one in answer.items]
    assert [one.remaining_contract_chains for one in messages] == [2, 1, 0]
    for one in answer.items:
        vehicle.install_20(one.exi, environment.clock.now())
    assert set(vehicle.installed) == {EMAID, OTHER_EMAID, THIRD_EMAID}


def test_a_vehicle_gets_eight_contracts_in_one_answer_at_most_whatever_it_has_room_for(environment):
    vehicle = Garage(environment).build(algorithm=P521)
    emaids = [f"DEPNC00000020{at}" for at in range(9)]
    make(environment, *[wanted(environment, one) for one in emaids], algorithm=P521)
    answer = ask(environment, vehicle, ISO_20, most=255, emaids=[emaids[8]])
    assert [one.contract.emaid for one in answer.items] == [emaids[8], *emaids[:7]]
    messages = [decode_message(Edition.ISO_20, one.exi) for one in answer.items]
    assert [one.remaining_contract_chains for one in messages] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_a_vehicle_without_a_contract_gets_a_negative_answer_for_its_session(environment):
    garage = Garage(environment)
    assert code_of(ask(environment, garage.build())) == NO_CERTIFICATE_2
    twenty = garage.build(OTHER_PCID, P521)
    assert code_of(ask(environment, twenty, ISO_20), Edition.ISO_20) == NO_CONTRACT_20


def test_a_request_with_somebody_elses_key_or_signature_is_refused(environment):
    garage = Garage(environment)
    vehicle = garage.build()
    make(environment, wanted(environment))
    vehicle._signer.key = new_key()
    assert code_of(ask(environment, vehicle)) == BAD_SIGNATURE
    garage.build()  # the PCID has another certificate now: the old vehicle's contract is of no use to anybody
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2


def pulled(runtime, emaid=EMAID):
    """Whether its maker would be given a contract."""
    try:
        return runtime.contracts.installations.provide(OEM, emaid, PCID, SESSION).contract.emaid == emaid
    except NotFoundError:
        return False


def test_a_vehicle_whose_certificate_was_revoked_gets_nothing_nor_does_its_maker(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    assert pulled(environment)
    serial = f"{vehicle_certificate(vehicle).serial_number:x}"
    environment.revocations.revoke(serial, Reason.KEY_COMPROMISE, actor="test")
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2
    assert not pulled(environment)


def test_a_vehicle_whose_certificate_has_ended_gets_nothing_nor_does_its_maker(home):
    with opened(home) as runtime:
        ca, key = foreign_ca(runtime), new_key()
        upload = vehicle_of(ca, PCID, key=key, end=runtime.clock.now() + timedelta(days=30))
        runtime.pools.provisioning.publish(OEM, upload)
        make(runtime, wanted(runtime))
        above = Entity(certificate=ca.sub1.certificate, key=None, above=None)
        oem = Entity(certificate=x509.load_der_x509_certificate(upload.leaf_der), key=key, above=above)
        vehicle = Vehicle(oem, P256, [Garage(runtime)._above("v2g-root")])
        assert ask(runtime, vehicle).is_found
        assert pulled(runtime)
        runtime.clock.advance(days=31)
        assert contract(runtime).valid_to > runtime.clock.now()
        assert code_of(ask(runtime, vehicle)) == NO_CERTIFICATE_2
        assert not pulled(runtime)


def test_a_contract_that_was_wrapped_for_another_key_goes_to_nobody(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    with environment.store.transaction() as work:  # a key replaced, and its contract not swept away yet
        table = work.contract_pool._connection
        table.execute(update(pool_tables.contract).values(key_sha256=bytes(32)))
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2
    assert not pulled(environment)


def test_each_key_of_a_vehicle_gets_the_contracts_that_were_wrapped_for_it(environment):
    garage = Garage(environment)
    vehicles = {algorithm: garage.build(algorithm=algorithm) for algorithm in (P521, ED448)}
    make(environment, wanted(environment), algorithm=P521)
    assert code_of(ask(environment, vehicles[ED448], ISO_20), Edition.ISO_20) == NO_CONTRACT_20
    make(environment, wanted(environment, OTHER_EMAID), algorithm=ED448)
    for algorithm, emaid in ((P521, EMAID), (ED448, OTHER_EMAID)):
        assert [one.contract.emaid for one in ask(environment, vehicles[algorithm], ISO_20).items] == [emaid]


def vehicle_certificate(vehicle):
    return x509.load_der_x509_certificate(vehicle.chain.certificate_der)


def test_a_vehicle_that_does_not_know_the_root_of_the_signer_gets_nothing(environment):
    garage = Garage(environment)
    vehicle = garage.build()
    make(environment, wanted(environment))
    vehicle.roots = [garage._above("tls-root")]
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2


def test_a_contract_that_has_not_begun_is_not_given_out(environment):
    vehicle = Garage(environment).build()
    begins = environment.clock.now().replace(year=environment.clock.now().year + 1)
    make(environment, wanted(environment, begins=begins, ends=begins.replace(year=begins.year + 1)))
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2
    assert not pulled(environment)


@pytest.mark.parametrize("exi", [b"", b"\x80", b"nonsense", bytes(20_000)])
@pytest.mark.parametrize("namespace", [ISO_2, ISO_20])
def test_what_is_no_request_is_refused_in_the_words_that_clients_know(environment, exi, namespace):
    with pytest.raises(MalformedError, match=INVALID_EXI):
        environment.contracts.installations.answer(CPO, exi, namespace)


def test_operators_hand_in_no_requests_of_vehicles(environment):
    with pytest.raises(NotAuthorizedError):
        ask(environment, Garage(environment).build(), by=MO)


def test_operators_are_told_what_was_delivered(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    forget_events(environment)
    ask(environment, vehicle)
    assert events(environment) == [("mo.contract.delivered.to.oem", "DEPNC", PCID, EMAID)]


def test_a_maker_pulls_the_contract_of_his_own_vehicle(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    installations = environment.contracts.installations
    item = installations.provide(OEM, EMAID, PCID, session_id_of("69fc09895168c8b2"))
    assert vehicle.install_2(item.exi, environment.clock.now()) == EMAID
    with pytest.raises(NotAuthorizedError):
        installations.provide(OTHER_OEM, EMAID, PCID, SESSION)
    with pytest.raises(NotFoundError):
        installations.provide(OEM, OTHER_EMAID, PCID, SESSION)


@pytest.mark.parametrize("text", ["xyz", "0", "00112233445566778899", "0x", "١٢"])
def test_a_session_id_is_eight_octets_in_hexadecimal_at_most(text):
    with pytest.raises(MalformedError, match="Invalid SessionID format"):
        session_id_of(text)


def test_a_contract_that_was_revoked_or_has_ended_is_not_given_out(home):
    with opened(home) as runtime:
        vehicle = Garage(runtime).build()
        make(runtime, wanted(runtime, ends=runtime.clock.now() + timedelta(days=30)))
        assert ask(runtime, vehicle).is_found
        runtime.clock.advance(days=31)
        assert code_of(ask(runtime, vehicle)) == NO_CERTIFICATE_2
        (made,) = make(runtime, wanted(runtime))
        assert ask(runtime, vehicle).is_found
        runtime.revocations.revoke(f"{made.serial:x}", Reason.KEY_COMPROMISE, actor="test")
        assert code_of(ask(runtime, vehicle)) == NO_CERTIFICATE_2
