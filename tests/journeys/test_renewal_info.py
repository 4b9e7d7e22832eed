"""Renewal information: when to come back, in JSON (draft-ietf-lamps-est-renewal-info)."""

import base64
import json
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from pki_core.model.revocations import Reason
from tests.builders import new_key
from tests.journeys.est_acts import enrolled, est_client

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def client(home):
    with est_client(home) as client:
        yield client


def url_of(certificate, serial=None):
    extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    serial = certificate.serial_number if serial is None else serial
    octets = serial.to_bytes(-(-serial.bit_length() // 8), "big")
    parts = [base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in (extension.value.key_identifier, octets)]
    return "/.well-known/est/cpo/renewal-info/" + ".".join(parts)


def window_of(answer):
    assert answer.status_code == 200, answer.data
    window = json.loads(answer.data)["suggestedWindow"]
    return [datetime.fromisoformat(window[name]) for name in ("start", "end")]


def test_the_last_third_of_a_certificate_is_the_time_to_renew(client):
    certificate = x509.load_der_x509_certificate(enrolled(client, new_key()))
    answer = client.anonymous().get(url_of(certificate))
    start, end = window_of(answer)
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert start == certificate.not_valid_after_utc - min(timedelta(days=30), lifetime / 3)
    assert start < end < certificate.not_valid_after_utc
    assert (answer.content_type, int(answer.headers["Retry-After"])) == ("application/json", 21600)


def test_a_revoked_certificate_is_to_be_replaced_at_once(client):
    certificate_der = enrolled(client, new_key())
    with client.runtime.store.reading() as work:
        partner = work.partners.get("demo-cpo")
    client.runtime.revocations.revoke_certificate(partner, certificate_der, Reason.KEY_COMPROMISE)
    start, end = window_of(client.get(url_of(x509.load_der_x509_certificate(certificate_der))))
    assert start < end <= client.runtime.clock.now()


def test_what_nobody_issued_is_not_found(client):
    certificate = x509.load_der_x509_certificate(enrolled(client, new_key()))
    other = url_of(certificate, certificate.serial_number + 1)
    wrong_ca = "/.well-known/est/renewal-info/AAAA." + url_of(certificate).rpartition(".")[2]
    for path in (
        other,
        wrong_ca,
        *(f"/.well-known/est/renewal-info/{text}" for text in (".", "x", "!.!", "AA.", "A" * 3000)),
    ):
        assert client.get(path).status_code == 404, path
