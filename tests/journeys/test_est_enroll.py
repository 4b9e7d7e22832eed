"""EST enrolment from the request to the store: who may, what comes back, what stays behind (RFC 7030 4.2)."""

import base64
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from cryptography import x509

from pki_core.model.errors import HsmUnavailableError, StoreUnavailableError
from pki_core.model.signer import KeyAlgorithm
from tests.builders import EMAID, make_csr, name, new_key, spki
from tests.journeys.acts import rows
from tests.journeys.est_acts import (
    STATION,
    EstClient,
    certificates_in,
    enrolled,
    est_client,
    station_csr,
)

pytest_plugins = ["tests.journeys.est_environments"]


def test_a_station_gets_the_certificate_its_request_names(any_client):
    key = new_key()
    (certificate_der,) = certificates_in(any_client.enroll(station_csr(key=key)))
    certificate = x509.load_der_x509_certificate(certificate_der)
    assert certificate.subject.rfc4514_string() == f"CN={STATION},DC=CPO,O=Test Operator,C=DE"
    assert spki(key) == spki_of(certificate)
    record = any_client.runtime.certificates.show(f"{certificate.serial_number:x}")
    assert (record.partner_id, record.profile_name, record.certificate_der) == (
        "demo-cpo",
        "evse_leaf",
        certificate_der,
    )


def spki_of(certificate):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_an_issued_certificate_is_in_the_audit_log_with_the_partner_as_actor(any_client):
    enrolled(any_client, new_key())
    found = rows(any_client.runtime, "SELECT actor, action FROM audit WHERE action = 'certificate.issued'")
    assert found[-1] == ("demo-cpo", "certificate.issued")


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/est/simpleenroll",
        "/.well-known/est/cpo/simpleenroll",
        "/.well-known/est/cpo/simpleenroll/ISO15118-2",
        "/.well-known/est/cpo/simpleenroll/",
        "/.well-known/cpo/simpleenroll",
        "/.well-known/cpo/simpleenroll/ISO15118-2",
        "/cpo/simpleenroll/ISO15118-2",
        "/cpo/.well-known/est/simpleenroll",
        "/opnc/v1/pki/est/simpleenroll?caDomain=cpo&iso15118Version=ISO15118-2",
    ],
)
def test_every_alias_issues_by_the_same_profile(client, path):
    (certificate_der,) = certificates_in(client.post(path, base64.b64encode(station_csr())))
    serial = x509.load_der_x509_certificate(certificate_der).serial_number
    assert client.runtime.certificates.show(f"{serial:x}").profile_name == "evse_leaf"


@pytest.mark.parametrize(
    ("path", "algorithm", "profile"),
    [
        ("/.well-known/cpo/simpleenroll/ISO15118-20", KeyAlgorithm.SECP521R1, "evse_leaf_20"),
        ("/.well-known/cpo/simpleenroll/ISO15118-20", KeyAlgorithm.ED448, "evse_leaf_20_ed448"),
        ("/.well-known/cpo/simpleenroll/ISO15118-20/ed448", KeyAlgorithm.ED448, "evse_leaf_20_ed448"),
        ("/.well-known/est/cpo:20/simpleenroll", KeyAlgorithm.SECP521R1, "evse_leaf_20"),
    ],
)
def test_edition_and_key_choose_the_profile(client, path, algorithm, profile):
    answer = client.post(path, base64.b64encode(station_csr(key=new_key(algorithm))))
    (certificate_der,) = certificates_in(answer)
    serial = x509.load_der_x509_certificate(certificate_der).serial_number
    assert client.runtime.certificates.show(f"{serial:x}").profile_name == profile


def test_a_mobility_operator_enrols_a_contract_as_opnc_calls_it(home):
    with est_client(home, "demo-mo") as client:
        answer = client.post("/opnc/v1/pki/est/simpleenroll?caDomain=emsp", base64.b64encode(make_csr(EMAID)))
        (certificate_der,) = certificates_in(answer)
    assert x509.load_der_x509_certificate(certificate_der).subject.rfc4514_string().startswith(f"CN={EMAID}")


def test_another_operators_station_is_refused_and_nothing_is_issued(fresh):
    client = fresh
    answer = client.enroll(station_csr("DEICEE12345"))
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"identifier.outside_prefixes")
    assert answer.content_type == "text/plain; charset=utf-8"
    refused = rows(client.runtime, "SELECT actor, detail FROM audit WHERE action = 'est.refused'")
    assert refused == [("demo-cpo", "cpo identifier.outside_prefixes")]
    assert rows(client.runtime, "SELECT count(*) FROM certificate WHERE partner_id = 'demo-cpo'") == [(0,)]


@pytest.mark.parametrize(
    ("label", "body", "code"),
    [
        ("mo", None, "mo partner.not_authorized"),
        ("cpo", b"nothing", "cpo csr.malformed"),
        ("linked", None, "linked linking.required"),
    ],
)
def test_a_refusal_of_a_known_partner_is_in_the_audit_log(fresh, label, body, code):
    answer = fresh.enroll(station_csr() if body is None else body, label)
    assert answer.status_code in {400, 403}
    assert rows(fresh.runtime, "SELECT actor, detail FROM audit WHERE action = 'est.refused'") == [("demo-cpo", code)]


def test_a_partner_without_the_role_is_refused(client):
    answer = client.enroll(make_csr(EMAID), label="mo")
    assert answer.status_code == 403
    assert b"demo-cpo has no role" in answer.data


def test_a_label_of_other_partners_does_not_exist_for_this_one(home):
    more = '\n[est.labels.acme-cpo]\nbranch = "cpo"\npartners = ["acme"]\n'
    with est_client(home, more=more) as client:
        hidden = client.enroll(station_csr(), label="acme-cpo")
        missing = client.enroll(station_csr(), label="nobody-cpo")
    assert (hidden.status_code, hidden.data) == (missing.status_code, missing.data) == (404, hidden.data)


def test_a_label_may_have_a_ca_of_its_own(home):
    more = '\n[est.labels.acme-cpo]\nbranch = "cpo"\nissuer = "cpo-sub2"\n'
    with est_client(home, more=more) as client:
        (certificate_der,) = certificates_in(client.enroll(station_csr(), label="acme-cpo"))
        serial = x509.load_der_x509_certificate(certificate_der).serial_number
        assert client.runtime.certificates.show(f"{serial:x}").issuer_label == "cpo-sub2"


def test_a_chain_in_the_answer_has_the_leaf_first_and_no_root(home):
    more = '\n[est.labels.chain]\nbranch = "cpo"\nchain_in_answer = true\n'
    with est_client(home, more=more) as client:
        read = [x509.load_der_x509_certificate(der) for der in certificates_in(client.enroll(station_csr(), "chain"))]
    assert [one.issuer == above.subject for one, above in pairwise(read)] == [True, True]
    assert STATION in read[0].subject.rfc4514_string()
    assert all(one.issuer != one.subject for one in read)


def test_a_customer_prefix_needs_a_label_of_its_own(client):
    assert client.enroll(station_csr(), label="acme-cpo").status_code == 404


def test_two_hundred_at_once_get_two_hundred_serials_and_audit_rows(any_client):
    csrs = [station_csr(f"DEPNCE{number:05}") for number in range(200)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(any_client.enroll, csrs))
    serials = {x509.load_der_x509_certificate(certificates_in(one)[0]).serial_number for one in answers}
    assert len(serials) == 200
    audited = rows(
        any_client.runtime,
        "SELECT count(DISTINCT serial), count(*) FROM audit WHERE action = 'certificate.issued' AND actor = 'demo-cpo'",
    )
    assert audited == [(200, 200)]
    assert rows(any_client.runtime, "SELECT count(*) FROM reservation") == [(0,)]


def test_without_credentials_nothing_of_the_body_is_looked_at(client):
    anonymous = client.anonymous()
    answer = anonymous.enroll(b"no request at all")
    assert (answer.status_code, answer.data) == (401, b"")


def test_a_wrong_secret_is_refused_like_no_secret(client):
    wrong = EstClient(client.runtime, client.app, basic=("demo-cpo", "wrong"))
    other = EstClient(client.runtime, client.app, basic=("demo-mo", client.basic[1]))
    nobody = EstClient(client.runtime, client.app, basic=("nobody", "x"))
    answers = [one.enroll(station_csr()) for one in (wrong, other, nobody, client.anonymous())]
    assert {(one.status_code, one.data) for one in answers} == {(401, b"")}


@pytest.mark.parametrize("away", [HsmUnavailableError("gone"), StoreUnavailableError("gone")])
def test_a_dependency_that_is_away_asks_for_patience_and_comes_back_by_itself(client, monkeypatch, away):
    csr_der = station_csr()
    enrolled(client, new_key())  # bound before

    def fail(*_arguments, **_options):
        raise away

    with monkeypatch.context() as broken:
        if isinstance(away, HsmUnavailableError):
            issuer = client.runtime.issuers.get("cpo-sub2")
            broken.setattr(type(issuer._signer), "sign", fail)
        else:
            broken.setattr(client.runtime.store, "looking", fail)
        answer = client.enroll(csr_der)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert b"gone" not in answer.data
    assert client.enroll(csr_der).status_code == 200
    assert rows(client.runtime, "SELECT count(*) FROM reservation") == [(0,)]


def test_a_fault_of_ours_has_no_detail(client, monkeypatch):
    monkeypatch.setattr(client.runtime.enrollment, "issue", lambda *_: (_ for _ in ()).throw(KeyError("secret")))
    monkeypatch.setitem(client.app.config, "PROPAGATE_EXCEPTIONS", value=False)
    answer = client.enroll(station_csr())
    assert (answer.status_code, answer.content_type) == (500, "text/plain; charset=utf-8")
    assert b"secret" not in answer.data


def test_a_station_may_repeat_its_request(client):
    csr_der = station_csr()
    first, second = (certificates_in(client.enroll(csr_der)) for _ in range(2))
    assert first != second


def test_subject_parts_the_profile_does_not_keep_are_left_out(client):
    subject = name(("C", "DE"), ("O", "Test Operator"), ("OU", "Hall 7"), ("CN", STATION))
    (certificate_der,) = certificates_in(client.enroll(station_csr(subject=subject)))
    assert "Hall 7" not in x509.load_der_x509_certificate(certificate_der).subject.rfc4514_string()
