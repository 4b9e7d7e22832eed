"""What is in the CCP and cannot be believed now is handed out by no path: its CPS root is gone, or its CA is silent."""

from datetime import timedelta

import pytest

from pki_core.model.pools import RootKind
from pki_core.wire.contract_data import encode_message
from tests.journeys.contract_acts import EMAID, PCID
from tests.journeys.contract_rest_acts import SIGN, own_body, own_data, request_of, signed_elsewhere
from tests.journeys.pool_acts import MO, OEM, contract_of, emaids, foreign_ca, vehicle_of
from tests.journeys.rest_acts import CCP, CCP_OPNC, b64

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
