"""Provisioning service and CCP over HTTP: generate, sign, install; in both dialects, in the words clients compare."""

import base64
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from cryptography import x509

from pki_core.model.contracts import CertificateChain
from pki_core.model.pools import Namespace, RootKind
from pki_core.model.profiles import Edition
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.pool_contracts import ContractPool
from pki_core.wire.contract_data import NO_CERTIFICATE_2, answer_2, decode_message, encode_message, sign_message
from pki_core.wire.contract_envelope import wrap_2
from pki_core.wire.contract_xml import decode_xml, encode_xml
from tests.builders import MemorySigner, new_key
from tests.contract_chains import Entity, issue
from tests.journeys.contract_acts import ED448, EMAID, LABEL, OTHER_EMAID, OTHER_PCID, P256, P521, PCID, Garage
from tests.journeys.pool_acts import audited, emaids, foreign_ca
from tests.journeys.pool_acts import der as der_of
from tests.journeys.rest_acts import CCP, CCP_OPNC, PCP, b64
from tests.vehicle import SESSION, Vehicle

pytest_plugins = ["tests.journeys.rest_environments"]
GENERATE, GENERATE_OPNC = "/v1/cps/generate/signedContractData", "/opnc/v1/cps/contractData/generateandsign"
SIGN, SIGN_OPNC = "/v1/cps/contractData/signed", "/opnc/v1/cps/contractData/sign"
MSG_2, MSG_20, MSG_20_2020 = Namespace.ISO_2_2013.urn, Namespace.ISO_20_2022.urn, Namespace.ISO_20_2020.urn


@pytest.fixture
def garage(api):
    return Garage(api.runtime)


def order(api, emaid=EMAID, pcid=PCID, namespace=MSG_2, **changes):
    now = api.runtime.clock.now()
    fields = {
        "emaid": emaid,
        "pcid": pcid,
        "contractBegins": now.isoformat(),
        "contractEnds": (now + timedelta(days=300)).isoformat(),
        "xsdMsgDefNamespace": namespace,
    }
    return {**fields, **changes}


def generate(api, who="mo", path=GENERATE, **changes):
    answer = api.call(who, "PUT", path, json=order(api, **changes))
    assert (answer.status_code, answer.data) == (201, b"")


def request_of(vehicle, namespace=MSG_2):
    exi = vehicle.request_2() if namespace == MSG_2 else vehicle.request_20()
    return {"certificateInstallationReq": b64(exi), "xsdMsgDefNamespace": namespace}


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


# --- operators with a PKI of their own


def own_data(api, vehicle, emaid=EMAID):
    """Contract data that an operator made himself; returns its parts and the contract's key."""
    ca, key = foreign_ca(api.runtime), new_key()
    envelope = wrap_2(key, x509.load_der_x509_certificate(vehicle.chain.certificate_der).public_key())
    return ca, ca.leaf(emaid, key), envelope


def body_of(ca, leaf_der, envelope, **changes):
    data = {
        "contractCertificate": b64(leaf_der),
        "contractSubCa1Certificate": b64(der_of(ca.sub1)),
        "contractSubCa2Certificate": b64(der_of(ca.sub2)),
        "contractSignatureEncryptedPrivateKey": b64(envelope.encrypted_private_key),
        "dHpublickey": b64(envelope.dh_public_key),
    }
    return {"contractData": data, "xsdMsgDefNamespace": MSG_2, **changes}


def root_of(ca):
    return Entity(certificate=ca.root.certificate, key=None, above=None)


def test_an_operators_own_contract_is_signed_stored_and_installed(api, garage):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    vehicle.roots.append(root_of(ca))
    answer = api.good("mo", "PUT", SIGN, 201, json=body_of(ca, leaf_der, envelope, pcid=PCID))
    assert (answer["pcid"], answer["emaid"]) == (PCID, EMAID)
    message = decode_xml(base64.b64decode(answer["signedData"]))
    assert vehicle.install_2(encode_message(message), api.runtime.clock.now(), b"\0") == EMAID
    content = api.good("cpo", "POST", CCP, json=request_of(vehicle))["CCPResponse"]["emaidContent"]
    exi = base64.b64decode(content[0]["messageDef"]["certificateInstallationRes"])
    assert vehicle.install_2(exi, api.runtime.clock.now()) == EMAID


def test_nothing_is_signed_for_a_vehicle_that_is_not_there_or_an_emaid_that_is_taken(api, garage, monkeypatch):
    vehicle, _ = garage.build_many([PCID, OTHER_PCID])
    ca, leaf_der, envelope = own_data(api, vehicle)
    good = body_of(ca, leaf_der, envelope, pcid=PCID)
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
    body = body_of(ca, leaf_der, envelope, pcid="WPNNOBODY00000001")
    assert api.refused("mo", "PUT", SIGN, json=body)[0] == 400
    assert audited(api.runtime)[-1] == ("contract.signed", f"{EMAID} not stored")
    assert emaids(api.runtime) == []


def test_without_a_pcid_data_is_signed_and_not_stored(api, garage):
    vehicle = garage.build()
    ca, leaf_der, envelope = own_data(api, vehicle)
    answer = api.good("mo", "PUT", SIGN, 201, json=body_of(ca, leaf_der, envelope))
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
    assert "revoked" in api.refused("mo", "PUT", SIGN, json=body_of(ca, leaf_der, envelope))[1]
    assert api.refused("other-mo", "PUT", SIGN, json=body_of(ca, leaf_der, envelope))[0] == 403
    wrong = body_of(ca, leaf_der, envelope)
    wrong["contractData"]["contractSubCa1Certificate"] = b64(b"nonsense")
    words = "Invalid certificate format on contractSubCa1Certificate"
    assert api.refused("mo", "PUT", SIGN, json=wrong) == (400, words)
    long = body_of(ca, leaf_der, envelope)
    long["contractData"]["dHpublickey"] = b64(bytes(64))
    assert "lengths" in api.refused("mo", "PUT", SIGN, json=long)[1]


# --- other provisioning services


def signed_elsewhere(api, vehicle, branch="CPS", emaid=EMAID):
    """Contract data that another provisioning service signed, below a V2G root of the RCP."""
    ca, leaf_der, envelope = own_data(api, vehicle)
    root = issue("Other V2G Root", new_key(), lifetime=timedelta(days=365 * 40))
    api.runtime.pools.roots.add(root.der, RootKind.V2G, by="alice", evidence="read over the telephone")
    sub = issue("Other Prov Sub", new_key(), root)
    cps = issue("Other CPS", new_key(), sub, branch, is_ca=False)
    chain = CertificateChain(certificate_der=leaf_der, sub_certificates_der=(der_of(ca.sub2), der_of(ca.sub1)))
    signer = MemorySigner(P256)
    signer.key = cps.key
    message = sign_message(answer_2(cps.chain(), chain, envelope, emaid), signer)
    return message, (root, root_of(ca))


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
