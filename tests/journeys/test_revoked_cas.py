"""CAs that are revoked or on hold: nothing is signed by them, and nothing below them is shown by the pools."""

import base64
from datetime import timedelta

import pytest

from pki_core.model.contract_orders import ContractOrder
from pki_core.model.errors import CsrRejectedError, IssuerRevokedError, NotFoundError, UnavailableError
from pki_core.model.pools import PROVISIONING_NOT_AVAILABLE, Namespace
from pki_core.model.revocations import Reason
from pki_core.services.runners import running
from tests.builders import make_csr, name, new_key
from tests.journeys.acts import hold, in_base64, rows, sub2, upload_of, write_rows
from tests.journeys.contract_acts import EMAID, OTHER_EMAID, PCID, Garage, make, wanted
from tests.journeys.contract_rest_acts import order_body
from tests.journeys.pool_acts import MO, issue, partner
from tests.journeys.rest_acts import PCP

pytest_plugins = ["tests.journeys.pool_environments", "tests.journeys.rest_environments"]
CPO = partner("cpo", id="cpo")
ISO_2 = Namespace.ISO_2_2013
DEMO_OEM = partner("oem", id="oem")


def serial_of(runtime, label):
    by_label = dict(
        rows(runtime, "SELECT i.label, c.serial FROM certificate c JOIN issuer i ON i.certificate_id = c.id")
    )
    return by_label[label]


def revoke(runtime, label, reason=Reason.CESSATION_OF_OPERATION):
    runtime.revocations.revoke(serial_of(runtime, label), reason, actor="alice", witnesses=("alice", "bob"))


@pytest.mark.parametrize("label", ["oem-sub2", "oem-sub1"])
def test_below_a_revoked_ca_nothing_is_issued_and_no_serial_is_drawn(runtime, label):
    issue(runtime, "oem_provisioning_leaf", PCID)
    before = rows(runtime, "SELECT count(*) FROM certificate_status")
    revoke(runtime, label)
    with pytest.raises(IssuerRevokedError, match="CA oem-sub2, or one above it, is revoked"):
        issue(runtime, "oem_provisioning_leaf", "WPNTESTVEHCLE0009")
    assert rows(runtime, "SELECT count(*) FROM certificate_status") == before
    assert rows(runtime, "SELECT count(*) FROM reservation") == [(0,)]
    issue(runtime, "contract_leaf", EMAID)  # of another branch
    issue(runtime, "oem_provisioning_leaf_20", "WPNTESTVEHCLE0009")  # of another generation


def test_a_ca_on_hold_issues_again_when_it_is_released(light):
    revoke(light, "oem-sub2", Reason.CERTIFICATE_HOLD)
    with pytest.raises(IssuerRevokedError):
        issue(light, "oem_provisioning_leaf", PCID)
    light.revocations.release(serial_of(light, "oem-sub2"), actor="alice")
    issue(light, "oem_provisioning_leaf", PCID)
    assert light.pools.provisioning.get(MO, PCID)


def test_vehicles_and_contracts_below_a_revoked_ca_are_shown_to_nobody(runtime):
    vehicle = Garage(runtime).build()
    make(runtime, wanted(runtime))
    asked = vehicle.request_2()
    installations, pools = runtime.contracts.installations, runtime.pools
    assert installations.answer(CPO, asked, ISO_2).is_found
    revoke(runtime, "oem-sub1")
    assert not installations.answer(CPO, asked, ISO_2).is_found
    with pytest.raises(NotFoundError):
        pools.provisioning.get(MO, PCID)
    with pytest.raises(NotFoundError):
        installations.provide(DEMO_OEM, EMAID, PCID, b"")
    assert pools.contracts.of_vehicle(DEMO_OEM, PCID) == []
    order = ContractOrder(OTHER_EMAID, OTHER_EMAID, PCID, runtime.clock.now(), runtime.clock.now() + timedelta(days=9))
    with pytest.raises(CsrRejectedError, match=PROVISIONING_NOT_AVAILABLE):
        runtime.contracts.generation.generate_one(MO, order, ISO_2)


def test_contracts_below_a_revoked_operators_ca_are_given_to_nobody_and_not_made(runtime):
    vehicle = Garage(runtime).build()
    make(runtime, wanted(runtime))
    revoke(runtime, "mo-sub2")
    assert not runtime.contracts.installations.answer(CPO, vehicle.request_2(), ISO_2).is_found
    with pytest.raises(NotFoundError):
        runtime.contracts.installations.provide(DEMO_OEM, EMAID, PCID, b"")
    with pytest.raises(NotFoundError):
        runtime.pools.contracts.get(MO, EMAID)
    now = runtime.clock.now()
    order = ContractOrder(OTHER_EMAID, OTHER_EMAID, PCID, now, now + timedelta(days=9))
    with pytest.raises(UnavailableError):
        runtime.contracts.generation.generate_one(MO, order, ISO_2)


def uploaded(runtime):
    names = ["DEPNCC00000301", "DEPNCC00000302"]
    table = [[one, in_base64(make_csr(one, new_key())), ""] for one in names]
    return runtime.uploads.submit(upload_of(write_rows(runtime.home / "rows.csv", table)))[0]


def signed(runtime, batch):
    with running() as runner:
        return runtime.batches.sign_next_chunk(batch.id, runner)


def test_a_batch_of_a_revoked_ca_waits_and_is_signed_by_the_ca_that_follows(runtime):
    batch = uploaded(runtime)
    revoke(runtime, "mo-sub2")
    for _ in range(2):
        with pytest.raises(IssuerRevokedError, match=f"batch {batch.id} waits for another one"):
            signed(runtime, batch)
    assert runtime.batches.status(batch.id)[1].pending == 2
    hold(runtime, sub2())
    assert signed(runtime, batch).issued == 2
    assert runtime.batches.get(batch.id).issuer_label == "mo-sub2-b"
    assert rows(runtime, "SELECT detail FROM audit WHERE action = 'batch.issuer_changed'") == [
        (f"{batch.id}: mo-sub2-b in the place of mo-sub2",)
    ]


def test_a_batch_that_a_revoked_ca_has_begun_is_not_gone_on_with_by_another(light):
    batch = uploaded(light)
    with light.store.transaction() as work:
        work._connection.exec_driver_sql("UPDATE batch_chunk SET issued = 1")
    revoke(light, "mo-sub2")
    hold(light, sub2())
    with pytest.raises(IssuerRevokedError, match="cancel the batch"):
        signed(light, batch)


def test_a_new_ca_takes_over_and_an_older_one_that_stands_goes_on(light):
    hold(light, sub2())
    revoke(light, "mo-sub2-b")
    Garage(light).build()
    now = light.clock.now()
    order = ContractOrder(EMAID, EMAID, PCID, now, now + timedelta(days=9))
    light.contracts.generation.generate_one(MO, order, ISO_2)
    with light.store.reading() as work:
        assert work.contract_pool.get(EMAID).certificate_id is not None


def test_over_http_a_revoked_ca_is_a_service_that_is_away_and_what_is_below_it_is_not_there(api):
    body = base64.encodebytes(make_csr(key=new_key(), subject=name(("O", "Any Ltd"), ("CN", PCID))))
    path = "/.well-known/est/oem/simpleenroll"
    assert api.call("oem", "POST", path, data=body, content_type="application/pkcs10").status_code == 200
    assert api.call("mo", "GET", f"{PCP}/{PCID}").status_code == 200
    revoke(api.runtime, "oem-sub2")
    answer = api.call("oem", "POST", path, data=body, content_type="application/pkcs10")
    assert (answer.status_code, answer.headers["Retry-After"], b"issuer.revoked" in answer.data) == (503, "10", True)
    assert api.call("mo", "GET", f"{PCP}/{PCID}").status_code == 404
    order = order_body(api.runtime, EMAID, PCID)
    assert api.refused("mo", "PUT", "/v1/cps/generate/signedContractData", json=order) == (
        400,
        PROVISIONING_NOT_AVAILABLE,
    )
