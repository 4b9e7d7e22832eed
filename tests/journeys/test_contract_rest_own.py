"""Contract data that operators and other provisioning services made, over HTTP: signed, stored, installed, refused."""

import base64
from dataclasses import replace

import pytest

from pki_core.model.profiles import Edition
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.pool_contracts import ContractPool
from pki_core.wire.contract_data import decode_message, encode_message
from pki_core.wire.contract_xml import decode_xml, encode_xml
from tests.journeys.contract_acts import EMAID, OTHER_EMAID, OTHER_PCID, PCID
from tests.journeys.contract_rest_acts import (
    MSG_2,
    SIGN,
    SIGN_OPNC,
    own_body,
    own_data,
    request_of,
    root_of,
    signed_elsewhere,
)
from tests.journeys.pool_acts import audited, emaids
from tests.journeys.pool_acts import der as der_of
from tests.journeys.rest_acts import CCP, CCP_OPNC, b64

pytest_plugins = ["tests.journeys.rest_environments"]


# --- operators with a PKI of their own


def test_an_operators_own_contract_is_signed_stored_and_installed(api, garage):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    vehicle.roots.append(root_of(ca))
    answer = api.good("mo", "PUT", SIGN, 201, json=own_body(ca, leaf_der, envelope, pcid=PCID))
    assert (answer["pcid"], answer["emaid"]) == (PCID, EMAID)
    message = decode_xml(base64.b64decode(answer["signedData"]))
    assert vehicle.install_2(encode_message(message), api.runtime.clock.now(), b"\0") == EMAID
    content = api.good("cpo", "POST", CCP, json=request_of(vehicle))["CCPResponse"]["emaidContent"]
    exi = base64.b64decode(content[0]["messageDef"]["certificateInstallationRes"])
    assert vehicle.install_2(exi, api.runtime.clock.now()) == EMAID


def test_nothing_is_signed_for_a_vehicle_that_is_not_there_or_an_emaid_that_is_taken(api, garage, monkeypatch):
    vehicle, _ = garage.build_many([PCID, OTHER_PCID])
    ca, leaf_der, envelope = own_data(api, vehicle)
    good = own_body(ca, leaf_der, envelope, pcid=PCID)
    api.good("mo", "PUT", SIGN, 201, json=good)
    last = [("pool.ccp_published", f"{EMAID} {PCID} added"), ("contract.signed", EMAID)]
    assert audited(api.runtime)[-2:] == last
    monkeypatch.setattr(ContractSigning, "signed", None)  # whoever signs now falls
    for pcid in ("WPNNOBODY00000001", OTHER_PCID):
        assert api.refused("mo", "PUT", SIGN, json={**good, "pcid": pcid})[0] == 400
    assert audited(api.runtime)[-2:] == last


def test_what_was_signed_and_could_not_be_stored_is_in_the_audit_log(api, garage, monkeypatch):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    monkeypatch.setattr(ContractPool, "refuse", lambda *_: None)  # the vehicle leaves between the look and the record
    body = own_body(ca, leaf_der, envelope, pcid="WPNNOBODY00000001")
    assert api.refused("mo", "PUT", SIGN, json=body)[0] == 400
    assert audited(api.runtime)[-1] == ("contract.signed", f"{EMAID} not stored")
    assert emaids(api.runtime) == []


def test_without_a_pcid_data_is_signed_and_not_stored(api, garage):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    answer = api.good("mo", "PUT", SIGN, 201, json=own_body(ca, leaf_der, envelope))
    assert answer["pcid"] == ""
    assert emaids(api.runtime) == []
    chain = {
        "certificate": b64(leaf_der),
        "subCa2Certificate": b64(der_of(ca.sub2)),
        "subCa1Certificate": b64(der_of(ca.sub1)),
    }
    bundle = {
        "contractCertificateChain": chain,
        "contractSignatureEncryptedPrivateKey": b64(envelope.encrypted_private_key),
        "dHpublickey": b64(envelope.dh_public_key),
    }
    body = {"contractCertificateBundle": bundle, "xsdMsgDefNamespace": MSG_2}
    opnc = api.good("mo", "PUT", SIGN_OPNC, 201, json=body)["signedContractData"]
    assert decode_message(Edition.ISO_2, base64.b64decode(opnc["certificateInstallationRes"])).body.emaid.value == EMAID


def test_the_deprecated_pair_signs_as_well(api, garage):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    chain = {
        "contractSignatureCertChainCertificate": b64(leaf_der),
        "contractSignatureCertChainSubCertificates": [b64(der_of(ca.sub2)), b64(der_of(ca.sub1))],
    }
    body = {
        "contractSignatureCertChain": chain,
        "contractSignatureEncryptedPrivateKey": b64(envelope.encrypted_private_key),
        "dHpublickey": b64(envelope.dh_public_key),
        "pcid": PCID,
    }
    assert api.good("mo", "PUT", "/v1/cps/signedContractData", json=body)["emaid"] == EMAID
    assert emaids(api.runtime) == []
    assert api.good("mo", "PUT", "/v1/cps/forward/signedContractData", 201, json=body)["pcid"] == PCID
    assert emaids(api.runtime) == [EMAID]
    chain["contractSignatureCertChainSubCertificates"] = ["nonsense"]
    words = "Invalid certificate format on contractSignatureCertChainSubCertificates list"
    assert api.refused("mo", "PUT", "/v1/cps/signedContractData", json=body) == (400, words)


def test_a_revoked_or_strange_contract_certificate_is_not_signed(api, garage):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    api.runtime.pools.status_source.revoked.add(leaf_der)
    assert "revoked" in api.refused("mo", "PUT", SIGN, json=own_body(ca, leaf_der, envelope))[1]
    assert api.refused("other-mo", "PUT", SIGN, json=own_body(ca, leaf_der, envelope))[0] == 403
    wrong = own_body(ca, leaf_der, envelope)
    wrong["contractData"]["contractSubCa1Certificate"] = b64(b"nonsense")
    words = "Invalid certificate format on contractSubCa1Certificate"
    assert api.refused("mo", "PUT", SIGN, json=wrong) == (400, words)
    long = own_body(ca, leaf_der, envelope)
    long["contractData"]["dHpublickey"] = b64(bytes(64))
    assert "lengths" in api.refused("mo", "PUT", SIGN, json=long)[1]


# --- other provisioning services


@pytest.mark.parametrize("as_xml", [True, False])
def test_data_of_another_provisioning_service_is_stored_and_installed(api, garage, as_xml):
    vehicle = garage.build()
    message, roots = signed_elsewhere(api, vehicle)
    if as_xml:
        body = {"emaid": EMAID, "pcid": PCID, "signedContractDataXML": b64(encode_xml(message))}
        api.good("cps", "PUT", CCP, 201, json=body)
    else:
        body = {"emaid": EMAID, "pcid": PCID, "certificateInstallationRes": b64(encode_message(message))}
        api.good("cps", "PUT", CCP_OPNC, 201, json=body)
    vehicle.roots += roots
    content = api.good("cpo", "POST", CCP, json=request_of(vehicle))["CCPResponse"]["emaidContent"]
    exi = base64.b64decode(content[0]["messageDef"]["certificateInstallationRes"])
    assert vehicle.install_2(exi, api.runtime.clock.now()) == EMAID


def test_xml_of_java_with_its_line_ends_and_ids_is_taken_in_and_still_verifies(api, garage):
    message, _ = signed_elsewhere(api, garage.build())
    text = encode_xml(message).replace(b"</ds:SignatureValue>", b"&#13;\n</ds:SignatureValue>")
    text = text.replace(b"</ds:DigestValue>", b"&#xD;\n</ds:DigestValue>")
    body = {"emaid": EMAID, "pcid": PCID, "signedContractDataXML": b64(text)}
    api.good("cps", "PUT", CCP, 201, json=body)
    signature = message.header.signature
    references = tuple(
        replace(one, id=f"R{number}", type="http://www.w3.org/2000/09/xmldsig#Object")
        for number, one in enumerate(signature.signed_info.references)
    )
    info = replace(signature.signed_info, id="SI", references=references)
    named = replace(signature, id="S", signed_info=info, value=replace(signature.value, id="SV"))
    said = replace(message, header=replace(message.header, signature=named))
    assert decode_xml(encode_xml(said)) == said
    body["signedContractDataXML"] = b64(text.replace(b"&#13;", b"&#38;"))
    assert "more than elements" in api.refused("cps", "PUT", CCP, json=body)[1]


def test_data_that_no_provisioning_service_signed_is_refused(api, garage):
    vehicle = garage.build()
    message, _ = signed_elsewhere(api, vehicle, branch="MO")
    body = {"emaid": EMAID, "pcid": PCID, "signedContractDataXML": b64(encode_xml(message))}
    assert "signed by the leaf of a provisioning service" in api.refused("cps", "PUT", CCP, json=body)[1]


@pytest.mark.parametrize("emaid", ["FRXYZ000000009", OTHER_EMAID, "", "DEPNC"])
def test_data_whose_signed_emaid_is_another_one_is_refused(api, garage, emaid):
    message, _ = signed_elsewhere(api, garage.build(), emaid=emaid)
    body = {"emaid": EMAID, "pcid": PCID, "certificateInstallationRes": b64(encode_message(message))}
    status, words = api.refused("cps", "PUT", CCP, json=body)
    assert status == 400
    assert "EMAID" in words or "eMAID" in words
    assert emaids(api.runtime) == []


def test_the_signed_emaid_may_have_its_check_digit_where_the_call_has_none(api, garage):
    message, _ = signed_elsewhere(api, garage.build(), emaid=EMAID + "X")
    body = {"emaid": EMAID, "pcid": PCID, "certificateInstallationRes": b64(encode_message(message))}
    api.good("cps", "PUT", CCP, 201, json=body)


@pytest.mark.parametrize(
    ("code", "status"),
    [("FAILED", 400), ("FAILED_NoCertificateAvailable", 400), ("OK_CertificateExpiresSoon", 201)],
)
def test_a_negative_answer_is_no_contract_data(api, garage, code, status):
    message, _ = signed_elsewhere(api, garage.build())
    told = encode_message(replace(message, body=replace(message.body, response_code=code)))
    body = {"emaid": EMAID, "pcid": PCID, "certificateInstallationRes": b64(told)}
    assert api.call("cps", "PUT", CCP, json=body).status_code == status
    assert emaids(api.runtime) == ([EMAID] if status == 201 else [])


def test_data_that_was_changed_after_it_was_signed_is_refused(api, garage):
    vehicle = garage.build()
    message, _ = signed_elsewhere(api, vehicle)
    changed = encode_xml(message).replace(EMAID.encode(), OTHER_EMAID.encode())
    body = {"emaid": OTHER_EMAID, "pcid": PCID, "signedContractDataXML": b64(changed)}
    assert "was changed" in api.refused("cps", "PUT", CCP, json=body)[1]
    body = {"emaid": EMAID, "pcid": PCID, "signedContractDataXML": b64(b"<!DOCTYPE a []><a/>")}
    assert api.refused("cps", "PUT", CCP, json=body)[0] == 400
