"""Provisioning service and CCP over HTTP: generate, sign, install; in both dialects, in the words clients compare."""

import base64
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest
from cryptography import x509

from pki_core.model.profiles import Edition
from pki_core.wire.certificate_text import subject_text
from pki_core.wire.contract_data import NO_CERTIFICATE_2, decode_message
from tests.builders import new_key
from tests.contract_chains import Entity
from tests.journeys.contract_acts import ED448, EMAID, LABEL, OTHER_EMAID, OTHER_PCID, P256, P521, PCID, Garage
from tests.journeys.contract_rest_acts import (
    GENERATE,
    GENERATE_OPNC,
    MSG_2,
    MSG_20,
    MSG_20_2020,
    generate,
    order,
    request_of,
)
from tests.journeys.pool_acts import der as der_of
from tests.journeys.pool_acts import emaids, foreign_ca
from tests.journeys.rest_acts import CCP, CCP_OPNC, PCP, b64
from tests.vehicle import SESSION, Vehicle

pytest_plugins = ["tests.journeys.rest_environments"]


@pytest.mark.parametrize("path", [GENERATE, GENERATE_OPNC])
def test_a_contract_that_was_generated_is_installed_through_a_station(api, garage, path):
    vehicle = garage.build()
    generate(api, path=path)
    answer = api.good("cpo", "POST", CCP, json=request_of(vehicle))
    (content,) = answer["CCPResponse"]["emaidContent"]
    assert content["messageDef"]["emaid"] == EMAID
    exi = base64.b64decode(content["messageDef"]["certificateInstallationRes"])
    assert vehicle.install_2(exi, api.runtime.clock.now()) == EMAID
    (one,) = api.good("oem", "POST", CCP_OPNC, json=request_of(vehicle))["signedContractDataCollection"]
    assert (one["emaid"], one["pcid"]) == (EMAID, PCID)


@pytest.mark.parametrize("algorithm", [P521, ED448])
def test_vehicles_of_the_twenty_edition_get_a_list(api, garage, algorithm):
    vehicle = garage.build(algorithm=algorithm)
    generate(api, namespace=MSG_20)
    generate(api, emaid=OTHER_EMAID, namespace=MSG_20)
    content = api.good("cpo", "POST", CCP, json=request_of(vehicle, MSG_20))["CCPResponse"]["emaidContent"]
    for one in content:
        exi = base64.b64decode(one["messageDef"]["certificateInstallationRes"])
        vehicle.install_20(exi, api.runtime.clock.now())
    assert set(vehicle.installed) == {EMAID, OTHER_EMAID}


def own_vehicle(api, algorithm, **said):
    """A vehicle of another maker, published with what he says of it beside its certificate."""
    ca, key = foreign_ca(api.runtime), new_key(algorithm)
    leaf_der = ca.leaf(PCID, key)
    body = {"vehicleCertificate": b64(leaf_der), "subCA1Certificate": b64(der_of(ca.sub1))}
    api.good("oem", "PUT", PCP, json={**body, "subCA2Certificate": b64(der_of(ca.sub2)), **said})
    above = None
    for held in (ca.root, ca.sub1, ca.sub2):
        above = Entity(certificate=held.certificate, key=None, above=above)
    entity = Entity(certificate=x509.load_der_x509_certificate(leaf_der), key=key, above=above)
    return Vehicle(entity, algorithm, [Garage(api.runtime)._above(f"cps-sub2{LABEL[algorithm]}").above.above])


@pytest.mark.parametrize(("said", "told"), [({}, MSG_20), ({"xsdMsgDefNamespace": MSG_20_2020}, MSG_20_2020)])
def test_a_contract_has_the_message_definition_of_its_vehicles_key(api, said, told):
    vehicle = own_vehicle(api, P521, **said)
    generate(api, namespace=MSG_20)
    assert api.good("oem", "GET", f"/v1/ccp/provideSignedContractData/{EMAID}/{PCID}")["xsdMsgDefNamespace"] == told
    (content,) = api.good("cpo", "POST", CCP, json=request_of(vehicle, MSG_20))["CCPResponse"]["emaidContent"]
    exi = base64.b64decode(content["messageDef"]["certificateInstallationRes"])
    assert vehicle.install_20(exi, api.runtime.clock.now()) == EMAID


@pytest.mark.parametrize(("algorithm", "wrong", "right"), [(P521, 2, MSG_20), (P256, 20, MSG_2)])
def test_a_vehicle_published_with_the_wrong_message_definition_gets_contracts_all_the_same(
    api, algorithm, wrong, right
):
    vehicle = own_vehicle(api, algorithm)
    with api.runtime.store.transaction() as work:  # as earlier versions took it in
        work.provisioning_pool._connection.exec_driver_sql(
            f"UPDATE provisioning_certificate SET namespace = {wrong}"  # noqa: S608  # ours
        )
    generate(api, namespace=right)
    assert api.good("oem", "GET", f"/v1/ccp/provideSignedContractData/{EMAID}/{PCID}")["xsdMsgDefNamespace"] == right
    api.good("cpo", "POST", CCP, json=request_of(vehicle, right))


def test_the_words_of_refusals_are_those_that_clients_compare(api, garage):
    garage.build_many([PCID, OTHER_PCID])
    generate(api)

    def refused(**changes):
        return api.refused("mo", "PUT", GENERATE, json=order(api, **changes))

    assert refused(pcid=OTHER_PCID) == (400, "Invalid Tupple - EMAID is already used by other PCID.")
    assert refused(contractEnds="2020-01-01T00:00:00Z") == (400, "The given contractEnds date is in the past.")
    unknown = "The OEM provisioning certificate with the given PCID is not available."
    assert refused(pcid="WPNNOBODY00000001", emaid=OTHER_EMAID) == (400, unknown)
    assert refused(emaid="DEPNC") == (400, r'emaid : must match "^[A-Za-z]{2}[-]?\w{3}[-]?\w{9}[-]?(\w{1})?$"')
    assert refused(pcid="short")[1] == 'pcid : must match "^[a-zA-Z0-9]{17,18}$"'
    assert refused(contractEnds="soon") == (400, "The contractEnds does not match the specification")
    assert refused(emaid="FRXYZ000000001")[0] == 403
    no_root = "There is no CPS signer below the given V2G root certificate."
    assert refused(emaid=OTHER_EMAID, cpsV2GRootCertificateFingerprint="00" * 32) == (400, no_root)
    assert api.refused("oem", "PUT", GENERATE, json=order(api))[0] == 403
    assert emaids(api.runtime) == [EMAID]


def test_many_contracts_are_made_at_one_call_and_each_has_a_verdict(api, garage):
    garage.build()
    orders = [order(api), order(api, emaid=OTHER_EMAID), order(api, emaid="FRXYZ000000001"), order(api)]
    verdicts = api.good("mo", "POST", "/v1/cps/generate/contracts", json={"contracts": orders})["verdicts"]
    codes = [(one["verdict"], one["code"]) for one in verdicts]
    assert codes == [
        ("issued", "issued"),
        ("issued", "issued"),
        ("refused", "identifier.outside_prefixes"),
        ("refused", "row.duplicate_identifier"),
    ]
    assert emaids(api.runtime) == [EMAID, OTHER_EMAID]


def test_a_vehicle_without_a_contract_gets_a_negative_answer_or_a_message(api, garage):
    vehicle = garage.build()
    answer = api.call("cpo", "POST", CCP, json=request_of(vehicle))
    assert answer.status_code == 404
    (content,) = answer.json["CCPResponse"]["emaidContent"]
    message = decode_message(Edition.ISO_2, base64.b64decode(content["messageDef"]["certificateInstallationRes"]))
    assert (message.header.session_id, message.body.response_code) == (SESSION, NO_CERTIFICATE_2)
    asked = {"json": request_of(vehicle), "headers": {"alwaysReturnEXI": "false"}}
    assert api.refused("cpo", "POST", CCP, **asked) == (404, "Contract or Vehicle not found.")
    assert api.refused("cpo", "POST", CCP_OPNC, json=request_of(vehicle))[0] == 404


def test_what_is_no_exi_is_refused_in_known_words(api):
    asked = {"certificateInstallationReq": b64(b"nonsense"), "xsdMsgDefNamespace": MSG_2}
    assert api.refused("cpo", "POST", CCP, json=asked) == (400, "EXI format is invalid!")
    assert api.refused("mo", "POST", CCP, json=asked)[0] == 403


def test_a_maker_pulls_a_contract_and_says_for_which_session(api, garage):
    vehicle = garage.build()
    generate(api)
    path = f"/v1/ccp/provideSignedContractData/{EMAID}/{PCID}"
    answer = api.good("oem", "GET", f"{path}?sessionID={SESSION.hex()}")
    assert answer["xsdMsgDefNamespace"] == MSG_2
    exi = base64.b64decode(answer["certificateInstallationRes"])
    assert vehicle.install_2(exi, api.runtime.clock.now()) == EMAID
    (one,) = api.good("oem", "GET", f"{CCP_OPNC}/{EMAID}/{PCID}")["signedContractDataCollection"]
    assert one["emaid"] == EMAID
    wrong = "Invalid SessionID format, make sure the length is maximum 8 characters and it is represented in HEX binary"
    assert api.refused("oem", "GET", f"{path}?sessionID=zz") == (400, wrong)
    assert api.refused("other-oem", "GET", path)[0] == 403


def test_the_signers_are_listed_with_their_chains_and_roots(api):
    listed = api.good("mo", "GET", "/v1/cps/signer")["cpsCertificates"]
    assert {one["xsdMsgDefNamespace"] for one in listed} == {MSG_2, MSG_20}
    for one in listed:
        names = ("cpsCertificate", "cpsSubCa2Certificate", "cpsSubCa1Certificate")
        path = [x509.load_der_x509_certificate(base64.b64decode(one[name])) for name in names]
        for below, above in pairwise(path):
            below.verify_directly_issued_by(above)
        assert "DC=CPS" in one["cpsDistinguishedName"]
    assert api.good("mo", "GET", "/cps/signer")["cpsCertificates"] == listed
    opnc = api.good("cpo", "GET", "/opnc/v1/cps/cpsCertificates")["cpsCertificateDataCollection"]
    assert [one["cpsDistinguishedName"] for one in opnc] == [one["cpsDistinguishedName"] for one in listed]


def test_a_vehicle_whose_certificate_nobody_can_read_gets_a_negative_answer(api, garage):
    vehicle = garage.build()
    generate(api)
    leaf = bytearray(vehicle.chain.certificate_der)
    leaf[leaf.rindex(bytes.fromhex("060355040a")) + 5] = 3  # the organization as a BIT STRING, which few names may be
    vehicle.chain = replace(vehicle.chain, certificate_der=bytes(leaf))
    answer = api.call("cpo", "POST", CCP, json=request_of(vehicle))
    assert answer.status_code == 404
    (content,) = answer.json["CCPResponse"]["emaidContent"]
    message = decode_message(Edition.ISO_2, base64.b64decode(content["messageDef"]["certificateInstallationRes"]))
    assert message.header.session_id == SESSION
    assert message.body.response_code.startswith("FAILED_")


def test_a_contract_is_shown_with_the_root_of_its_provisioning_service(api, garage):
    garage.build()
    generate(api)
    (one,) = api.good("mo", "GET", f"/v1/ccp/lookupContract/{EMAID}")["XMLContracts"]
    (root,) = [one for one in api.runtime.certificates.issuers() if one.label == "v2g-root"]
    assert one["cpsV2GRootCertificateFingerprint"] == sha256(root.certificate_der).hexdigest()
    assert one["cpsRootCertificateDN"] == subject_text(root.certificate_der)
