"""The CCP's rows over HTTP: operators and OEMs see and change their own, in clients' words; nobody sees another's."""

import pytest

from pki_core.model.pools import Namespace
from pki_core.model.states import CertificateState
from tests.journeys.pool_acts import (
    EMAID,
    OTHER_EMAID,
    PCID,
    contract_of,
    emaids,
    events,
    foreign_ca,
    forget_events,
    issue,
    own_contract,
    partner,
    vehicle_of,
)
from tests.journeys.rest_acts import CCP, CCP_OPNC, b64

pytest_plugins = ["tests.journeys.rest_environments"]
LOOK, LOOK_OPNC = "/v1/ccp/lookupContract", "/opnc/v1/ccp/contractData/emaid"
LIST_OPNC = "/opnc/v1/ccp/contractData/pcid"
NOT_FOUND = "The contract for the given EMAID not found."
NO_VEHICLE = "Contract or Vehicle not found."
BAD_EMAID = r'emaid : must match "^[A-Za-z]{2}[-]?\w{3}[-]?\w{9}[-]?(\w{1})?$"'
BAD_EMAID_OPNC = r'emaid : must match "^[A-Za-z]{2}[-]?\w{3}[-]?\w{9,28}[-]?(\w{1})?$"'
MO = partner("mo", id="mo")


@pytest.fixture
def pool(api):
    """A vehicle with two contracts of a foreign CA."""
    ca = foreign_ca(api.runtime)
    api.runtime.pools.provisioning.publish(partner("oem", id="oem"), vehicle_of(ca))
    api.contracts = [contract_of(ca, emaid) for emaid in (EMAID, OTHER_EMAID)]
    for one in api.contracts:
        api.runtime.pools.contracts.publish(MO, one)
    forget_events(api.runtime)
    return api


def shown(pool, at, *, is_default):
    (leaf,) = [one.leaf_der for one in pool.contracts if one.emaid == at]
    return {
        "pcid": PCID,
        "emaid": at,
        "xsdMsgDefNamespace": "urn:iso:15118:2:2013:MsgDef",
        "contractCertificate": b64(leaf),
        "defaultContract": is_default,
    }


def without_times(rows_shown):
    return [{name: value for name, value in one.items() if "Valid" not in name} for one in rows_shown]


def test_a_contract_is_shown_to_its_operator_and_to_the_oem_of_its_vehicle(pool):
    expected = [shown(pool, EMAID, is_default=True)]
    for who in ("mo", "oem"):
        for written in (EMAID, EMAID.lower(), f"{EMAID[:2]}-{EMAID[2:5]}-{EMAID[5:]}"):
            assert without_times(pool.good(who, "GET", f"{LOOK}/{written}")["XMLContracts"]) == expected
        assert without_times(pool.good(who, "GET", f"{LOOK_OPNC}/{EMAID}")["contractDataCollection"]) == expected
    (one,) = pool.good("mo", "GET", f"{LOOK}/{EMAID}")["XMLContracts"]
    assert one["certValidTo"].endswith("Z")


def test_another_operators_contract_does_not_exist(pool):
    for who in ("other-mo", "other-oem"):
        for path in (LOOK, LOOK_OPNC):
            unknown = pool.refused(who, "GET", f"{path}/DEPNCC00000009")
            assert pool.refused(who, "GET", f"{path}/{EMAID}") == unknown == (404, NOT_FOUND)
    for path in (CCP, CCP_OPNC):
        unknown = pool.refused("other-mo", "DELETE", f"{path}/DEPNCC00000009")
        assert pool.refused("other-mo", "DELETE", f"{path}/{EMAID}") == unknown == (404, NOT_FOUND)
    assert emaids(pool.runtime) == [EMAID, OTHER_EMAID]


def test_an_oem_lists_the_contracts_of_his_own_vehicles(pool):
    expected = [shown(pool, EMAID, is_default=True), shown(pool, OTHER_EMAID, is_default=False)]
    assert without_times(pool.good("oem", "GET", f"{CCP}/{PCID}")["XMLContracts"]) == expected
    assert without_times(pool.good("oem", "GET", f"{LIST_OPNC}/{PCID.lower()}")["contractDataCollection"]) == expected
    newer = f"xsdMsgDefNamespace={Namespace.ISO_20_2022.urn}"
    assert pool.good("oem", "GET", f"{CCP}/{PCID}?{newer}") == {"XMLContracts": []}
    assert pool.good("oem", "GET", f"{LOOK}/{EMAID}?{newer}") == {"XMLContracts": []}
    assert pool.refused("oem", "GET", f"{CCP}/{PCID}?xsdMsgDefNamespace=x")[0] == 400
    for path in (CCP, LIST_OPNC):
        assert pool.refused("other-oem", "GET", f"{path}/{PCID}") == (403, "vehicles of WPN are not this partner's")
        assert pool.good("oem", "GET", f"{path}/WPN0000000NOBODY1")


@pytest.mark.parametrize("path", [f"{CCP}/{PCID}/{{}}/default", f"{CCP_OPNC}/{{}}/{PCID}/setdefault"])
def test_an_oem_chooses_the_default_of_his_own_vehicle(pool, path):
    assert pool.good("oem", "POST", path.format(OTHER_EMAID)) == {}
    listed = pool.good("oem", "GET", f"{CCP}/{PCID}")["XMLContracts"]
    assert [one["emaid"] for one in listed if one["defaultContract"]] == [OTHER_EMAID]
    assert pool.refused("oem", "POST", path.format("DEPNCC00000009")) == (404, NO_VEHICLE)
    status, message = pool.refused("other-oem", "POST", path.format(EMAID))
    assert (status, message) == (403, "vehicles of WPN are not this partner's")


@pytest.mark.parametrize("path", [CCP, CCP_OPNC])
def test_an_operator_removes_his_contract(pool, path):
    assert pool.good("mo", "DELETE", f"{path}/{EMAID}") == {}
    assert emaids(pool.runtime) == [OTHER_EMAID]
    assert pool.refused("mo", "DELETE", f"{path}/{EMAID}") == (404, NOT_FOUND)
    assert {type_ for type_, *_ in events(pool.runtime)} == {
        "oem.contract.deleted",
        "mo.contract.deleted.sent.to.oem",
    }
    listed = pool.good("oem", "GET", f"{CCP}/{PCID}")["XMLContracts"]
    assert [one["defaultContract"] for one in listed] == [False]  # none is promoted by itself


@pytest.mark.parametrize(("header", "is_revoked"), [({}, True), ({"X-Skip-Revocation": "true"}, False)])
def test_a_certificate_of_ours_is_revoked_with_its_contract_unless_the_operator_skips_it(api, header, is_revoked):
    issue(api.runtime, "oem_provisioning_leaf", PCID)
    upload, serial = own_contract(api.runtime)
    api.runtime.pools.contracts.publish(MO, upload)
    assert api.refused("mo", "DELETE", f"{CCP}/{EMAID}", headers={"X-Skip-Revocation": "perhaps"})[0] == 400
    api.good("mo", "DELETE", f"{CCP}/{EMAID}", headers=header)
    assert emaids(api.runtime) == []
    state = api.runtime.certificates.show(serial).state
    assert state is (CertificateState.REVOKED if is_revoked else CertificateState.GOOD)


@pytest.mark.parametrize("emaid", ["DE", "DE-PNC-C0000000", "DEPNCC000000012345", "DEPNCC0000000%01", "D*PNCC00000001"])
def test_what_is_no_emaid_is_refused_in_clients_words(steady, emaid):
    for who, method, path, message in (
        ("mo", "GET", LOOK, BAD_EMAID),
        ("mo", "GET", LOOK_OPNC, BAD_EMAID_OPNC),
        ("mo", "DELETE", CCP, BAD_EMAID),
        ("mo", "DELETE", CCP_OPNC, BAD_EMAID_OPNC),
    ):
        assert steady.refused(who, method, f"{path}/{emaid}") == (400, message)
    assert steady.refused("oem", "POST", f"{CCP}/{PCID}/{emaid}/default") == (400, BAD_EMAID)


def test_what_is_no_pcid_is_refused_in_clients_words(steady):
    words = 'pcid : must match "^[a-zA-Z0-9]{17,18}$"'
    for method, path in (
        ("GET", f"{CCP}/WPN"),
        ("GET", f"{LIST_OPNC}/WPN"),
        ("POST", f"{CCP}/WPN/{EMAID}/default"),
        ("POST", f"{CCP_OPNC}/{EMAID}/WPN/setdefault"),
    ):
        assert steady.refused("oem", method, path) == (400, words)
