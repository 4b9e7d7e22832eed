"""Contract data whose signer is revoked, has ended or ends soon: not shown, and signed anew by the next signer."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from pki_core.model.contract_orders import OwnContract
from pki_core.model.errors import HsmUnavailableError, NotFoundError
from pki_core.model.pools import Namespace
from pki_core.model.profiles import Edition
from pki_core.model.revocations import Reason
from pki_core.services.contract_signing import ContractSigning
from pki_core.wire.contract_data import NO_CERTIFICATE_2, decode_message, encode_message
from pki_core.wire.contract_envelope import wrap_2
from tests.builders import new_key
from tests.journeys.acts import hold, rows
from tests.journeys.contract_acts import (
    EMAID,
    LABEL,
    OTHER_EMAID,
    OTHER_PCID,
    P256,
    P521,
    PCID,
    YEAR,
    Garage,
    contract,
    make,
    signed_data,
    wanted,
)
from tests.journeys.installation_acts import ISO_20, ask, code_of
from tests.journeys.pool_acts import MO, OEM, audited, contract_of, der, foreign_ca, opened, vehicle_of
from tests.journeys.signer_acts import signer

pytest_plugins = ["tests.journeys.environments"]
NOTHING = (0, 0, 0, 0, False)
DONE = (1, 0, 0, 0, False)
WAITING = (0, 1, 0, 0, False)
POSTPONED = (0, 0, 1, 0, False)


def rotated(runtime, algorithm=P256):
    """The next signer is in service."""
    suffix = LABEL[algorithm]
    fields = {"parent": f"cps-sub2{suffix}", "algorithm": algorithm, "profile": "cps_leaf"}
    if suffix:
        fields["profile"] = "cps_leaf_20"
    plan = replace(signer(f"cps-signer{suffix}-2"), **fields)
    hold(runtime, plan)


def revoke_signer(runtime, label="cps-signer-1", reason=Reason.KEY_COMPROMISE):
    (record,) = [one.signer.record for one in runtime.contracts.signers.standings() if one.signer.record.label == label]
    runtime.revocations.revoke(record.serial, reason, actor="test")
    return record


def signer_of(runtime, emaid=EMAID):
    ((number,),) = rows(runtime, f"SELECT signer_id FROM contract WHERE emaid = '{emaid}'")  # noqa: S608  # ours
    return {row[0]: row[1] for row in rows(runtime, "SELECT id, label FROM cps_signer")}.get(number)


def run(runtime, **options):
    return runtime.contracts.resigning.run(**options)


@pytest.fixture
def timed(home):
    """An environment whose clock is set."""
    with opened(home) as runtime:
        yield runtime


@pytest.mark.parametrize("algorithm", [P256, P521])
def test_data_of_a_revoked_signer_is_not_shown_until_the_next_one_signed_it(any_environment, algorithm):
    runtime, namespace = any_environment, ISO_20 if algorithm is P521 else Namespace.ISO_2_2013
    edition = Edition.ISO_20 if algorithm is P521 else Edition.ISO_2
    vehicle = Garage(runtime).build(algorithm=algorithm)
    make(runtime, wanted(runtime), algorithm=algorithm)
    before = decode_message(edition, signed_data(runtime))
    revoke_signer(runtime, f"cps-signer{LABEL[algorithm]}-1")
    assert not ask(runtime, vehicle, namespace).is_found
    with pytest.raises(NotFoundError):
        runtime.contracts.installations.provide(OEM, EMAID, PCID, b"\0")
    assert run(runtime) == WAITING
    rotated(runtime, algorithm)
    assert run(runtime) == DONE
    assert run(runtime) == NOTHING
    (item,) = ask(runtime, vehicle, namespace).items
    install = vehicle.install_20 if algorithm is P521 else vehicle.install_2
    assert install(item.exi, runtime.clock.now()) == EMAID
    assert runtime.contracts.installations.provide(OEM, EMAID, PCID, b"\0").contract.emaid == EMAID
    after = decode_message(edition, signed_data(runtime))
    if edition is Edition.ISO_20:
        assert after.installation_data == before.installation_data
    else:
        assert replace(after.body, cps_chain=before.body.cps_chain) == before.body
    label = f"cps-signer{LABEL[algorithm]}"
    assert ("contract.resigned", f"{EMAID} {label}-1 -> {label}-2") in audited(runtime)
    assert signer_of(runtime) == f"{label}-2"


def test_data_of_a_signer_that_ended_is_not_shown_and_is_signed_anew_in_time(timed):
    first = timed.contracts.signers.choose(P256)
    end = first.record.not_after
    timed.clock.moment = end - timedelta(days=40)
    vehicle = Garage(timed).build()
    make(timed, wanted(timed))
    assert contract(timed).valid_to > end
    rotated(timed)
    assert run(timed) == NOTHING  # there is time
    timed.clock.moment = end
    assert code_of(ask(timed, vehicle)) == NO_CERTIFICATE_2
    timed.clock.moment = end - timedelta(days=29)
    assert run(timed, dry_run=True) == DONE
    assert signer_of(timed) == "cps-signer-1"
    assert run(timed) == DONE
    timed.clock.moment = end
    (item,) = ask(timed, vehicle).items
    assert vehicle.install_2(item.exi, timed.clock.now()) == EMAID


def test_a_newer_signer_that_ends_no_later_takes_nobodys_place(timed):
    first = timed.contracts.signers.choose(P256)
    timed.clock.moment = first.record.not_after - timedelta(days=40)
    Garage(timed).build()
    make(timed, wanted(timed))
    rotated(timed)
    with timed.store.transaction() as work:
        end = int(first.record.not_after.timestamp())
        work.audit._connection.exec_driver_sql(f"UPDATE cps_signer SET not_after = {end} WHERE label = 'cps-signer-2'")  # noqa: S608
    timed.clock.moment = first.record.not_after - timedelta(days=29)
    assert run(timed) == WAITING
    assert signer_of(timed) == "cps-signer-1"


def test_data_below_a_revoked_ca_of_the_provisioning_service_is_not_shown(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    assert ask(environment, vehicle).is_found
    with environment.store.reading() as work:
        standing = next(one for one in work.responders.standings() if one.ca_id == work.issuers.get("cps-sub1").id)
    environment.revocations.revoke(standing.serial, Reason.CA_COMPROMISE, actor="test")
    assert code_of(ask(environment, vehicle)) == NO_CERTIFICATE_2
    assert run(environment) == WAITING


def test_contracts_that_are_not_good_and_data_of_others_are_not_signed_anew(timed):
    ca = foreign_ca(timed)
    timed.pools.provisioning.publish(OEM, vehicle_of(ca))
    timed.pools.contracts.publish(MO, contract_of(ca))  # of no provisioning service that we know
    Garage(timed).build_many([PCID, OTHER_PCID])
    now = timed.clock.now()
    revoked, _ = make(timed, wanted(timed), wanted(timed, OTHER_EMAID, OTHER_PCID, ends=now + YEAR / 2))
    before = {emaid: signed_data(timed, emaid) for emaid in (EMAID, OTHER_EMAID, "DEPNCC00000001")}
    with timed.store.transaction() as work:  # the pools' check has not come by yet
        statement = f"UPDATE certificate_status SET status = 'revoked' WHERE certificate_id = {revoked.certificate_id}"  # noqa: S608
        assert work.audit._connection.exec_driver_sql(statement).rowcount == 1
    timed.clock.moment = now + YEAR / 2
    rotated(timed)
    revoke_signer(timed)
    assert run(timed) == NOTHING
    assert {emaid: signed_data(timed, emaid) for emaid in before} == before


def test_data_that_nobody_looked_at_is_looked_at_once(environment):
    vehicle = Garage(environment).build()
    make(environment, wanted(environment))
    with environment.store.transaction() as work:  # as a database is after the migration
        work.audit._connection.exec_driver_sql("UPDATE contract SET signer_id = NULL")
    revoke_signer(environment)
    assert run(environment) == WAITING
    assert signer_of(environment) == "cps-signer-1"
    rotated(environment)
    assert run(environment) == DONE
    vehicle.install_2(ask(environment, vehicle).items[0].exi, environment.clock.now())


def test_stored_data_that_does_not_verify_gets_no_signature_of_ours(environment):
    Garage(environment).build()
    make(environment, wanted(environment))
    message = decode_message(Edition.ISO_2, signed_data(environment))
    forged = encode_message(replace(message, body=replace(message.body, emaid=replace(message.body.emaid, value="X"))))
    with environment.store.transaction() as work:
        assert work.contract_signers.replace(EMAID, signed_data(environment), forged, 1)
    rotated(environment)
    revoke_signer(environment)
    assert run(environment) == (0, 0, 0, 1, False)
    assert signed_data(environment) == forged


def test_a_contract_made_anew_while_the_old_data_is_signed_is_left_alone(environment, monkeypatch):
    Garage(environment).build()
    make(environment, wanted(environment))
    rotated(environment)
    revoke_signer(environment)
    signing = ContractSigning.signed

    def overtaken(self, messages, by, before_piece=None):
        monkeypatch.setattr(ContractSigning, "signed", signing)
        make(environment, wanted(environment))
        return signing(self, messages, by, before_piece)

    monkeypatch.setattr(ContractSigning, "signed", overtaken)
    assert run(environment) == NOTHING
    message = decode_message(Edition.ISO_2, signed_data(environment))
    assert message.body.contract_chain.certificate_der == contract(environment).leaf_der


def test_a_token_that_is_away_leaves_the_rest_to_the_next_run(environment, monkeypatch):
    def away(*_arguments):
        raise HsmUnavailableError("away")

    garage = Garage(environment)
    garage.build_many([PCID, OTHER_PCID])
    make(environment, wanted(environment), wanted(environment, OTHER_EMAID, OTHER_PCID))
    rotated(environment)
    revoke_signer(environment)
    with monkeypatch.context() as patched:
        patched.setattr(ContractSigning, "signed", away)
        assert run(environment) == (0, 0, 0, 0, True)
    assert run(environment, window=1) == (2, 0, 0, 0, False)


def test_a_contract_below_a_revoked_ca_is_not_signed_anew(environment):
    Garage(environment).build()
    make(environment, wanted(environment))
    before = signed_data(environment)
    with environment.store.reading() as work:
        standing = next(one for one in work.responders.standings() if one.ca_id == work.issuers.get("mo-sub2").id)
    environment.revocations.revoke(standing.serial, Reason.CA_COMPROMISE, actor="test")
    rotated(environment)
    revoke_signer(environment)
    assert run(environment) == NOTHING
    assert signed_data(environment) == before


def test_a_contract_of_another_ca_is_signed_anew_once_that_told_its_status_within_a_day(timed):
    vehicle, ca, key = Garage(timed).build(), foreign_ca(timed), new_key()
    contract_der = ca.leaf(EMAID, key)
    envelope = wrap_2(key, x509.load_der_x509_certificate(vehicle.chain.certificate_der).public_key())
    subs = {"sub1_der": der(ca.sub1), "sub2_der": der(ca.sub2)}
    own = OwnContract(leaf_der=contract_der, envelope=envelope, namespace=Namespace.ISO_2_2013, pcid=PCID, **subs)
    timed.contracts.own.sign(MO, [own])
    before = signed_data(timed)
    rotated(timed)
    revoke_signer(timed)
    timed.clock.moment += timedelta(hours=24, seconds=1)
    assert run(timed) == POSTPONED
    assert signed_data(timed) == before
    timed.pools.check.run()
    assert run(timed) == DONE
    assert signed_data(timed) != before
