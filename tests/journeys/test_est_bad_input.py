"""EST and bad input: a plain refusal for each, never a 500, never a stack trace (RFC 7030 4.2.3)."""

import base64
import io
import random
import tracemalloc

import pytest
from cryptography import x509

from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.pem import CSR_LABELS
from tests.builders import make_csr, name, new_key, raw_csr, tlv
from tests.journeys.acts import copy_home
from tests.journeys.est_acts import STATION, certificates_in, enrolled, est_client, station_csr

pytest_plugins = ["tests.journeys.environments"]
PATH = "/.well-known/est/cpo/simpleenroll"


@pytest.fixture(scope="module")
def client(founded_home, tmp_path_factory):
    with est_client(copy_home(founded_home, tmp_path_factory.mktemp("bad") / "home")) as client:
        yield client


def pem(csr_der, label=CSR_LABELS[0]):
    body = base64.encodebytes(csr_der).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


def spaced(csr_der):
    text = base64.b64encode(csr_der)
    return b"\r\n\t ".join(text[start : start + 7] for start in range(0, len(text), 7)) + b"\n"


@pytest.mark.parametrize(
    "encode",
    [
        base64.b64encode,
        base64.encodebytes,
        spaced,
        pem,
        lambda der: pem(der, CSR_LABELS[1]),
        lambda der: b"Some text before\n" + pem(der).replace(b"\n", b"\r\n"),
        bytes,
    ],
    ids=["one-line", "76-columns", "white-space", "pem", "new-pem", "pem-crlf", "der"],
)
def test_every_form_of_a_body_that_clients_send_is_read(client, encode):
    assert len(certificates_in(client.post(PATH, encode(station_csr())))) == 1


@pytest.mark.parametrize("content_type", ["application/pkcs10", "Application/PKCS10; charset=utf-8", None])
def test_the_media_type_is_read_in_any_case_and_with_parameters(client, content_type):
    answer = client.post(PATH, base64.b64encode(station_csr()), content_type=content_type)
    assert answer.status_code == 200


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "application/x-www-form-urlencoded"])
def test_another_media_type_is_415(client, content_type):
    answer = client.post(PATH, base64.b64encode(station_csr()), content_type=content_type)
    assert (answer.status_code, answer.content_type) == (415, "text/plain; charset=utf-8")


BAD = {
    "empty": b"",
    "blank": b" \r\n",
    "not base64": b"!!!!",
    "cut base64": base64.b64encode(station_csr())[:-3],
    "base64 of nothing known": base64.b64encode(b"hello world, this is no request"),
    "cut der": base64.b64encode(station_csr()[:-10]),
    "der with a tail": base64.b64encode(station_csr() + b"\0"),
    "deep nesting": base64.b64encode(b"\x30\x80" * 3000),
    "huge length": base64.b64encode(b"\x30\x84\xff\xff\xff\xff" + bytes(100)),
    "certificate pem": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "unended pem": b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n",
    "two pems": pem(station_csr()) * 2,
    "latin-1 pem": "-----BEGIN CERTIFICATE REQUEST-----\nMÜ==\n-----END CERTIFICATE REQUEST-----".encode("latin-1"),
    "raw binary": bytes(range(256)),
    "no name": base64.b64encode(make_csr(subject=x509.Name([]))),
    "wrong identifier": base64.b64encode(station_csr("NOT A STATION")),
    "wrong key": base64.b64encode(station_csr(key=new_key(KeyAlgorithm.SECP521R1))),
    "bad signature": base64.b64encode(station_csr()[:-1] + b"\x01"),
    "broken attributes": base64.b64encode(raw_csr(attributes=tlv(0xA0, b"\x30\x05\x06\x03\x55"))),
    "password in a sequence": base64.b64encode(
        raw_csr(attributes=tlv(0xA0, tlv(0x30, bytes.fromhex("06092a864886f70d010907") + tlv(0x31, tlv(0x30, b"")))))
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_400_in_plain_text(client, case):
    answer = client.post(PATH, BAD[case])
    assert (answer.status_code, answer.content_type) == (400, "text/plain; charset=utf-8"), answer.data
    assert b"Traceback" not in answer.data
    assert b":" in answer.data  # code and sentence


def test_a_body_over_the_limit_is_413_and_the_connection_ends(client):
    answer = client.post(PATH, b"A" * 65_537)
    assert (answer.status_code, answer.headers["Connection"]) == (413, "close")
    assert client.post(PATH, b"A" * 65_536).status_code == 400


class Endless(io.RawIOBase):
    """A chunked body of ten megabytes that counts what was read of it."""

    def __init__(self):
        self.left = 10_000_000
        self.taken = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        count = min(len(buffer), self.left)
        buffer[:count] = b"A" * count
        self.left -= count
        self.taken += count
        return count


def test_a_chunked_body_without_end_is_cut_off_and_memory_stays_flat(client):
    body = Endless()
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    tracemalloc.start()
    answer = client.post(PATH, None, environ_overrides=environ)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 413
    assert body.taken < 200_000
    assert peak < 2_000_000


def test_a_chunked_request_is_read(client):
    body = io.BytesIO(base64.encodebytes(station_csr()))
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    assert client.post(PATH, None, environ_overrides=environ).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe:\xfd").decode(),
        "Basic " + base64.b64encode(b"no-colon").decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Basic " + base64.b64encode(b"demo-cpo:" + b"x" * 5000).decode(),
        "Basic " + base64.b64encode("demo-cpo:\0\ud800".encode("utf-8", "surrogatepass")).decode(),
        "Bearer",
        "Bearer a.b.c",
        "Bearer " + "x" * 7000,
        "Digest username=x",
        "Negotiate AAAA",
        "\x7f",
    ],
)
def test_unreadable_credentials_are_401(client, authorization):
    headers = {"Authorization": authorization, "Content-Type": "application/pkcs10"}
    answer = client.app.test_client().post(PATH, data=base64.b64encode(station_csr()), headers=headers)
    assert (answer.status_code, answer.data) == (401, b"")


@pytest.mark.parametrize("label", ["%00", "..", "a" * 5000, "cpo%20", "%F0%9F%98%80", "CPO"])
def test_labels_of_every_kind_are_not_found(client, label):
    answer = client.post(f"/.well-known/est/{label}/simpleenroll", base64.b64encode(station_csr(STATION)))
    assert answer.status_code == 404
    assert answer.content_type == "text/plain; charset=utf-8"


def mutated(der, count, seed):
    """The request with one octet changed, removed or doubled, again and again in other places."""
    chosen = random.Random(seed)
    for _ in range(count):
        place = chosen.randrange(len(der))
        octet = bytes([chosen.randrange(256)])
        yield chosen.choice(
            (der[:place] + octet + der[place + 1 :], der[:place] + der[place + 1 :], der[:place] + octet + der[place:])
        )


def change_of_subject():
    value = tlv(0x30, name(("C", "DE"), ("CN", "DEPNCE7")).public_bytes())
    return tlv(0x30, bytes.fromhex("06082b06010505070724") + tlv(0x31, value))


def test_no_broken_request_ever_causes_a_fault(client):
    names = x509.SubjectAlternativeName([x509.DNSName("a.example")])
    plain = station_csr(extensions=[(names, False)])
    for csr_der in mutated(plain, 250, seed=7030):
        assert client.enroll(csr_der).status_code in {200, 400, 403}, csr_der.hex()


def test_no_broken_renewal_ever_causes_a_fault(client):
    key = new_key()
    certificate_der = enrolled(client, key)
    holder = client.with_certificate(certificate_der)
    subject = x509.load_der_x509_certificate(certificate_der).subject.public_bytes()
    password = tlv(0x30, bytes.fromhex("06092a864886f70d010907") + tlv(0x31, tlv(0x13, b"word")))
    for attributes in (change_of_subject(), password):
        csr_der = raw_csr(key, subject=subject, attributes=tlv(0xA0, attributes))
        for broken in mutated(csr_der, 120, seed=len(attributes)):
            answer = holder.enroll(broken, operation="simplereenroll")
            assert answer.status_code in {200, 400, 403}, broken.hex()
