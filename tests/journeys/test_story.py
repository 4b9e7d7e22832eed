"""The story of a vehicle, from its first request to its end: real servers, a real token, each database.

OEM enrols over EST and publishes; MO reads the certificate; a contract lands in the CCP; OEM deletes the vehicle; the
contract is gone, its certificate revoked, OCSP and CRL say so, both partners are told, and the audit log verifies.
"""

import base64
import json
import re
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.ocsp import OCSPCertStatus, load_der_ocsp_response

from pki_core.model.clock import SystemClock
from pki_core.runtime import open_runtime
from tests.builders import make_csr, name, new_key
from tests.journeys.acts import ROOT, found_by_command, operator_environment
from tests.journeys.est_acts import certificates_of
from tests.journeys.hooks import heard_by, receiver
from tests.journeys.serving_acts import serving, wait_for
from tests.ocsp_forms import certificate_id, request
from tests.vehicle import common_name

pytestmark = [pytest.mark.slow, pytest.mark.softhsm, pytest.mark.enable_socket]

PCID, EMAID = "WPNSTRY0000000001", "DEPNCC00000001"
VEHICLE, CONTRACT = f"/v1/oem/provCerts/{PCID}", f"/v1/ccp/lookupContract/{EMAID}"
OEM_EVENTS = ["oem.contract.created", "oem.contract.deleted"]
MSG_2 = "urn:iso:15118:2:2013:MsgDef"
MO_EVENTS = ["mo.contract.created.sent.to.oem", "mo.contract.deleted.sent.to.oem", "mo.prov.cert.deleted"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def home(request, tmp_path):
    """An environment with a SoftHSM token, founded as an operator does."""
    home = tmp_path / "home"
    if request.param == "sqlite":
        found_by_command(home, f"sqlite:///{home}/store.db", key_store="softhsm")
        yield home
        return
    from tests.postgres import PostgresDatabases

    server = request.getfixturevalue("postgres_url")
    with closing(PostgresDatabases(server, lambda url: found_by_command(home, url, key_store="softhsm"))) as databases:
        url = databases.create()
        file = home / "pncpki.toml"
        file.write_text(re.sub(r'database_url = ".*"', f'database_url = "{url}"', file.read_text()))
        yield home
        databases.drop(url)


class Client:
    """A partner's client at the running front."""

    def __init__(self, served, partner):
        with closing(open_runtime(served.home)) as runtime:
            secret = runtime.credentials.make_secret(partner)
        text = base64.b64encode(f"{partner}:{secret}".encode()).decode()
        self.served, self.headers = served, {"Authorization": f"Basic {text}"}

    def call(self, method, path, body=None):
        headers = {**self.headers, "Content-Type": "application/json"}
        status, _, answer = self.served.https(method, path, json.dumps(body) if body is not None else None, headers)
        return status, json.loads(answer) if answer else None

    def enroll(self, csr_der):
        headers = {**self.headers, "Content-Type": "application/pkcs10"}
        path = "/.well-known/est/oem/simpleenroll"
        status, _, answer = self.served.https("POST", path, base64.encodebytes(csr_der), headers)
        assert status == 200, answer
        return certificates_of(base64.b64decode(answer))[0]

    def listens(self, hook, events):
        status, made = self.call("POST", "/v1/webhook/endpoints", {"url": hook.url, "enabledEvents": events})
        assert status == 201, made
        return made["secret"]


def operator(home):
    command = [sys.executable, "-m", "tests.journeys.story_child", str(home)]
    done = subprocess.run(command, cwd=ROOT, env=operator_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ca_der(served, label):
    status, _, der = served.plain("GET", f"/aia/{label}.cer")
    assert status == 200
    return der


def ocsp_says(served, issuer, serial):
    body = request(certificate_id(issuer, int(serial, 16)))
    status, _, der = served.plain("POST", "/ocsp", body, {"Content-Type": "application/ocsp-request"})
    assert status == 200
    return load_der_ocsp_response(der).certificate_status


def listed(served):
    status, _, der = served.plain("GET", "/crl/mo-sub2.crl")
    assert status == 200
    return {f"{one.serial_number:x}" for one in x509.load_der_x509_crl(der)}


def text_of(der):
    return base64.b64encode(der).decode()


def test_the_story_of_a_vehicle(home):
    with closing(open_runtime(home)) as runtime, runtime.store.reading() as work:
        issuer = work.issuers.get("mo-sub2")
    with receiver() as oem_hook, receiver() as mo_hook, serving(home) as served:
        oem, mo = Client(served, "demo-oem"), Client(served, "demo-mo")
        oem_secret, mo_secret = oem.listens(oem_hook, OEM_EVENTS), mo.listens(mo_hook, MO_EVENTS)

        # The OEM enrols a vehicle over EST and publishes it; the MO finds it by its PCID.
        key = new_key()
        leaf_der = oem.enroll(make_csr(subject=name(("O", "Story Cars"), ("CN", PCID)), key=key))
        upload = {
            "vehicleCertificate": text_of(leaf_der),
            "subCA1Certificate": text_of(ca_der(served, "oem-sub1")),
            "subCA2Certificate": text_of(ca_der(served, "oem-sub2")),
        }
        assert oem.call("PUT", "/v1/oem/provCerts", upload)[0] == 200
        status, found = mo.call("GET", VEHICLE)
        assert (status, base64.b64decode(found["OEMMessage"]["vehicleCertificate"])) == (200, leaf_der)

        # A contract lands in the CCP, in force.
        now = SystemClock().now()
        term = {"contractBegins": now.isoformat(), "contractEnds": (now + timedelta(days=300)).isoformat()}
        ordered = {"emaid": EMAID, "pcid": PCID, "xsdMsgDefNamespace": MSG_2, **term}
        assert mo.call("PUT", "/v1/cps/generate/signedContractData", ordered)[0] == 201
        status, found = mo.call("GET", CONTRACT)
        (contract,) = found["XMLContracts"]
        shown = x509.load_der_x509_certificate(base64.b64decode(contract["contractCertificate"]))
        assert (status, contract["pcid"], common_name(shown)[:14]) == (200, PCID, EMAID)
        serial = f"{shown.serial_number:x}"
        assert ocsp_says(served, issuer, serial) is OCSPCertStatus.GOOD
        operator(home)
        assert serial not in listed(served)

        # The OEM deletes the vehicle: nothing of it stays.
        assert oem.call("DELETE", VEHICLE)[0] == 200
        assert oem.call("GET", VEHICLE)[0] == mo.call("GET", VEHICLE)[0] == 404
        assert mo.call("GET", CONTRACT)[0] == 404
        assert wait_for(lambda: ocsp_says(served, issuer, serial) is OCSPCertStatus.REVOKED, seconds=3)
        after = operator(home)
        assert "mo-sub2.crl" in after["published"]
        assert wait_for(lambda: serial in listed(served), seconds=3)

        # Each partner heard what concerns him, signed; the audit log verifies.
        assert [one["eventType"] for one in heard_by(oem_hook, oem_secret)] == OEM_EVENTS
        assert sorted(one["eventType"] for one in heard_by(mo_hook, mo_secret)) == MO_EVENTS
        told = heard_by(mo_hook, mo_secret)
        assert {(one["payload"]["pcid"], one["xsdMsgDefNamespace"]) for one in told} == {(PCID, MSG_2)}
        certificates = {one["payload"].get("contractCert") for one in told}
        assert certificates == {contract["contractCertificate"], None}  # gone when the other events are told
        assert (after["delivered"], after["faults"], after["unsealed"]) == (3, [], 0)
        assert after["sealed"] > 0
