"""Vehicles in the PCP that change: issued again, published with another key, deleted; and what becomes of contracts."""

from datetime import timedelta

import pytest

from pki_core.model.errors import (
    NotAuthorizedError,
    NotFoundError,
    StoreUnavailableError,
)
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from pki_core.services.pool_provisioning import Published, Selection
from pki_core.services.revoke import Revocations
from pki_core.wire.pool_certificate import read_certificate
from tests.builders import new_key
from tests.journeys.acts import rows
from tests.journeys.contract_acts import EMAID as VEHICLES_EMAID
from tests.journeys.contract_acts import OTHER_EMAID as VEHICLES_OTHER
from tests.journeys.contract_acts import P256, P521, Garage, make, wanted
from tests.journeys.contract_acts import PCID as VEHICLES_PCID
from tests.journeys.pool_acts import (
    EMAID,
    MO,
    NO_VEHICLE,
    OEM,
    OTHER_EMAID,
    OTHER_MO,
    OTHER_OEM,
    OTHER_PCID,
    PCID,
    audited,
    contract_of,
    emaids,
    events,
    foreign_ca,
    forget_events,
    issue,
    own_contract,
    pcids,
    vehicle_of,
)

pytest_plugins = ["tests.journeys.pool_environments"]


def test_a_vehicle_issued_again_with_its_key_keeps_its_contracts(runtime):
    pcid, key = "WPNABCDEFGHJKLMN1", new_key()
    issue(runtime, "oem_provisioning_leaf", pcid, "WPNABCDEFGHJKLMN2", keys=[key, new_key()])
    runtime.pools.contracts.publish(MO, contract_of(foreign_ca(runtime), pcid=pcid))
    forget_events(runtime)
    (_, again, _) = issue(
        runtime,
        "oem_provisioning_leaf",
        "WPNABCDEFGHJKLMN3",
        pcid,
        "WPNABCDEFGHJKLMN4",
        keys=[new_key(), key, new_key()],
    )
    assert runtime.pools.provisioning.get(MO, pcid).row.leaf_der == again.certificate_der
    assert len(runtime.pools.contracts.of_vehicle(OEM, pcid)) == 1
    assert runtime.pools.ccp_cleanup.run().contracts == 0
    assert events(runtime) == []
    assert len(pcids(runtime)) == 4


def test_a_vehicle_issued_again_with_another_key_loses_its_contracts_with_it(runtime):
    pcid = "WPNABCDEFGHJKLMN1"
    issue(runtime, "oem_provisioning_leaf", pcid)
    upload, serial = own_contract(runtime, pcid=pcid)
    runtime.pools.contracts.publish(MO, upload)
    forget_events(runtime)
    issue(runtime, "oem_provisioning_leaf", pcid)
    assert emaids(runtime) == []
    assert runtime.certificates.show(serial).state is CertificateState.REVOKED
    assert events(runtime) == [
        ("oem.contract.deleted", "WPN", pcid, EMAID),
        ("mo.contract.deleted.sent.to.oem", "DEPNC", pcid, EMAID),
        ("mo.prov.cert.updated", "DEPNC", pcid, ""),
    ]
    assert runtime.pools.ccp_cleanup.run().contracts == 0


# --- the cascades (B1-B10, table of triggers)


def test_the_same_key_with_a_new_certificate_keeps_the_contracts_and_tells_nobody(runtime):
    ca = foreign_ca(runtime)
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca, years=1))
    runtime.pools.contracts.publish(MO, contract_of(ca))
    forget_events(runtime)
    renewed = vehicle_of(ca, years=3)
    assert runtime.pools.provisioning.publish(OEM, renewed) is Published.RENEWED
    assert runtime.pools.provisioning.get(MO, PCID).row.leaf_der == renewed.leaf_der
    assert emaids(runtime) == [EMAID]
    assert events(runtime) == []


def test_another_key_removes_the_contracts_revokes_ours_and_tells(runtime):
    ca = foreign_ca(runtime)
    runtime.pools.provisioning.publish(OEM, vehicle_of(ca))
    upload, serial = own_contract(runtime)
    runtime.pools.contracts.publish(MO, upload)
    runtime.pools.contracts.publish(MO, contract_of(ca, OTHER_EMAID))
    forget_events(runtime)
    assert runtime.pools.provisioning.publish(OEM, vehicle_of(ca, key=new_key())) is Published.REPLACED
    assert emaids(runtime) == []
    assert runtime.certificates.show(serial).state is CertificateState.REVOKED
    assert set(events(runtime)) == {
        ("oem.contract.deleted", "WPN", PCID, EMAID),
        ("mo.contract.deleted.sent.to.oem", "DEPNC", PCID, EMAID),
        ("oem.contract.deleted", "WPN", PCID, OTHER_EMAID),
        ("mo.contract.deleted.sent.to.oem", "DEPNC", PCID, OTHER_EMAID),
        ("mo.prov.cert.updated", "DEPNC", PCID, ""),
    }


@pytest.mark.parametrize(("reset", "told"), [(False, "mo.prov.cert.deleted"), (True, "mo.prov.cert.factory.reset")])
def test_deleting_a_vehicle_removes_its_contracts_revokes_ours_and_tells(runtime, reset, told):
    ca = foreign_ca(runtime)
    for pcid in (PCID, OTHER_PCID):
        runtime.pools.provisioning.publish(OEM, vehicle_of(ca, pcid))
    upload, serial = own_contract(runtime)
    runtime.pools.contracts.publish(MO, upload)
    runtime.pools.contracts.publish(OTHER_MO, contract_of(ca, "FRXYZ123456789"))
    runtime.pools.contracts.publish(MO, contract_of(ca, OTHER_EMAID, OTHER_PCID))
    forget_events(runtime)
    assert runtime.pools.provisioning.delete(OEM, PCID, factory_reset=reset) == 2
    assert (pcids(runtime), emaids(runtime)) == ([OTHER_PCID], [OTHER_EMAID])
    record = runtime.certificates.show(serial)
    assert record.state is CertificateState.REVOKED
    found = events(runtime)
    assert (told, "DEPNC", PCID, "") in found
    assert (told, "FRXYZ", PCID, "") in found
    assert ("oem.contract.deleted", "WPN", PCID, EMAID) in found
    assert len(found) == 6
    actions = [action for action, _ in audited(runtime)]
    assert (actions.count("pool.pcp_removed"), actions.count("pool.ccp_removed")) == (1, 2)
    with pytest.raises(NotFoundError, match=NO_VEHICLE):
        runtime.pools.provisioning.delete(OEM, PCID)


def test_a_vehicle_without_contracts_goes_without_a_word(light):
    light.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(light)))
    light.pools.provisioning.delete(OEM, PCID)
    assert events(light) == []


def test_when_a_contract_cannot_be_revoked_everything_stays(runtime, monkeypatch):
    runtime.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(runtime)))
    upload, serial = own_contract(runtime)
    runtime.pools.contracts.publish(MO, upload)
    forget_events(runtime)

    def fail(*_arguments, **_more):
        raise StoreUnavailableError("away")

    monkeypatch.setattr(Revocations, "revoke_leafs_within", fail)
    with pytest.raises(StoreUnavailableError):
        runtime.pools.provisioning.delete(OEM, PCID)
    with pytest.raises(StoreUnavailableError):
        runtime.pools.contracts.delete(MO, EMAID)
    assert (pcids(runtime), emaids(runtime), events(runtime)) == ([PCID], [EMAID], [])
    assert runtime.certificates.show(serial).state is CertificateState.GOOD


def test_another_oem_deletes_nothing(light):
    light.pools.provisioning.publish(OEM, vehicle_of(foreign_ca(light)))
    with pytest.raises(NotFoundError, match=NO_VEHICLE):
        light.pools.provisioning.delete(OTHER_OEM, PCID)
    with pytest.raises(NotAuthorizedError):
        light.pools.provisioning.delete(MO, PCID)
    assert pcids(light) == [PCID]


# --- certificates of contracts that others replaced


def in_force(runtime):
    """Which certificates of contracts are good."""
    return {
        serial
        for serial, status in rows(
            runtime,
            "SELECT s.serial, s.status FROM certificate_status s JOIN certificate c ON c.id = s.certificate_id "
            "JOIN profile p ON p.id = c.profile_id WHERE p.name LIKE 'contract%'",
        )
        if status == CertificateState.GOOD.value
    }


def test_what_a_newer_contract_replaced_stays_good_until_that_one_is_removed(runtime):
    Garage(runtime).build()
    for _ in range(3):
        make(runtime, wanted(runtime))
    assert len(in_force(runtime)) == 3  # the vehicle may still use each: its key opens all of them
    runtime.pools.contracts.delete(MO, VEHICLES_EMAID)
    assert in_force(runtime) == set()
    assert rows(runtime, "SELECT * FROM former_contract") == []


def test_with_another_key_of_the_vehicle_go_former_contracts_too(runtime):
    Garage(runtime).build()
    make(runtime, wanted(runtime))
    make(runtime, wanted(runtime), wanted(runtime, VEHICLES_OTHER))
    assert len(in_force(runtime)) == 3
    Garage(runtime).build()
    assert in_force(runtime) == set()


def test_a_certificate_that_is_put_in_its_own_place_is_not_its_own_former_one(runtime):
    Garage(runtime).build()
    upload, _ = own_contract(runtime, VEHICLES_EMAID, VEHICLES_PCID)
    for _ in range(2):
        runtime.pools.contracts.publish(MO, upload)
    assert rows(runtime, "SELECT * FROM former_contract") == []
    leaf_der = runtime.pools.provisioning.get(MO, VEHICLES_PCID).row.leaf_der
    runtime.revocations.revoke(read_certificate(leaf_der).serial, Reason.KEY_COMPROMISE, actor="test")
    assert runtime.pools.check.run(dry_run=True).revoked == 1


def test_a_dry_run_counts_former_contracts_as_the_run_does(light):
    Garage(light).build()
    for _ in range(2):
        make(light, wanted(light))
    leaf_der = light.pools.provisioning.get(MO, VEHICLES_PCID).row.leaf_der
    light.revocations.revoke(read_certificate(leaf_der).serial, Reason.KEY_COMPROMISE, actor="test")
    counted = light.pools.check.run(dry_run=True)
    done = light.pools.check.run()
    assert (counted.contracts, counted.revoked) == (done.contracts, done.revoked) == (1, 2)


def test_a_former_contract_for_another_key_of_the_vehicle_goes_with_that_key(light):
    garage = Garage(light)
    garage.build(), garage.build(algorithm=P521)
    make(light, wanted(light))
    former = in_force(light)
    make(light, wanted(light), algorithm=P521)
    assert light.pools.provisioning.delete(OEM, VEHICLES_PCID, Selection(algorithm=P256)) == 0
    assert len(in_force(light)) == 1
    assert not in_force(light) & former


def test_a_contract_of_another_pki_remembers_what_of_ours_it_replaced(light):
    vehicle = Garage(light).build()
    make(light, wanted(light))
    assert vehicle.pcid == VEHICLES_PCID
    light.pools.contracts.publish(MO, contract_of(foreign_ca(light), VEHICLES_EMAID, VEHICLES_PCID))
    assert len(in_force(light)) == 1
    light.pools.contracts.delete(MO, VEHICLES_EMAID)
    assert in_force(light) == set()


def test_a_certificate_that_was_put_back_in_its_place_is_remembered_once(runtime):
    Garage(runtime).build()
    first, second = (own_contract(runtime, VEHICLES_EMAID, VEHICLES_PCID)[0] for _ in range(2))
    for upload in (first, second, second, first, second):
        runtime.pools.contracts.publish(MO, upload)
    assert len(rows(runtime, "SELECT * FROM former_contract")) == 2
    runtime.pools.contracts.delete(MO, VEHICLES_EMAID)
    assert in_force(runtime) == set()


def test_a_removal_that_skips_revocation_leaves_former_certificates_too(light):
    Garage(light).build()
    make(light, wanted(light))
    make(light, wanted(light))
    light.pools.contracts.delete(MO, VEHICLES_EMAID, skip_revocation=True)
    assert len(in_force(light)) == 2
    assert rows(light, "SELECT * FROM former_contract") == []


def test_a_sweep_forgets_former_contracts_that_ended(light):
    Garage(light).build()
    ends = light.clock.now() + timedelta(days=9)
    make(light, wanted(light, ends=ends))
    make(light, wanted(light))
    light.pools.expiry.sweep()
    assert len(rows(light, "SELECT * FROM former_contract")) == 1
    light.clock.moment += timedelta(days=10)
    light.pools.expiry.sweep()
    assert rows(light, "SELECT * FROM former_contract") == []
    assert len(emaids(light)) == 1
