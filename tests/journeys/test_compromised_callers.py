"""Who shows a certificate whose key was reported as compromised is nobody, whichever of its certificates that is."""

import base64
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.revocations import Reason
from tests.builders import make_csr, new_key
from tests.journeys.est_acts import device, enrolled, est_client, renewal_csr, station_csr
from tests.journeys.trips import ON_POSTGRES, counted

pytest_plugins = ["tests.journeys.environments"]
REVOKE = "/opnc/v1/pki/pki/revokeCertificate"
THIRD_PARTY = '\n[est]\nthird_parties = [{ file = "manufacturer.pem", partner = "demo-cpo" }]\n'


@pytest.fixture
def client(any_home):
    with est_client(any_home) as client:
        yield client


def reported(client, certificate_der, reason=Reason.KEY_COMPROMISE):
    serial = x509.load_der_x509_certificate(certificate_der).serial_number
    client.runtime.revocations.revoke(f"{serial:x}", reason, actor="test")


def credential(client, key):
    """A client certificate of the partner's."""
    profile = client.runtime.profiles["tls_client"]
    return client.runtime.credentials.issue_certificate("demo-cpo", make_csr("x", key), profile).certificate_der


def test_a_station_renews_with_no_certificate_of_a_reported_key(client):
    key = new_key()
    first, second = enrolled(client, key), enrolled(client, key)
    thief = client.with_certificate(second)
    assert thief.enroll(renewal_csr(second, new_key()), operation="simplereenroll").status_code == 200
    reported(client, first)
    answer = thief.enroll(renewal_csr(second, new_key()), operation="simplereenroll")
    assert (answer.status_code, b"reported as compromised" in answer.data) == (403, True)


def test_another_reason_lets_the_other_certificate_be(client):
    key = new_key()
    first, second = enrolled(client, key), enrolled(client, key)
    reported(client, first, Reason.SUPERSEDED)
    answer = client.with_certificate(second).enroll(renewal_csr(second, new_key()), operation="simplereenroll")
    assert answer.status_code == 200


def test_a_partners_client_certificate_of_a_reported_key_opens_nothing(client):
    key = new_key()
    holder = client.with_certificate(credential(client, key))
    body = {"certificate": base64.b64encode(enrolled(client, new_key())).decode(), "revocationReason": "superseded"}
    calls = {
        "est": lambda: holder.enroll(station_csr()),
        "batches": lambda: holder.get("/v1/batches"),
        "revocation": lambda: holder.post(REVOKE, json.dumps(body), content_type="application/json"),
    }
    assert {name: call().status_code for name, call in calls.items()} == dict.fromkeys(calls, 200)
    reported(client, credential(client, key))
    assert {name: call().status_code for name, call in calls.items()} == dict.fromkeys(calls, 403)


def test_a_device_of_another_ca_whose_key_was_reported_here_is_refused(any_home):
    key = new_key()
    root, leaf_der = device(key=key)
    (any_home / "manufacturer.pem").write_bytes(root.public_bytes(Encoding.PEM))
    with est_client(any_home, more=THIRD_PARTY) as client:
        of_the_maker = client.with_certificate(leaf_der)
        assert of_the_maker.enroll(station_csr()).status_code == 200
        reported(client, enrolled(client, key))
        answer = of_the_maker.enroll(station_csr())
        assert (answer.status_code, b"reported as compromised" in answer.data) == (403, True)


@ON_POSTGRES
def test_a_device_of_another_ca_costs_no_trip_more(any_home):
    root, leaf_der = device()
    (any_home / "manufacturer.pem").write_bytes(root.public_bytes(Encoding.PEM))
    with est_client(any_home, more=THIRD_PARTY) as client:
        of_the_maker = client.with_certificate(leaf_der)
        assert of_the_maker.enroll(station_csr()).status_code == 200
        with counted() as trips:
            assert of_the_maker.enroll(station_csr()).status_code == 200
        assert len(trips) == 9
