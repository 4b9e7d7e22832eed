"""Every operation of CharIN's OPNC v1, asked as its examples ask, is answered with a status its documents name.

What OPNC's documents leave open and ours name stands beside it: what was asked for is not there (404), it waits for a
second person (202), it is too large (413).
"""

import re
from datetime import timedelta

import pytest

from tests.journeys.est_acts import station_csr
from tests.journeys.pool_acts import ForeignCa, der, foreign_ca, kept_ca, partner, vehicle_of
from tests.journeys.rest_acts import b64, vehicle_body
from webapp.openapi import document

pytest_plugins = ["tests.journeys.rest_environments"]
BASE = "/opnc/v1"
NAMESPACE = "urn:iso:15118:2:2013:MsgDef"
PCID, EMAID = "WPNFOREGN00000001", "DEPNCC00000001"
PARTIES = {
    "OPNC-from-party-type": "emsp",
    "OPNC-from-party-id": "DEPNC",
    "OPNC-to-party-type": "oem",
    "OPNC-to-party-id": "WPN",
    "broadcast": "true",
}
_REFUSED, _SEEN = {400, 401, 403}, {200, 400, 401, 403, 404}
DOCUMENTED = {  # as OPNC's documents have it, 500 and its like apart
    "GET /rcp/rootcertificates": _SEEN,
    "PUT /rcp/rootcertificates": {200},
    "GET /rcp/rootcertificates/{id}": _SEEN,
    "DELETE /rcp/rootcertificates/{id}": _SEEN,
    "PUT /pcp/provisioningcertificates": {200} | _REFUSED,
    "GET /pcp/provisioningcertificates/{pcid}": _SEEN,
    "DELETE /pcp/provisioningcertificates/{pcid}": _SEEN,
    "GET /pcp/lookupvehicle/{pcid}": _SEEN,
    "GET /ccp/contractData/emaid/{emaid}": _SEEN,
    "GET /ccp/contractData/pcid/{pcid}": _SEEN,
    "DELETE /ccp/signedcontractdata/{emaid}": _SEEN,
    "POST /ccp/signedcontractdata/{emaid}/{pcid}/setdefault": {200} | _REFUSED,
    "PUT /ccp/signedcontractdata": {201, 404} | _REFUSED,
    "POST /ccp/signedcontractdata": _SEEN,
    "GET /ccp/signedcontractdata/{emaid}/{pcid}": _SEEN,
    "PUT /cps/contractData/generateandsign": {201} | _REFUSED,
    "PUT /cps/contractData/sign": {201, 404} | _REFUSED,
    "GET /cps/cpsCertificates": {200, 401, 403, 404},
    "POST /event/endpoints": {201, 404} | _REFUSED,
    "GET /event/endpoints": _SEEN,
    "GET /event/endpoints/{id}": _SEEN,
    "PUT /event/endpoints/{id}": _SEEN,
    "DELETE /event/endpoints/{id}": _SEEN,
    "POST /pki/pki/revokeCertificate": {200} | _REFUSED,
    "POST /pki/est/simpleenroll": {200} | _REFUSED,
    "GET /pki/est/cacerts": {200, 401, 403},
}
OURS = {  # besides: in our own document
    "PUT /rcp/rootcertificates": {202} | _REFUSED,
    "POST /ccp/signedcontractdata/{emaid}/{pcid}/setdefault": {404},
    "POST /pki/pki/revokeCertificate": {404},
}
WHO = ("alice", "oem", "other-oem", "mo", "other-mo", "cpo", "cps", "nobody")


@pytest.fixture(scope="module")
def held(steady):
    """An environment with a vehicle, its contract and an endpoint; returns it with what paths name."""
    ca = kept_ca("foreign", steady.runtime.clock.now())
    steady.runtime.pools.provisioning.publish(partner("oem", id="oem"), vehicle_of(ca))
    wanted = {"emaid": EMAID, "pcid": PCID, "xsdMsgDefNamespace": NAMESPACE, **term(steady.runtime.clock.now())}
    answer = steady.call("mo", "PUT", f"{BASE}/cps/contractData/generateandsign", json=wanted)
    assert answer.status_code == 201, answer.data
    (root, *_) = steady.good("cpo", "GET", f"{BASE}/rcp/rootcertificates")["rootCertificateCollection"]
    places = {"pcid": PCID, "emaid": EMAID, "id": root["rootCertificateId"]}
    return steady, ca, places


def term(moment):
    return {"contractBegins": f"{moment:%FT%TZ}", "contractEnds": f"{moment + timedelta(days=30):%FT%TZ}"}


def bodies(ca, moment):
    """What requests carry, in the forms of the examples: whole ones, and with the values they leave empty."""
    sent = vehicle_body(ca)
    chain = {
        "subCA1Certificate": sent["subCA1Certificate"],
        "subCA2Certificate": sent["subCA2Certificate"],
        "certificate": sent["vehicleCertificate"],
    }
    root = b64(der(ForeignCa("new", moment).root))
    hook = {"description": "Ours", "metadata": {}, "status": "enabled", "url": "https://hooks.example.com/payload"}
    wanted = {"pcid": PCID, "emaid": "DEPNCC00000002", "xsdMsgDefNamespace": NAMESPACE}
    bundle = {"contractCertificateChain": chain, "contractSignatureEncryptedPrivateKey": "AA==", "dHpublickey": "AA=="}
    revoked = {"certificate": sent["vehicleCertificate"], "revocationReason": "privilegeWithdrawn"}
    return {
        "PUT /pcp/provisioningcertificates": [
            {"provisioningCertificateChain": chain},
            {"provisioningCertificateChain": chain, "xsdMsgDefNamespace": NAMESPACE, "fingerprint": "00" * 32},
            {"provisioningCertificateChain": {**chain, "certificate": ""}},
        ],
        "PUT /rcp/rootcertificates": [
            {"caCertificate": root, "rootTypeList": ["eMSP"], "rootCtlList": ["No CTL"]},
            {"caCertificate": root, "rootType": "V2G"},
        ],
        "POST /event/endpoints": [
            {**hook, "enabledEvents": ["oem.contract.created", "oem.contract.updated"], "wmi": ["WPN", "VWX"]},
            {**hook, "enabledEvents": ["oem.contract.created", "contract.deleted"]},
        ],
        "PUT /ccp/signedcontractdata": [{**wanted, "certificateInstallationRes": ""}],
        "POST /ccp/signedcontractdata": [{"certificateInstallationReq": "", "xsdMsgDefNamespace": NAMESPACE}],
        "PUT /cps/contractData/generateandsign": [
            {**wanted, **term(moment)},
            {**wanted, "contractBegins": "2021-05-11T00:00:00Z", "contractEnds": "2022-12-10T11:42:59Z"},
            {**wanted, "contractBegins": "", "contractEnds": "", "pcid": "", "emaid": ""},
        ],
        "PUT /cps/contractData/sign": [{"contractCertificateBundle": {**wanted, **bundle}, **wanted}],
        "PUT /event/endpoints/{id}": [{**hook, "enabledEvents": ["contract.created"]}, {"url": hook["url"]}],
        "POST /pki/pki/revokeCertificate": [revoked],
    }


@pytest.mark.parametrize("operation", DOCUMENTED)
def test_an_operation_asked_as_its_examples_ask_is_answered_as_documented(held, operation):
    api, ca, places = held
    method, _, path = operation.partition(" ")
    allowed = DOCUMENTED[operation] | OURS.get(operation, set())
    if method == "DELETE":  # of what is not there: the table of access removes what is
        places = {"pcid": "WPN00000000000009", "emaid": "DEPNCC00000009", "id": "b1b86334-7c74-4ccc-b78d-d4f773d3b559"}
    sent = bodies(ca, api.runtime.clock.now()).get(operation, [None])
    query = "?caDomain=cpo&iso15118Version=ISO15118-2" if "/est/" in path else ""
    met = set()
    for who in WHO:
        for body in sent:
            carried = {} if body is None else {"json": body}
            if path.endswith("simpleenroll"):
                carried = {"data": b64(station_csr()), "content_type": "application/pkcs10"}
            answer = api.call(who, method, BASE + path.format(**places) + query, headers=PARTIES, **carried)
            assert answer.status_code in allowed, (who, body, answer.data)
            assert answer.mimetype != "text/html"
            assert answer.data or "Content-Type" not in answer.headers
            met.add(answer.status_code)
    assert met & {200, 201, 404} or met == {400, 401, 403}  # who was let in may have sent an empty message
    for broken in ("x", "%00"):
        if "{" in path:
            wrong = BASE + re.sub(r"{(\w+)}", broken, path)
            assert api.call("oem", method, wrong, json=sent[0]).status_code in allowed | {404}


def test_our_document_names_what_opncs_names_for_its_operations(steady):
    paths = document(steady.app, steady.runtime)["paths"]
    ours = {re.sub(r"{\w+}", "{}", path): item for path, item in paths.items()}
    for operation, statuses in DOCUMENTED.items():
        method, _, path = operation.partition(" ")
        told = ours[BASE + re.sub(r"{\w+}", "{}", path)][method.lower()]["responses"]
        missing = {status for status in statuses if str(status) not in told and "5XX" not in told}
        # No answer of ours: a list has no 404, and who is known may list his endpoints.
        assert missing <= {400, 403, 404}, (operation, missing)
        assert {str(status) for status in OURS.get(operation, ())} <= set(told), operation


def test_certificates_of_opncs_examples_are_read_whatever_becomes_of_them(api):
    foreign_ca(api.runtime)
    for extra in (
        {"rootIssuerSerialNumber": "69ab00d259bbdf42ce80529ad30ce5ed"},
        {"fingerprint": "x"},
        {"unknown": [1]},
    ):
        body = vehicle_body(kept_ca("foreign", api.runtime.clock.now()))
        leaf = body.pop("vehicleCertificate")
        chain = {"provisioningCertificateChain": {"certificate": leaf, **body}, **extra}
        api.good("oem", "PUT", f"{BASE}/pcp/provisioningcertificates", json=chain)
