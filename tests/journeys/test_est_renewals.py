"""Renewal by simplereenroll, ChangeSubjectName and linking (RFC 7030 3.5, 4.2.2; RFC 6402 2.8)."""

import base64
from contextlib import closing
from datetime import timedelta

import pytest
from cryptography import x509
from sqlalchemy import text

from pki_core.model.clock import SystemClock
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.runtime import open_runtime
from pki_core.services.credentials import CLIENT_PROFILE
from tests.builders import SetClock, make_csr, name, new_key, raw_csr, spki, tlv
from tests.journeys.acts import rows
from tests.journeys.est_acts import (
    STATION,
    EstClient,
    certificates_in,
    enrolled,
    est_client,
    renewal_csr,
    station_csr,
    trust_proxy,
)
from webapp import create_app

pytest_plugins = ["tests.journeys.est_environments"]
OTHER = "DEPNCE99999"
TLS_UNIQUE = bytes(range(12))
BOUND = base64.b64encode(TLS_UNIQUE).decode()


@pytest.fixture
def station(client):
    """A station's key, its certificate, and a client that shows the certificate."""
    key = new_key()
    certificate_der = enrolled(client, key)
    return key, certificate_der, client.with_certificate(certificate_der)


def reenroll(client, csr_der, label="cpo"):
    return client.enroll(csr_der, label, operation="simplereenroll")


def set_state(client, certificate_der, state):
    serial = f"{x509.load_der_x509_certificate(certificate_der).serial_number:036x}"
    with client.runtime.store.transaction() as work:
        changed = work.audit._connection.execute(
            text("UPDATE certificate_status SET status = :state WHERE serial = :serial"),
            {"state": int(state), "serial": serial},
        ).rowcount
    assert changed == 1


def test_a_station_renews_its_certificate_with_nothing_but_itself(any_client):
    key, new = new_key(), new_key(KeyAlgorithm.SECP256R1)
    old_der = enrolled(any_client, key)
    holder = any_client.with_certificate(old_der)
    for csr_key in (key, new):  # the same key renews, another one rekeys
        (new_der,) = certificates_in(reenroll(holder, renewal_csr(old_der, csr_key)))
        old, renewed = (x509.load_der_x509_certificate(der) for der in (old_der, new_der))
        assert renewed.subject == old.subject
        assert renewed.serial_number != old.serial_number
        record = any_client.runtime.certificates.show(f"{renewed.serial_number:x}")
        assert (record.partner_id, record.profile_name) == ("demo-cpo", "evse_leaf")
    audited = rows(any_client.runtime, "SELECT actor, detail FROM audit WHERE action = 'est.renewed'")
    assert audited == [("demo-cpo", f"cpo instead of {old.serial_number:036x}")] * 2


def test_a_renewal_stays_in_the_edition_of_the_certificate(client):
    key = new_key(KeyAlgorithm.SECP521R1)
    old_der = enrolled(client, key, label="cpo:20")
    (new_der,) = certificates_in(reenroll(client.with_certificate(old_der), renewal_csr(old_der, key)))
    serial = x509.load_der_x509_certificate(new_der).serial_number
    assert client.runtime.certificates.show(f"{serial:x}").profile_name == "evse_leaf_20"


def test_the_subject_is_compared_as_names_are_and_not_as_octets(station):
    key, _, holder = station
    subject = name(("C", "de"), ("O", "  test   OPERATOR "), ("DC", "cpo"), ("CN", STATION.lower()))
    assert reenroll(holder, make_csr(key=key, subject=subject)).status_code == 200


@pytest.mark.parametrize(
    "parts",
    [
        (("C", "DE"), ("O", "Test Operator"), ("DC", "CPO"), ("CN", OTHER)),
        (("C", "DE"), ("O", "Test Operator"), ("CN", STATION)),
        (("O", "Test Operator"), ("C", "DE"), ("DC", "CPO"), ("CN", STATION)),
        (("C", "DE"), ("O", "Other"), ("DC", "CPO"), ("CN", STATION)),
    ],
    ids=["other station", "part missing", "other order", "other organisation"],
)
def test_another_subject_is_403(station, parts):
    key, _, holder = station
    answer = reenroll(holder, make_csr(key=key, subject=name(*parts)))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"renewal.subject_differs")


def test_alternative_names_the_certificate_has_not_are_403(station):
    key, certificate_der, holder = station
    names = x509.SubjectAlternativeName([x509.DNSName("evil.example")])
    answer = reenroll(holder, renewal_csr(certificate_der, key, extensions=[(names, False)]))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"renewal.names_differ")


def test_a_renewal_without_the_certificate_is_403(client, station):
    key, certificate_der, _ = station
    answer = reenroll(client, renewal_csr(certificate_der, key))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"renewal.no_certificate")
    assert reenroll(client.anonymous(), renewal_csr(certificate_der, key)).status_code == 401


def test_the_partners_own_client_certificate_renews_nothing(client):
    key = new_key()
    profile = client.runtime.profiles[CLIENT_PROFILE]
    issued = client.runtime.credentials.issue_certificate("demo-cpo", make_csr("x", key), profile)
    holder = client.with_certificate(issued.certificate_der)
    answer = reenroll(holder, renewal_csr(issued.certificate_der, key))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"renewal.no_certificate")


@pytest.mark.parametrize("state", [CertificateState.REVOKED, CertificateState.HOLD])
def test_a_revoked_certificate_renews_nothing(station, client, state):
    key, certificate_der, holder = station
    set_state(client, certificate_der, state)
    answer = reenroll(holder, renewal_csr(certificate_der, key))
    assert (answer.status_code, b"revoked" in answer.data) == (403, True)


@pytest.mark.parametrize("ca", ["cpo-sub2", "cpo-sub1"])
def test_a_certificate_below_a_revoked_ca_renews_nothing(fresh, ca):
    client, key = fresh, new_key()
    certificate_der = enrolled(client, key)
    holder = client.with_certificate(certificate_der)
    with client.runtime.store.reading() as work:
        ca_der = work.issuers.get(ca).certificate_der
    set_state(client, ca_der, CertificateState.REVOKED)
    answer = reenroll(holder, renewal_csr(certificate_der, key))
    assert (answer.status_code, b"CA above" in answer.data) == (403, True)


def test_an_expired_certificate_renews_nothing(home):
    clock = SetClock(SystemClock().now())
    with est_client(home, clock=clock) as client:
        key = new_key()
        certificate_der = enrolled(client, key)
        clock.moment = x509.load_der_x509_certificate(certificate_der).not_valid_after_utc - timedelta(seconds=1)
        assert reenroll(client.with_certificate(certificate_der), renewal_csr(certificate_der, key)).status_code == 200
        clock.advance(seconds=1)
        answer = reenroll(client.with_certificate(certificate_der), renewal_csr(certificate_der, key))
    assert (answer.status_code, b"not valid now" in answer.data) == (403, True)


def test_a_station_may_not_enrol_others(station):
    _, _, holder = station
    answer = holder.enroll(station_csr(OTHER))
    assert (answer.status_code, b"renew itself" in answer.data) == (403, True)


def test_a_certificate_nobody_issued_is_no_credential(client, station):
    key, certificate_der, _ = station
    forged = bytearray(certificate_der)
    forged[-1] ^= 1
    assert reenroll(client.with_certificate(bytes(forged)), renewal_csr(certificate_der, key)).status_code == 401


def test_a_label_of_another_branch_does_not_renew(station):
    key, certificate_der, holder = station
    assert reenroll(holder, renewal_csr(certificate_der, key), label="oem").status_code == 403


def test_certificate_and_secret_of_different_partners_are_refused(station, client):
    key, certificate_der, _ = station
    secret = client.runtime.credentials.make_secret("demo-mo")
    mixed = client.with_certificate(certificate_der, basic=("demo-mo", secret))
    answer = reenroll(mixed, renewal_csr(certificate_der, key))
    assert (answer.status_code, b"different partners" in answer.data) == (403, True)


def test_a_contract_goes_on_only_when_its_operator_says_so(home):
    key = new_key()
    with est_client(home, partner="demo-mo") as client:
        (old_der,) = certificates_in(client.enroll(make_csr("DEPNCC000000019", key), label="mo"))
        vehicle = client.with_certificate(old_der)
        alone = reenroll(vehicle, renewal_csr(old_der, key), label="mo")
        assert (alone.status_code, b"credential of the partner's" in alone.data) == (403, True)
        both = client.with_certificate(old_der, basic=client.basic)
        (new_der,) = certificates_in(reenroll(both, renewal_csr(old_der, key), label="mo"))
    assert new_der != old_der


def test_a_partners_secret_counts_beside_the_certificate_of_a_device(station, client):
    _, certificate_der, _ = station
    both = client.with_certificate(certificate_der, basic=client.basic)
    assert both.enroll(station_csr(OTHER)).status_code == 200


# --- ChangeSubjectName


def change_subject(subject=None, names=b""):
    value = tlv(0x30, (subject.public_bytes() if subject else b"") + names)
    attribute = tlv(0x30, bytes.fromhex("06082b06010505070724") + tlv(0x31, value))
    return tlv(0xA0, attribute)


@pytest.fixture
def named_anew(station, client):
    """A station with its own certificate, and beside it the secret of its operator."""
    key, certificate_der, _ = station
    secret = client.runtime.credentials.make_secret("demo-cpo")
    return key, certificate_der, client.with_certificate(certificate_der, basic=("demo-cpo", secret))


def test_change_subject_name_gives_the_new_name(named_anew):
    key, certificate_der, holder = named_anew
    old = x509.load_der_x509_certificate(certificate_der).subject.public_bytes()
    wish = name(("C", "DE"), ("O", "New Operator"), ("CN", OTHER))
    answer = reenroll(holder, raw_csr(key, subject=old, attributes=change_subject(wish)))
    (new_der,) = certificates_in(answer)
    subject = x509.load_der_x509_certificate(new_der).subject.rfc4514_string()
    assert subject == f"CN={OTHER},DC=CPO,O=New Operator,C=DE"


def test_a_certificate_alone_does_not_give_itself_another_name(station):
    key, certificate_der, holder = station
    old = x509.load_der_x509_certificate(certificate_der).subject.public_bytes()
    wish = name(("C", "DE"), ("O", "Test Operator"), ("CN", OTHER))
    answer = reenroll(holder, raw_csr(key, subject=old, attributes=change_subject(wish)))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (400, b"change.not_allowed")


def test_a_new_name_must_be_one_of_the_partners(named_anew):
    key, certificate_der, holder = named_anew
    old = x509.load_der_x509_certificate(certificate_der).subject.public_bytes()
    wish = name(("C", "DE"), ("CN", "DEICEE99999"))
    answer = reenroll(holder, raw_csr(key, subject=old, attributes=change_subject(wish)))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"identifier.outside_prefixes")


def test_new_alternative_names_are_refused(station):
    key, certificate_der, holder = station
    old = x509.load_der_x509_certificate(certificate_der).subject.public_bytes()
    attributes = change_subject(names=tlv(0x30, tlv(0x82, b"evil.example")))
    answer = reenroll(holder, raw_csr(key, subject=old, attributes=attributes))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (400, b"change.not_allowed")


def test_change_subject_name_belongs_into_a_renewal(client):
    wish = name(("C", "DE"), ("CN", OTHER))
    subject = name(("C", "DE"), ("CN", STATION)).public_bytes()
    answer = client.enroll(raw_csr(subject=subject, attributes=change_subject(wish)))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (400, b"change.not_allowed")


# --- linking identity and proof of possession


def with_password(password, tag=0x13):
    attribute = tlv(0x30, bytes.fromhex("06092a864886f70d010907") + tlv(0x31, tlv(tag, password.encode())))
    return raw_csr(subject=name(("C", "DE"), ("CN", STATION)).public_bytes(), attributes=tlv(0xA0, attribute))


@pytest.mark.parametrize("tag", [0x13, 0x0C, 0x16])
def test_a_request_bound_to_its_connection_is_issued_and_the_connection_ends(client, tag):
    client.tls_unique = TLS_UNIQUE
    answer = client.enroll(with_password(BOUND, tag))
    assert (answer.status_code, answer.headers["Connection"]) == (200, "close")


@pytest.mark.parametrize("label", ["cpo", "linked"])
def test_a_request_bound_to_another_connection_is_403(client, label):
    client.tls_unique = bytes(12)
    answer = client.enroll(with_password(BOUND), label)
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"linking.mismatch")


def test_a_binding_is_refused_where_there_is_nothing_to_compare_it_with(client):
    assert client.enroll(with_password(BOUND)).status_code == 403
    assert client.enroll(with_password("")).status_code in {200, 403}


def test_where_linking_is_required_an_unbound_request_is_told_so(client):
    client.tls_unique = TLS_UNIQUE
    answer = client.enroll(station_csr(), "linked")
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"linking.required")
    assert client.enroll(with_password(BOUND), "linked").status_code == 200


def test_a_request_that_binds_nothing_leaves_the_connection_open(client):
    client.tls_unique = TLS_UNIQUE
    assert "Connection" not in client.enroll(station_csr()).headers


# --- one-time codes


def test_an_enrolment_code_is_good_for_one_certificate(home):
    from pki_core.model.credentials import CredentialKind

    with closing(open_runtime(trust_proxy(home))) as runtime:
        code = runtime.credentials.make_secret("demo-cpo", CredentialKind.CODE)
        client = EstClient(runtime, create_app(runtime))
        first, second = (client.enroll(with_password(code), "code") for _ in range(2))
        wrong = client.enroll(with_password("wrong"), "code")
        missing = client.enroll(station_csr(), "code")
        other_label = client.enroll(with_password(code), "cpo")
    assert [one.status_code for one in (first, second, wrong, missing, other_label)] == [200, 401, 401, 401, 401]


def test_a_refused_request_does_not_use_the_code_up(home):
    from pki_core.model.credentials import CredentialKind

    with closing(open_runtime(trust_proxy(home))) as runtime:
        code = runtime.credentials.make_secret("demo-oem", CredentialKind.CODE)
        client = EstClient(runtime, create_app(runtime))
        assert client.enroll(with_password(code), "code").status_code == 403  # an OEM has no stations
        assert [one.ended_at for one in runtime.credentials.of_partner("demo-oem")] == [None]


def test_the_same_key_in_old_and_new_certificate_is_a_renewal(station):
    key, certificate_der, holder = station
    (new_der,) = certificates_in(reenroll(holder, renewal_csr(certificate_der, key)))
    assert x509.load_der_x509_certificate(new_der).public_key() == key.public_key()
    assert spki(key) in new_der
