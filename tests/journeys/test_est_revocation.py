"""Revocation asked for by a partner (OPNC revokeCertificate), from the request to the status."""

import base64
import json
import uuid
from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.crls import RUN_EVERY
from pki_core.model.states import CertificateState
from tests.builders import new_key
from tests.journeys.est_acts import device, enrolled, escaped_pem, est_client, renewal_csr

pytest_plugins = ["tests.journeys.environments"]
PATH = "/opnc/v1/pki/pki/revokeCertificate"


@pytest.fixture
def client(home):
    with est_client(home) as client:
        yield client


def revoke(client, certificate_der, reason="keyCompromise", **changes):
    document = {"certificate": base64.b64encode(certificate_der).decode(), "revocationReason": reason, **changes}
    return client.post(PATH, json.dumps(document), content_type="application/json")


def state_of(client, certificate_der):
    return client.runtime.certificates.show(f"{x509.load_der_x509_certificate(certificate_der).serial_number:x}").state


def test_a_partner_revokes_his_certificate_and_it_renews_nothing_any_more(client):
    key = new_key()
    certificate_der = enrolled(client, key)
    answer = revoke(client, certificate_der)
    assert (answer.status_code, answer.data) == (200, b"")
    assert "Content-Type" not in answer.headers
    assert state_of(client, certificate_der) is CertificateState.REVOKED
    holder = client.with_certificate(certificate_der)
    assert holder.enroll(renewal_csr(certificate_der, key), operation="simplereenroll").status_code == 403


def test_the_answer_says_by_when_a_crl_lists_it(client):
    certificate_der = enrolled(client, new_key())
    before = client.runtime.clock.now()
    said = datetime.fromisoformat(revoke(client, certificate_der).headers["X-Pncpki-CRL-By"])
    assert before < said <= client.runtime.clock.now() + 2 * RUN_EVERY
    document = client.get("/openapi.json").json["paths"][PATH]["post"]["responses"]["200"]
    assert "X-Pncpki-CRL-By" in document["headers"]
    assert "content" not in document


def test_a_device_of_somebody_elses_ca_revokes_nothing(home):
    root, device_der = device()
    (home / "manufacturer.pem").write_bytes(root.public_bytes(Encoding.PEM))
    more = '\n[est]\nthird_parties = [{ file = "manufacturer.pem", partner = "demo-cpo" }]\n'
    with est_client(home, more=more) as client:
        certificate_der = enrolled(client, new_key())
        answer = revoke(client.with_certificate(device_der), certificate_der)
        assert answer.status_code == 403
        assert state_of(client, certificate_der) is CertificateState.GOOD


def test_base64_of_pem_is_read_like_base64_of_der(client):
    from urllib.parse import unquote

    certificate_der = enrolled(client, new_key())
    pem = unquote(escaped_pem(certificate_der)).encode()
    assert revoke(client, b"", certificate=base64.b64encode(pem).decode()).status_code == 200


def test_a_certificate_of_another_partner_does_not_exist(client):
    certificate_der = enrolled(client, new_key())
    other = client.runtime.credentials.make_secret("demo-mo")
    stranger = client.anonymous()
    stranger.basic = ("demo-mo", other)
    answer = revoke(stranger, certificate_der)
    assert answer.status_code == 404
    body = json.loads(answer.data)
    assert uuid.UUID(body["traceId"])
    assert len(body["errorMessages"]) == 1
    assert state_of(client, certificate_der) is CertificateState.GOOD


def test_a_station_may_revoke_itself_and_nothing_else(client):
    own_der, other_der = enrolled(client, new_key()), enrolled(client, new_key())
    holder = client.with_certificate(own_der)
    assert revoke(holder, other_der).status_code == 403
    assert revoke(holder, own_der).status_code == 200
    assert state_of(client, other_der) is CertificateState.GOOD


def test_revoking_twice_is_a_conflict(client):
    certificate_der = enrolled(client, new_key())
    assert [revoke(client, certificate_der).status_code for _ in range(2)] == [200, 409]


def test_nobody_revokes_nothing(client):
    answer = revoke(client.anonymous(), enrolled(client, new_key()))
    assert answer.status_code == 401
    assert answer.headers.getlist("WWW-Authenticate")[0].startswith("Basic ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 60_000,
        b"\xff",
        json.dumps({"certificate": 1, "revocationReason": "superseded"}).encode(),
        json.dumps({"certificate": "AAAA", "revocationReason": "cACompromise"}).encode(),
        json.dumps({"certificate": "AAAA", "revocationReason": "nothing"}).encode(),
        json.dumps({"certificate": "!", "revocationReason": "superseded"}).encode(),
        json.dumps({"certificate": "AAAA", "revocationReason": "superseded"}).encode(),
        json.dumps({"certificate": "", "revocationReason": "superseded"}).encode(),
    ],
    ids=range(11),
)
def test_bad_bodies_are_400_with_messages(client, body):
    answer = client.post(PATH, body, content_type="application/json")
    assert (answer.status_code, answer.content_type) == (400, "application/json")
    assert json.loads(answer.data)["errorMessages"]


def test_a_body_over_the_limit_is_413(client):
    assert client.post(PATH, b" " * 70_000, content_type="application/json").status_code == 413
