"""The PCP over HTTP: both dialects, the words and statuses clients know, and nothing about other people's vehicles."""

import base64
import hashlib
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448

from pki_core.model.pools import Namespace, RootKind
from tests.builders import new_key
from tests.journeys.contract_acts import P256, P521
from tests.journeys.crl_acts import revoke
from tests.journeys.pool_acts import (
    OTHER_PCID,
    PCID,
    contract_of,
    emaids,
    events,
    foreign_ca,
    forget_events,
    issue,
    kept_ca,
    partner,
    pcids,
)
from tests.journeys.rest_acts import PCP, PCP_OPNC, b64, pem, vehicle_body

pytest_plugins = ["tests.journeys.rest_environments"]
NOT_FOUND = "The OEM provisioning certificate with given PCID is not found."
MSG_2, MSG_20, MSG_20_2020 = Namespace.ISO_2_2013.urn, Namespace.ISO_20_2022.urn, Namespace.ISO_20_2020.urn
BAD_PCID = 'pcid : must match "^[a-zA-Z0-9]{17,18}$"'


def der_of(text):
    return base64.b64decode(text)


def the_ca(steady):
    return kept_ca("foreign", steady.runtime.clock.now())


def serial_of(certificate_der):
    return x509.load_der_x509_certificate(certificate_der).serial_number


def test_a_vehicle_is_published_found_and_removed_in_the_words_of_opcp(api, ca):
    body = vehicle_body(ca)
    sent = {**body, "v2gRootAuthorityKeyIdentifiers": ["45:b8:40:9e:e1:38:f8:bf"], "previousPcid": OTHER_PCID}
    made = api.good("oem", "PUT", PCP, json=sent)
    assert made == {**sent, "xsdMsgDefNamespace": "urn:iso:15118:2:2013:MsgDef"}
    shown = api.good("mo", "GET", f"{PCP}/{PCID.lower()}", headers={"broadcast": "true"})["OEMMessage"]
    assert {name: shown[name] for name in made} == made
    assert shown["rootIssuerDistinguishedName"] == "CN=foreign root, O=Foreign Ltd"
    assert shown["rootIssuerSerialNumber"] == f"{ca.root.certificate.serial_number:x}"
    assert len(shown["rootAuthorityKeyIdentifier"].split(":")) == 20
    assert shown["signatureAlgorithm"] == "secp256r1"
    leaf = der_of(body["vehicleCertificate"])
    assert shown["fingerprint"] == hashlib.sha256(leaf).hexdigest()
    assert api.good("cps", "GET", f"{PCP}/lookupVehicle/{PCID}") == {}
    assert api.call("mo", "HEAD", f"{PCP}/lookupVehicle/{PCID}").status_code == 200
    assert api.good("oem", "DELETE", f"{PCP}/{PCID}") == {}
    for path in (f"{PCP}/{PCID}", f"{PCP}/lookupVehicle/{PCID}"):
        assert api.refused("mo", "GET", path) == (404, NOT_FOUND)
    assert api.refused("oem", "DELETE", f"{PCP}/{PCID}") == (404, NOT_FOUND)


@pytest.mark.parametrize("spelling", ["subCa", "subCA"])
def test_a_vehicle_is_published_found_and_removed_in_the_words_of_opnc(api, ca, spelling):
    body = vehicle_body(ca)
    chain = {
        "certificate": body["vehicleCertificate"],
        f"{spelling}1Certificate": body["subCA1Certificate"],
        f"{spelling}2Certificate": body["subCA2Certificate"],
    }
    assert api.good("oem", "PUT", PCP_OPNC, json={"provisioningCertificateChain": chain}) == {}
    shown = api.good("mo", "GET", f"{PCP_OPNC}/{PCID}")["provisioningCertificate"]
    assert shown["provisioningCertificateChain"] == {
        "certificate": body["vehicleCertificate"],
        "subCa1Certificate": body["subCA1Certificate"],
        "subCa2Certificate": body["subCA2Certificate"],
    }
    assert "vehicleCertificate" not in shown
    assert api.good("mo", "GET", f"/opnc/v1/pcp/lookupvehicle/{PCID}") == {}
    assert api.good("oem", "DELETE", f"{PCP_OPNC}/{PCID}") == {}
    assert api.refused("mo", "GET", f"{PCP_OPNC}/{PCID}") == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("algorithm", "said", "told"),
    [
        (P521, {}, MSG_20),
        (P521, {"xsdMsgDefNamespace": MSG_20_2020}, MSG_20_2020),
        (P256, {}, MSG_2),
        (P521, {"xsdMsgDefNamespace": MSG_2}, None),
        (P256, {"xsdMsgDefNamespace": MSG_20}, None),
    ],
)
def test_the_message_definition_of_a_vehicle_is_that_of_its_key(api, ca, algorithm, said, told):
    body = {**vehicle_body(ca, key=new_key(algorithm)), **said}
    if told is None:
        status, message = api.refused("oem", "PUT", PCP, json=body)
        assert status == 400
        assert message.startswith(f"xsdMsgDefNamespace contradicts the {algorithm} key")
        assert pcids(api.runtime) == []
        return
    assert api.good("oem", "PUT", PCP, json=body)["xsdMsgDefNamespace"] == told
    assert api.good("mo", "GET", f"{PCP}/{PCID}")["OEMMessage"]["xsdMsgDefNamespace"] == told


def test_a_vehicle_whose_key_keeps_no_secret_is_refused(api, ca):
    small = ed448.Ed448PublicKey.from_public_bytes((1).to_bytes(57, "little"))
    body = vehicle_body(ca, key=SimpleNamespace(public_key=lambda: small))
    status, message = api.refused("oem", "PUT", PCP, json=body)
    assert status == 400
    assert message.startswith("The key of vehicleCertificate cannot be used for encryption")
    assert pcids(api.runtime) == []


def test_certificates_may_be_sent_as_pem(api, ca):
    api.good("oem", "PUT", PCP, json=vehicle_body(ca, encode=pem))
    assert pcids(api.runtime) == [PCID]


def test_a_vehicle_of_another_oem_does_not_exist_for_an_oem(api, ca):
    api.good("oem", "PUT", PCP, json=vehicle_body(ca))
    for method, path in (
        ("GET", f"{PCP}/{PCID}"),
        ("GET", f"{PCP}/lookupVehicle/{PCID}"),
        ("GET", f"/v1/oem/provCertSigntureAlgorithms/{PCID}"),
        ("DELETE", f"{PCP}/{PCID}"),
    ):
        unknown = api.refused("other-oem", method, path.replace(PCID, OTHER_PCID))
        assert api.refused("other-oem", method, path) == unknown == (404, NOT_FOUND)
    status, message = api.refused("other-oem", "PUT", PCP, json=vehicle_body(ca))
    assert (status, message) == (403, "vehicles of WPN are not this partner's")
    assert pcids(api.runtime) == [PCID]


def test_there_is_no_way_to_list_vehicles(api, ca):
    api.good("oem", "PUT", PCP, json=vehicle_body(ca))
    for who in ("oem", "mo", "cps", "alice"):
        for path in (PCP, f"{PCP}/", f"{PCP}?pcid=WPN", PCP_OPNC, "/v1/oem", "/opnc/v1/pcp"):
            assert api.refused(who, "GET", path)[0] in {404, 405}
        for part in (PCID[:16], "WPN", PCID[:-1] + "%25", PCID[:-1] + "*", PCID + "0"):
            assert api.call(who, "GET", f"{PCP}/{part}").status_code in {400, 403, 404}


def test_the_four_checks_fail_in_their_order_and_in_clients_words(api, ca):
    stranger = {**vehicle_body(ca, "VWX0REIGN00000001", end=ca.moment, start=ca.moment - ca.moment.resolution * 10**9)}
    assert api.refused("oem", "PUT", PCP, json=stranger) == (403, "vehicles of VWX are not this partner's")
    ended = vehicle_body(ca, end=ca.moment, start=ca.moment - ca.moment.resolution * 10**9)
    assert api.refused("oem", "PUT", PCP, json=ended)[0] == 400
    revoked = vehicle_body(ca)
    api.runtime.pools.status_source.revoked.add(der_of(revoked["vehicleCertificate"]))
    status, message = api.refused("oem", "PUT", PCP, json=revoked)
    assert status == 400
    assert "is revoked" in message
    (root,) = api.runtime.pools.roots.all(RootKind.OEM)
    api.runtime.pools.roots.remove(root.id, by=["alice"])
    status, message = api.refused("oem", "PUT", PCP, json=vehicle_body(ca))
    assert status == 400
    assert "Root Certificate Pool" in message
    assert pcids(api.runtime) == []


def test_a_ca_that_does_not_answer_is_told_as_try_again(api, ca):
    body = vehicle_body(ca)
    api.runtime.pools.status_source.silent.add(der_of(body["vehicleCertificate"]))
    answer = api.call("oem", "PUT", PCP, json=body)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert pcids(api.runtime) == []


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("vehicleCertificate", "vehicleCertificate"),
        ("subCA1Certificate", "subCa1Certificate"),
        ("subCA2Certificate", "subCa2Certificate"),
    ],
)
@pytest.mark.parametrize("broken", ["AAAA", "no base64!", b64(b"x" * 5000), 7, ["AAAA"], "-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_is_named_in_clients_words(steady, field, shown, broken):
    body = {**vehicle_body(the_ca(steady)), field: broken}
    assert steady.refused("oem", "PUT", PCP, json=body) == (400, f"Invalid certificate format on {shown}")


@pytest.mark.parametrize("pcid", ["WPN", "WPN-FOREIGN-000001", "W" * 65, "WPNFOREGN0000000%01", "WPNFOREGNÄ0000001"])
def test_what_is_no_pcid_is_refused_in_clients_words(steady, pcid):
    for who, method, path in (
        ("mo", "GET", PCP),
        ("mo", "GET", PCP_OPNC),
        ("mo", "GET", f"{PCP}/lookupVehicle"),
        ("oem", "DELETE", PCP),
    ):
        assert steady.refused(who, method, f"{path}/{pcid}") == (400, BAD_PCID)


def test_a_certificate_without_a_pcid_is_refused_in_clients_words(steady):
    body = vehicle_body(the_ca(steady), "WPN no PCID")
    assert steady.refused("oem", "PUT", PCP, json=body) == (400, BAD_PCID)


@pytest.mark.parametrize(
    "changes",
    [
        {"xsdMsgDefNamespace": "urn:nobody"},
        {"xsdMsgDefNamespace": 2},
        {"previousPcid": "WPN"},
        {"v2gRootAuthorityKeyIdentifiers": "x" * 300},
        {"v2gRootAuthorityKeyIdentifiers": ["00"] * 33},
        {"v2gRootAuthorityKeyIdentifiers": {}},
        {"v2gRootAuthorityKeyIdentifiers": [{}]},
        {"v2gRootAuthorityKeyIdentifiers": {"a": "b"}},
    ],
)
def test_extras_that_are_wrong_are_refused(steady, changes):
    body = {**vehicle_body(the_ca(steady)), **changes}
    assert steady.refused("oem", "PUT", PCP, json=body)[0] == 400
    assert pcids(steady.runtime) == []


def test_another_key_takes_the_contracts_and_the_same_key_keeps_them(api, ca):
    api.good("oem", "PUT", PCP, json=vehicle_body(ca))
    api.runtime.pools.contracts.publish(partner("mo", id="mo"), contract_of(ca))
    api.good("oem", "PUT", PCP, json=vehicle_body(ca))
    assert len(emaids(api.runtime)) == 1
    api.good("oem", "PUT", PCP, json=vehicle_body(ca, key=new_key()))
    assert emaids(api.runtime) == []


def test_a_vehicle_with_keys_of_both_editions_is_asked_for_by_either(api, ca):
    api.good("oem", "PUT", PCP, json=vehicle_body(ca))
    newer = {**vehicle_body(ca, key=new_key("secp521r1")), "xsdMsgDefNamespace": "urn:iso:15118:20:2022:MsgDef"}
    api.good("oem", "PUT", PCP, json=newer)
    for place in ("provCertSigntureAlgorithms", "provCertSignatureAlgorithms"):
        found = api.good("mo", "GET", f"/v1/oem/{place}/{PCID}")
        assert found == {"pcid": PCID, "signatureAlgorithms": ["secp256r1", "secp521r1"]}
    for query in ("signatureAlgorithm=secp521r1", "xsdMsgDefNamespace=urn:iso:15118:20:2020:MsgDef"):
        shown = api.good("mo", "GET", f"{PCP}/{PCID}?{query}")["OEMMessage"]
        assert shown["vehicleCertificate"] == newer["vehicleCertificate"]
    both = "signatureAlgorithm=secp521r1&xsdMsgDefNamespace=urn:iso:15118:20:2020:MsgDef"
    for query in (both, "signatureAlgorithm=rsa", "xsdMsgDefNamespace=x", "signatureAlgorithm=a&signatureAlgorithm=b"):
        assert api.refused("mo", "GET", f"{PCP}/{PCID}?{query}")[0] == 400
    api.good("oem", "DELETE", f"{PCP}/{PCID}?signatureAlgorithm=secp521r1")
    assert api.good("mo", "GET", f"/v1/oem/provCertSignatureAlgorithms/{PCID}")["signatureAlgorithms"] == ["secp256r1"]


def test_a_vehicle_that_is_reset_tells_its_operators(api, ca):
    api.good("oem", "PUT", PCP, json=vehicle_body(ca))
    api.runtime.pools.contracts.publish(partner("mo", id="mo"), contract_of(ca))
    forget_events(api.runtime)
    assert api.refused("oem", "DELETE", f"{PCP}/{PCID}?factoryReset=maybe")[0] == 400
    api.good("oem", "DELETE", f"{PCP}/{PCID}?factoryReset=true")
    assert ("mo.prov.cert.factory.reset", "DEPNC", PCID, "") in events(api.runtime)


def test_what_the_pool_shows_of_a_vehicle_of_our_own_leads_to_our_root(api):
    (issued,) = issue(api.runtime, "oem_provisioning_leaf", PCID)
    shown = api.good("mo", "GET", f"{PCP}/{PCID}")["OEMMessage"]
    assert shown["vehicleCertificate"] == b64(issued.certificate_der)
    (root,) = [one for one in api.runtime.certificates.issuers() if one.label == "v2g-root"]
    assert shown["rootIssuerSerialNumber"] == f"{serial_of(root.certificate_der):x}"
    assert set(shown) >= {"subCA1Certificate", "subCA2Certificate"}


def not_good_any_more(api, how):
    """Make a vehicle that was good one that GET does not show."""
    if how == "ours is revoked":
        (ours,) = issue(api.runtime, "oem_provisioning_leaf", PCID)
        revoke(api.runtime, f"{ours.serial:x}")
        return
    body = vehicle_body(foreign_ca(api.runtime))
    api.good("oem", "PUT", PCP, json=body)
    if how == "its root left":
        for root in api.runtime.pools.roots.all():
            api.runtime.pools.roots.remove(root.id, by="alice")
        return
    source = api.runtime.pools.status_source
    getattr(source, how).add(der_of(body["vehicleCertificate"]))
    api.runtime.clock.advance(hours=25)


@pytest.mark.parametrize(
    ("how", "status"), [("ours is revoked", 404), ("its root left", 404), ("revoked", 404), ("silent", 503)]
)
def test_every_look_up_of_a_vehicle_follows_one_rule(api, how, status):
    not_good_any_more(api, how)
    paths = (
        f"{PCP}/{PCID}",
        f"{PCP}/lookupVehicle/{PCID}",
        f"/v1/oem/provCertSignatureAlgorithms/{PCID}",
        f"{PCP_OPNC}/{PCID}",
        f"/opnc/v1/pcp/lookupvehicle/{PCID}",
    )
    assert {path: api.call("mo", "GET", path).status_code for path in paths} == dict.fromkeys(paths, status)
    assert pcids(api.runtime) == [PCID]
