"""What is in the CCP and cannot be believed now is handed out by no path: its CPS root is gone, or a CA is silent.

The CA of the contract's certificate, or that of the vehicle's.
"""

import base64
import hashlib
from datetime import timedelta

import pytest
from cryptography import x509

from pki_core.model.pools import PROVISIONING_NOT_AVAILABLE, ContractRow, RootKind
from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import BAD_SIGNATURE, NO_CERTIFICATE_2, decode_message, encode_message
from tests.builders import new_key
from tests.contract_chains import Entity
from tests.journeys.contract_acts import EMAID, OTHER_EMAID, P256, PCID
from tests.journeys.contract_rest_acts import (
    GENERATE,
    SIGN,
    generate,
    order,
    own_body,
    own_data,
    request_of,
    root_of,
    signed_elsewhere,
)
from tests.journeys.pool_acts import MO, OEM, contract_of, der, emaids, foreign_ca, vehicle_of
from tests.journeys.rest_acts import CCP, CCP_OPNC, PCP, b64
from tests.vehicle import Vehicle

pytest_plugins = ["tests.journeys.rest_environments", "tests.journeys.pool_environments"]
LOOK = f"/v1/ccp/lookupContract/{EMAID}"
PULL = f"/v1/ccp/provideSignedContractData/{EMAID}/{PCID}"
SILENT = "nobody answers"


def handed_out(api, vehicle):
    """What each path says of the vehicle's contract: a status, or how many contracts are named."""
    listed = api.call("oem", "GET", f"{CCP}/{PCID}")
    return {
        "operator's look-up": api.call("mo", "GET", LOOK).status_code,
        "maker's look-up": api.call("oem", "GET", LOOK).status_code,
        "maker's list": len(listed.json["XMLContracts"]) if listed.status_code == 200 else listed.status_code,
        "maker's pull": api.call("oem", "GET", PULL).status_code,
        "vehicle's request": api.call("cpo", "POST", CCP, json=request_of(vehicle)).status_code,
    }


def all_paths(status, listed):
    paths = ("operator's look-up", "maker's look-up", "maker's pull", "vehicle's request")
    return {**dict.fromkeys(paths, status), "maker's list": listed}


@pytest.fixture
def elsewhere(api, garage):
    """A vehicle whose contract another provisioning service signed."""
    vehicle = garage.build()
    message, roots = signed_elsewhere(api, vehicle)
    body = {"emaid": EMAID, "pcid": PCID, "certificateInstallationRes": b64(encode_message(message))}
    api.good("cps", "PUT", CCP_OPNC, 201, json=body)
    vehicle.roots += roots
    return vehicle


@pytest.fixture
def own_pki(api, garage):
    """A vehicle whose contract certificate an operator's own CA issued, and that certificate."""
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    api.good("mo", "PUT", SIGN, 201, json=own_body(ca, leaf_der, envelope, pcid=PCID))
    return vehicle, leaf_der


def test_a_contract_whose_cps_root_left_the_rcp_is_handed_out_by_no_path_and_stays(api, elsewhere):
    assert handed_out(api, elsewhere) == all_paths(200, 1)
    roots = api.runtime.pools.roots
    (root,) = [one for one in roots.all() if one.kind is RootKind.V2G]
    roots.remove(root.id, by="alice")
    api.runtime.clock.advance(minutes=1)
    assert handed_out(api, elsewhere) == all_paths(404, 0)
    report = api.runtime.pools.ccp_cleanup.run()
    assert (report.contracts, emaids(api.runtime)) == (0, [EMAID])  # a root takes nothing with it
    assert report.warnings == [f"1 contracts are not shown: the V2G root {root.sha256} of their CPS is gone"]
    assert list(api.runtime.pools.ccp_cleanup.run(dry_run=True).warnings) == list(report.warnings)
    roots.add(root.certificate_der, RootKind.V2G, by="alice", evidence="read over the telephone")
    api.runtime.clock.advance(minutes=1)
    assert handed_out(api, elsewhere) == all_paths(200, 1)
    assert api.runtime.pools.ccp_cleanup.run().warnings == []


def test_a_contract_below_a_cps_root_that_has_ended_is_handed_out_by_no_path_before_any_sweep(api, elsewhere):
    with api.runtime.store.transaction() as work:
        ended = int(api.runtime.clock.now().timestamp())
        work.audit._connection.exec_driver_sql(f"UPDATE pool_root SET valid_to = {ended} WHERE kind = 'v2g'")  # noqa: S608
    api.runtime.clock.advance(minutes=1)
    assert handed_out(api, elsewhere) == all_paths(404, 0)


def test_a_root_of_ours_stands_until_it_ends(light):
    root = next(one for one in light.certificates.issuers() if one.label == "v2g-root")
    fingerprint = hashlib.sha256(root.certificate_der).hexdigest()
    roots = light.pools.cps_roots
    light.clock.moment = root.not_after - timedelta(seconds=1)
    assert roots.stands(fingerprint)
    assert fingerprint in roots.standing()
    light.clock.moment = root.not_after + timedelta(minutes=1)
    assert not roots.stands(fingerprint)
    assert not roots.is_known(
        fingerprint, frozenset({x509.load_der_x509_certificate(root.certificate_der).serial_number})
    )


def test_a_contract_whose_ca_is_silent_is_handed_out_by_no_path_after_a_day(api, own_pki):
    vehicle, leaf_der = own_pki
    source = api.runtime.pools.status_source
    source.silent.add(leaf_der)
    source.asked.clear()
    api.runtime.clock.advance(days=1)
    assert handed_out(api, vehicle) == all_paths(200, 1)
    assert source.asked == []
    api.runtime.clock.advance(days=59)
    assert api.runtime.pools.check.run().postponed == 1
    assert handed_out(api, vehicle) == all_paths(503, 503)
    source.silent.clear()
    source.asked.clear()
    assert handed_out(api, vehicle) == all_paths(200, 1)
    assert source.asked == [leaf_der]


def test_a_contract_that_its_ca_calls_revoked_is_handed_out_by_no_path_before_any_check(api, own_pki):
    vehicle, leaf_der = own_pki
    api.runtime.pools.status_source.revoked.add(leaf_der)
    api.runtime.clock.advance(hours=25)
    assert handed_out(api, vehicle) == all_paths(404, 0)


def test_a_silent_ca_hides_its_own_contracts_alone(light):
    ca, other = foreign_ca(light), foreign_ca(light, "other", RootKind.MO)
    light.pools.provisioning.publish(OEM, vehicle_of(ca, PCID))
    silent = contract_of(other, "DEPNCC00000002", PCID)
    for upload in (contract_of(ca, EMAID, PCID), silent):
        light.pools.contracts.publish(MO, upload)
    light.pools.status_source.silent.add(silent.leaf_der)
    light.clock.moment += timedelta(hours=25)
    assert [one.emaid for one in light.pools.contracts.of_vehicle(OEM, PCID)] == [EMAID]


# --- the vehicle's own certificate, of another CA


@pytest.fixture
def foreign(api, garage):
    """A vehicle that its maker's own CA certified, with a contract of ours; and its certificate."""
    ca, key = foreign_ca(api.runtime), new_key()
    leaf_der = ca.leaf(PCID, key)
    body = {"vehicleCertificate": b64(leaf_der), "subCA1Certificate": b64(der(ca.sub1))}
    api.good("oem", "PUT", PCP, json={**body, "subCA2Certificate": b64(der(ca.sub2))})
    above = Entity(certificate=ca.sub1.certificate, key=None, above=root_of(ca))
    oem = Entity(certificate=x509.load_der_x509_certificate(leaf_der), key=key, above=above)
    vehicle = Vehicle(oem, P256, [garage._above("v2g-root")])
    generate(api)
    api.runtime.pools.status_source.asked.clear()
    return vehicle, leaf_der


def codes_of(answer):
    """The response codes that stations are given for a vehicle."""
    content = answer.json["CCPResponse"]["emaidContent"]
    exi = [base64.b64decode(one["messageDef"]["certificateInstallationRes"]) for one in content]
    return [decode_message(Edition.ISO_2, one).body.response_code for one in exi]


def test_a_contract_of_a_vehicle_whose_ca_is_silent_is_handed_out_by_no_path_after_a_day(api, foreign):
    vehicle, leaf_der = foreign
    source = api.runtime.pools.status_source
    source.silent.add(leaf_der)
    api.runtime.clock.advance(days=1)
    assert handed_out(api, vehicle) == all_paths(200, 1)
    assert source.asked == []
    api.runtime.clock.advance(hours=1)
    assert api.call("oem", "GET", f"{PCP}/{PCID}").status_code == 503
    assert handed_out(api, vehicle) == all_paths(503, 503)
    source.silent.clear()
    source.asked.clear()
    assert handed_out(api, vehicle) == all_paths(200, 1)
    assert source.asked == [leaf_der]  # and it is good for a day


def test_a_contract_of_a_vehicle_that_its_ca_calls_revoked_is_handed_out_by_no_path_before_any_check(api, foreign):
    vehicle, leaf_der = foreign
    api.runtime.pools.status_source.revoked.add(leaf_der)
    api.runtime.clock.advance(hours=25)
    assert api.call("oem", "GET", f"{PCP}/{PCID}").status_code == 404
    assert handed_out(api, vehicle) == all_paths(404, 0)
    assert codes_of(api.call("cpo", "POST", CCP, json=request_of(vehicle))) == [NO_CERTIFICATE_2]


def test_a_vehicle_is_asked_about_once_for_all_its_contracts_and_never_for_a_stranger_s_signature(api, foreign):
    vehicle, leaf_der = foreign
    generate(api, emaid=OTHER_EMAID)
    source = api.runtime.pools.status_source
    source.silent.add(leaf_der)
    api.runtime.clock.advance(hours=25)
    honest, vehicle._signer.key = vehicle._signer.key, new_key()
    assert codes_of(api.call("cpo", "POST", CCP, json=request_of(vehicle))) == [BAD_SIGNATURE]
    assert source.asked == []
    vehicle._signer.key = honest
    assert api.call("oem", "GET", f"{CCP}/{PCID}").status_code == 503
    assert source.asked == [leaf_der]


def test_a_contract_stays_to_be_had_where_the_root_of_its_vehicle_left_the_rcp_and_none_is_made_anew(api, foreign):
    """A root takes nothing with it: what was encrypted while it stood is of use to that vehicle alone."""
    vehicle, _ = foreign
    roots = api.runtime.pools.roots
    for root in roots.all():
        roots.remove(root.id, by="alice")
    api.runtime.clock.advance(hours=25)
    assert handed_out(api, vehicle) == all_paths(200, 1)
    assert api.call("oem", "GET", f"{PCP}/{PCID}").status_code == 404
    assert api.refused("mo", "PUT", GENERATE, json=order(api)) == (400, PROVISIONING_NOT_AVAILABLE)


def test_a_contract_that_leaves_while_its_ca_would_be_asked_is_shown_to_nobody(light, monkeypatch):
    ca = foreign_ca(light)
    light.pools.provisioning.publish(OEM, vehicle_of(ca, PCID))
    light.pools.contracts.publish(MO, contract_of(ca, EMAID, PCID))
    (row,) = light.pools.contracts.of_vehicle(OEM, PCID)
    light.clock.moment += timedelta(hours=25)
    honest = light.pools.checks.is_told

    def leaving(one):
        if isinstance(one, ContractRow):
            light.pools.contracts.delete(MO, EMAID)
        return honest(one)

    monkeypatch.setattr(light.pools.checks, "is_told", leaving)
    light.pools.status_source.asked.clear()
    assert light.pools.contracts.of_vehicle(OEM, PCID) == []
    assert row.leaf_der not in light.pools.status_source.asked
