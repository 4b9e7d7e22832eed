"""EST answers byte by byte: what libest, BouncyCastle, strongSwan and others were seen to need."""

import base64
import re

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.csr_body import elements
from tests.builders import EMAID, make_csr, name, new_key, raw_csr, tlv
from tests.journeys.est_acts import (
    STATION,
    EstClient,
    certificates_in,
    certificates_of,
    est_client,
    station_csr,
    trust_proxy,
)

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture(scope="module")
def client(founded_home, tmp_path_factory):
    from tests.journeys.acts import copy_home

    with est_client(copy_home(founded_home, tmp_path_factory.mktemp("answers") / "home")) as client:
        yield client


def every_payload(client):
    return [
        client.get("/.well-known/est/cpo/cacerts"),
        client.get("/.well-known/est/cpo/csrattrs"),
        client.enroll(station_csr()),
    ]


def test_cacerts_has_its_media_type_without_a_parameter(client):
    for path in ("/.well-known/est/cacerts", "/.well-known/est/cpo/cacerts", "/strongswan/.well-known/est/cacerts"):
        assert client.get(path).headers["Content-Type"] == "application/pkcs7-mime"


def test_cacerts_on_the_aliases_has_the_parameter_their_specifications_name(client):
    for path in (
        "/.well-known/cpo/cacerts",
        "/cpo/cacerts/ISO15118-20/secp521r1/",
        "/opnc/v1/pki/est/cacerts?caDomain=cpo&iso15118Version=ISO15118-2",
    ):
        assert client.get(path).headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"


def test_an_enrolment_has_the_exact_media_type_libest_compares(client):
    assert client.enroll(station_csr()).headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"


def test_every_payload_says_base64_and_its_length(client):
    for answer in every_payload(client):
        assert answer.headers["Content-Transfer-Encoding"] == "base64"
        assert answer.headers["Content-Length"] == str(len(answer.data))
        assert "Transfer-Encoding" not in answer.headers


def test_base64_comes_in_lines_of_64(client):
    for answer in every_payload(client):
        lines = answer.data.split(b"\n")
        assert lines[-1] == b""
        assert {len(line) for line in lines[:-2]} <= {64}
        assert 0 < len(lines[-2]) <= 64
        base64.b64decode(b"".join(lines), validate=True)


def test_a_label_for_strongswan_answers_in_one_line(client):
    for answer in (
        client.get("/strongswan/.well-known/est/cacerts"),
        client.post("/strongswan/.well-known/est/simpleenroll", base64.b64encode(station_csr())),
    ):
        assert answer.data.count(b"\n") == 1
        assert answer.data.endswith(b"\n")


def test_a_label_may_ask_for_76(home):
    with est_client(home, more='\n[est.labels.wide]\nbranch = "cpo"\nbase64_line_length = 76\n') as client:
        lines = client.get("/.well-known/est/wide/cacerts").data.splitlines()
    assert {len(line) for line in lines[:-1]} == {76}


def test_an_enrolment_holds_exactly_one_certificate(client):
    assert len(certificates_in(client.enroll(station_csr()))) == 1


def test_cacerts_go_from_the_issuing_ca_to_the_root(client):
    read = [x509.load_der_x509_certificate(der) for der in certificates_in(client.get("/.well-known/est/cacerts"))]
    (leaf,) = certificates_in(client.enroll(station_csr()))
    assert x509.load_der_x509_certificate(leaf).issuer == read[0].subject
    assert [one.issuer for one in read] == [read[1].subject, read[2].subject, read[2].subject]


@pytest.mark.parametrize(
    ("path", "curve"),
    [
        ("/.well-known/est/cpo/cacerts", "secp256r1"),
        ("/.well-known/est/cpo/cacerts/ISO15118-20", "secp521r1"),
        ("/.well-known/est/cpo/cacerts/ISO15118-20/secp521r1", "secp521r1"),
        ("/.well-known/est/cpo:20/cacerts", "secp521r1"),
        ("/cpo/cacerts/ISO15118-20/ed448/", "ed448"),
        ("/opnc/v1/pki/est/cacerts?caDomain=cpo&iso15118Version=ISO15118-20&algorithm=ed448", "ed448"),
    ],
)
def test_edition_and_algorithm_choose_the_chain(client, path, curve):
    for der in certificates_in(client.get(path)):
        key = x509.load_der_x509_certificate(der).public_key()
        assert getattr(getattr(key, "curve", None), "name", "ed448") == curve


@pytest.mark.parametrize("path", ["/.well-known/est/cpo/cacerts/ISO15118-9", "/cpo/cacerts/ISO15118-2/rsa"])
def test_an_edition_that_does_not_exist_is_not_found(client, path):
    assert client.get(path).status_code == 404


def test_an_algorithm_that_is_not_of_the_edition_is_not_found(client):
    assert client.get("/cpo/cacerts/ISO15118-2/ed448").status_code == 404


def test_401_is_empty_with_basic_first_and_bearer_on_a_line_of_its_own(client):
    answer = client.anonymous().enroll(station_csr())
    assert (answer.status_code, answer.data) == (401, b"")
    assert answer.headers["Content-Length"] == "0"
    assert answer.headers.getlist("WWW-Authenticate") == ['Basic realm="pncpki"', 'Bearer realm="pncpki"']


def test_a_label_for_certificates_only_says_403_because_no_scheme_would_do(home):
    with est_client(home, more='\n[est.labels.tls]\nbranch = "cpo"\nauthentication = ["certificate"]\n') as client:
        answer = client.enroll(station_csr(), "tls")
    assert (answer.status_code, answer.headers.getlist("WWW-Authenticate")) == (403, [])
    assert b"TLS client certificate" in answer.data


def test_202_is_empty_with_whole_seconds(client):
    answer = client.enroll(station_csr(), "manual")
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (202, b"", "0")
    assert re.fullmatch(r"[1-9][0-9]*", answer.headers["Retry-After"])


def test_every_header_line_is_short(client):
    for answer in [*every_payload(client), client.anonymous().enroll(b""), client.enroll(b"?")]:
        assert all(len(f"{name}: {value}") < 1024 for name, value in answer.headers)


def test_no_answer_redirects(client):
    for path in ("/.well-known/est/cpo/cacerts/", "/.well-known//est/cpo/cacerts"):
        assert client.get(path).status_code in {200, 404}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/.well-known/est/nobody/cacerts", 404),
        ("get", "/.well-known/est/cpo/unknown", 404),
        ("get", "/.well-known/est/cpo/simpleenroll", 405),
        ("post", "/.well-known/est/cpo/cacerts", 405),
        ("put", "/.well-known/est/cpo/simpleenroll", 405),
        ("options", "/.well-known/est/cpo/simpleenroll", 405),
        ("post", "/.well-known/est/cpo/fullcmc", 501),
        ("post", "/.well-known/est/cpo/serverkeygen", 501),
        ("post", "/.well-known/est/nobody/serverkeygen", 404),
        ("post", "/.well-known/est/serverkeygen/simpleenroll", 404),  # an operation is no label, and no edition
        ("get", "/opnc/v1/pki/est/cacerts", 400),
    ],
)
def test_errors_are_plain_text(client, method, path, status):
    answer = getattr(client.app.test_client(), method)(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert answer.data
    assert b"<" not in answer.data


def test_what_a_client_accepts_is_never_an_obstacle(client):
    headers = {"Accept": "application/pkcs10", "Content-Transfer-Encoding": "application/pkcs10"}
    assert client.app.test_client().get("/.well-known/cpo/cacerts", headers=headers).status_code == 200


def test_cacerts_can_be_kept_for_partners(home):
    with est_client(home, more='\n[est.labels.closed]\nbranch = "cpo"\ncacerts_open = false\n') as client:
        assert client.anonymous().get("/.well-known/est/closed/cacerts").status_code == 401
        assert client.get("/.well-known/est/closed/cacerts").status_code == 200
        assert client.anonymous().get("/.well-known/est/cpo/cacerts").status_code == 200


def oids_of(answer):
    return list(_walk(base64.b64decode(answer.data)))


def _walk(der):
    for one in elements(der):
        if one[0] == 0x06:
            yield core.ObjectIdentifier.load(one).dotted
        elif one[0] & 0x20:
            yield from _walk(one[2 if one[1] < 0x80 else 2 + (one[1] & 0x7F) :])


def test_csrattrs_name_curve_and_signature_algorithm(client):
    two, twenty = (client.get(f"/.well-known/est/{label}/csrattrs") for label in ("cpo", "cpo:20"))
    assert two.headers["Content-Type"] == "application/csrattrs"
    assert {"1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"} <= set(oids_of(two))
    assert {"1.3.132.0.35", "1.2.840.10045.4.3.4"} <= set(oids_of(twenty))
    assert "1.2.840.113549.1.9.7" not in oids_of(two)


def test_csrattrs_ask_for_a_challenge_password_where_linking_is_required(client):
    assert oids_of(client.get("/.well-known/est/linked/csrattrs"))[0] == "1.2.840.113549.1.9.7"


def test_csrattrs_ask_for_no_credentials(client):
    assert client.anonymous().get("/.well-known/est/csrattrs").status_code == 200


def test_keys_are_made_where_the_settings_allow_it_and_the_request_key_counts_for_nothing(home):
    trust_proxy(home, "\n[est]\nserver_side_keys = true\n")
    with est_client_again(home) as client:
        broken = bytearray(station_csr(key=new_key(KeyAlgorithm.SECP256R1)))
        broken[-1] ^= 1  # RFC 7030 4.4.1: the signature is not looked at
        answer = client.enroll(bytes(broken), operation="serverkeygen")
    assert answer.status_code == 200, answer.data
    boundary = answer.content_type.removeprefix("multipart/mixed; boundary=").encode()
    parts = [part.strip(b"\r\n").split(b"\r\n\r\n") for part in answer.data.split(b"--" + boundary)[1:-1]]
    heads, bodies = zip(*parts, strict=True)
    assert [re.search(rb"Content-Type: (\S+)", head)[1] for head in heads] == [
        b"application/pkcs8",
        b"application/pkcs7-mime;",
    ]
    assert all(b"Content-Transfer-Encoding: base64" in head for head in heads)
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    key = load_der_private_key(base64.b64decode(bodies[0]), None)
    (certificate_der,) = certificates_of(base64.b64decode(bodies[1]))
    assert x509.load_der_x509_certificate(certificate_der).public_key() == key.public_key()


def test_keys_are_made_for_requests_with_keys_that_could_not_be_certified(home):
    trust_proxy(home, "\n[est]\nserver_side_keys = true\n")
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(("C", "DE"), ("CN", STATION)))
    csr_der = builder.sign(rsa_key, hashes.SHA256()).public_bytes(Encoding.DER)
    with est_client_again(home) as client:
        assert client.enroll(csr_der, operation="serverkeygen").status_code == 200


@pytest.mark.parametrize("arc", [37, 54])
def test_a_key_that_shall_be_encrypted_beside_tls_is_not_made(home, arc):
    trust_proxy(home, "\n[est]\nserver_side_keys = true\n")
    oid = bytes.fromhex("060b2a864886f70d01091002") + bytes((arc,))
    attributes = tlv(0xA0, tlv(0x30, oid + tlv(0x31, tlv(0x04, b"which key"))))
    csr_der = raw_csr(subject=name(("C", "DE"), ("CN", STATION)).public_bytes(), attributes=attributes)
    with est_client_again(home) as client:
        answer = client.enroll(csr_der, operation="serverkeygen")
    assert (answer.status_code, answer.data.partition(b":")[0]) == (400, b"key.encryption_unsupported")


def est_client_again(home):
    from contextlib import closing, contextmanager

    from pki_core.runtime import open_runtime
    from webapp import create_app

    @contextmanager
    def opened():
        with closing(open_runtime(home)) as runtime:
            secret = runtime.credentials.make_secret("demo-cpo")
            yield EstClient(runtime, create_app(runtime), basic=("demo-cpo", secret))

    return opened()


CALLED_BY_CERTIFICATE = """
[est.labels.mo]
authentication = ["certificate"]
[est.labels.acme-mo]
branch = "mo"
"""


@pytest.mark.parametrize(("domain", "status"), [("cpo", 401), ("emsp", 403), ("mo", 403), ("acme-emsp", 401)])
def test_who_shows_nothing_under_opncs_parameter_hears_what_its_label_takes(home, domain, status):
    with est_client(home, more=CALLED_BY_CERTIFICATE) as client:
        answer = client.anonymous().post(f"/opnc/v1/pki/est/simpleenroll?caDomain={domain}", b"")
    assert answer.status_code == status
    assert bool(answer.headers.getlist("WWW-Authenticate")) is (status == 401)


def test_opncs_word_for_an_operator_stands_behind_a_customers_prefix_as_well(home):
    with est_client(home, "demo-mo", more=CALLED_BY_CERTIFICATE) as client:
        answer = client.post("/opnc/v1/pki/est/simpleenroll?caDomain=acme-emsp", base64.b64encode(make_csr(EMAID)))
        (certificate_der,) = certificates_in(answer)
        subject = x509.load_der_x509_certificate(certificate_der).subject.rfc4514_string()
        assert subject.startswith(f"CN={EMAID}")
        assert client.post("/opnc/v1/pki/est/simpleenroll?caDomain=other-emsp", b"").status_code == 404
