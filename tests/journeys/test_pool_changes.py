"""Vehicles in the PCP that change: issued again, published with another key, deleted; and what becomes of contracts."""

import pytest

from pki_core.model.errors import (
    NotAuthorizedError,
    NotFoundError,
    StoreUnavailableError,
)
from pki_core.model.states import CertificateState
from pki_core.services.pool_provisioning import Published
from pki_core.services.revoke import Revocations
from tests.builders import new_key
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


def test_a_vehicle_issued_again_with_another_key_has_no_contracts_at_once_and_the_cleanup_takes_them(runtime):
    pcid = "WPNABCDEFGHJKLMN1"
    issue(runtime, "oem_provisioning_leaf", pcid)
    upload, serial = own_contract(runtime, pcid=pcid)
    runtime.pools.contracts.publish(MO, upload)
    forget_events(runtime)
    issue(runtime, "oem_provisioning_leaf", pcid)
    assert runtime.pools.contracts.of_vehicle(OEM, pcid) == []
    assert events(runtime) == [("mo.prov.cert.updated", "DEPNC", pcid, "")]
    report = runtime.pools.ccp_cleanup.run()
    assert (report.contracts, report.revoked) == (1, 1)
    assert runtime.certificates.show(serial).state is CertificateState.REVOKED
    assert emaids(runtime) == []


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
