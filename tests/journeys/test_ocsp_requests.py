"""OCSP: shapes of requests and nonces, asked of a responder (O17 to O42)."""

import subprocess

import pytest
from asn1crypto import ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.hsm.soft_key import FileSigner
from pki_core.model.errors import HsmUnavailableError
from pki_core.model.ocsp import OcspStatus
from pki_core.model.signer import KeyAlgorithm
from tests.builders import name, new_key
from tests.journeys.ocsp_acts import Asked
from tests.journeys.serving_acts import pem_file
from tests.ocsp_forms import (
    ACCEPTABLE,
    PREFERRED,
    SERVICE_LOCATOR,
    Response,
    certificate_id,
    extension,
    nonce,
    oid,
    request,
    seconds,
    single,
    tlv,
)

pytest_plugins = ["tests.journeys.environments", "tests.journeys.ocsp_environments"]

UNISSUED = 1234567


@pytest.fixture
def good_id(shared):
    return certificate_id(shared.record, shared.good)


def away(*_arguments):
    raise HsmUnavailableError("away")


def answered(front, der):
    return Response(front.ocsp.answer(der).der)


def test_o17_each_certificate_gets_its_own_answer_in_the_order_asked(shared):
    ids = [certificate_id(shared.record, serial) for serial in (shared.revoked, UNISSUED, shared.good, shared.revoked)]
    response = shared.ask(*ids)
    assert [one.id_der for one in response.singles] == ids
    assert response.statuses == ["revoked", "unknown", "good", "revoked"]


def test_o17_hashes_may_differ_from_one_certificate_to_the_next(shared):
    ids = [certificate_id(shared.record, shared.good, name) for name in ("sha512", "sha1")]
    assert [one.id_der for one in shared.ask(*ids).singles] == ids


def test_o18_certificates_of_two_cas_have_no_one_responder(shared, good_id):
    assert shared.ask(good_id, certificate_id(shared.ca("cpo-sub2"), 5)).status == "unauthorized"


def test_o19_as_many_certificates_as_the_settings_allow_and_no_more(shared, good_id):
    most = shared.policy.most_certificates
    assert len(shared.ask(*[good_id] * most).singles) == most
    assert shared.ask(*[good_id] * (most + 1)).status == "malformed_request"


def test_o20_the_same_certificate_twice_is_answered_twice(shared, good_id):
    assert shared.ask(good_id, good_id).statuses == ["good", "good"]


def test_o21_nothing_asked_is_malformed(shared):
    assert answered(shared, tlv(0x30, tlv(0x30, tlv(0x30)))).status == "malformed_request"


def test_o22_what_is_not_a_request_is_malformed_in_five_octets(shared, good_id):
    for der in (b"", b"\0" * 100, request(good_id)[:-1], request(good_id) + b"\0", b"\x30\x80\0\0"):
        answer = shared.ocsp.answer(der)
        assert (answer.der, answer.cacheable) == (bytes.fromhex("30030a0101"), False)


def test_o23_another_version_is_malformed(shared, good_id):
    der = request(good_id, before=tlv(0xA0, b"\x02\x01\x01"))
    assert answered(shared, der).status == "malformed_request"


@pytest.mark.parametrize("name", ["md5", "sha224"])
def test_o24_hashes_we_do_not_index_by_are_none_of_ours(shared, name):
    assert shared.ask(certificate_id(shared.record, shared.good, name)).status == "unauthorized"


@pytest.mark.parametrize("serial", [0, -1, 1 << 159, 1 << 300])
def test_o25_serials_nobody_can_have_are_unknown(shared, serial):
    assert shared.status(shared.record, serial) == "unknown"


def test_o25_the_negative_of_an_issued_serial_is_not_it(shared):
    assert shared.status(shared.record, shared.good - (1 << 144)) == "unknown"


def test_o26_hashes_of_another_length_are_malformed(shared):
    id_der = certificate_id(shared.record, shared.good, key_hash=bytes(32))
    assert shared.ask(id_der).status == "malformed_request"


def test_o27_and_o28_who_asks_does_not_matter_signed_or_not(shared, good_id):
    name = tlv(0xA1, tlv(0xA4, shared.record.subject_der))
    for after in (b"", tlv(0xA0, tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.1.5")), tlv(0x03, b"\0bad")))):
        assert answered(shared, request(good_id, before=name, after=after)).statuses == ["good"]


@pytest.mark.parametrize("algorithm", [None, KeyAlgorithm.SECP521R1])
def test_o28_a_request_that_openssl_signed_is_answered_like_any_other(asked, tmp_path, algorithm):
    record, serial = asked.issue()
    key = new_key(algorithm or KeyAlgorithm.SECP256R1)
    own = x509.CertificateBuilder(
        name(("CN", "who asks")), name(("CN", "who asks")), key.public_key(), 1, asked.clock.now(), asked.clock.now()
    ).sign(key, hashes.SHA256())
    signer = pem_file(tmp_path / "signer.pem", key, own.public_bytes(Encoding.DER))
    ca = tmp_path / "ca.pem"
    ca.write_bytes(x509.load_der_x509_certificate(record.certificate_der).public_bytes(Encoding.PEM))
    sent = tmp_path / "request.der"
    command = ["openssl", "ocsp", "-issuer", ca, "-serial", f"0x{serial:x}", "-no_nonce", "-reqout", sent]
    subprocess.run([*command, "-signer", signer, "-signkey", signer], check=True, capture_output=True, timeout=30)
    signed = sent.read_bytes()
    assert ocsp.OCSPRequest.load(signed)["optional_signature"].native is not None
    assert answered(asked, signed).statuses == ["good"]


def test_o29_and_o32_extensions_we_do_not_use_are_ignored(shared, good_id):
    unknown, locator = extension("1.2.3", b"x"), extension(SERVICE_LOCATOR, tlv(0x30))
    assert answered(shared, request(requests=[single(good_id, unknown, locator)], extensions=[unknown])).statuses == [
        "good"
    ]


def test_o30_an_unknown_critical_extension_is_malformed(shared, good_id):
    assert shared.ask(good_id, extensions=[extension("1.2.3", b"", critical=True)]).status == "malformed_request"


def test_o31_only_basic_responses_can_be_had_and_only_by_our_algorithm(shared, good_id):
    other = extension(ACCEPTABLE, tlv(0x30, oid("1.2.3")))
    assert shared.ask(good_id, extensions=[other]).status == "malformed_request"
    rsa = tlv(0x30, tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.1.11"), b"\x05\x00")))
    preferred = shared.ask(good_id, extensions=[extension(PREFERRED, rsa)])
    assert preferred.basic["signature_algorithm"]["algorithm"].native == "sha256_ecdsa"


@pytest.mark.parametrize("octets", [0, 129])
def test_o33_and_o37_a_nonce_outside_the_standard_is_malformed(shared, good_id, octets):
    assert shared.ask_with_nonce(good_id, value=bytes(octets)).status == "malformed_request"


@pytest.mark.parametrize("octets", [1, 15, 16, 32, 33, 128])
def test_o34_to_o36_a_nonce_comes_back(shared, good_id, octets):
    response = shared.ask_with_nonce(good_id, value=bytes(range(octets)))
    assert (response.statuses, response.nonce) == (["good"], bytes(range(octets)))


def test_o38_a_critical_nonce_is_a_nonce(shared, good_id):
    assert shared.ask(good_id, extensions=[nonce(b"x" * 16, critical=True)]).nonce == b"x" * 16


def test_o39_and_o40_a_raw_nonce_and_two_of_them_are_malformed(shared, good_id):
    raw = extension("1.3.6.1.5.5.7.48.1.2", b"0123456789abcdef")
    for extensions in ([raw], [nonce(b"1"), nonce(b"2")]):
        assert shared.ask(good_id, extensions=extensions).status == "malformed_request"


def test_o41_without_nonce_the_same_bytes_come_again_and_with_one_never(shared, good_id):
    plain, asked = request(good_id), request(good_id, extensions=[nonce(b"x" * 32)])
    first, second = shared.ocsp.answer(plain), shared.ocsp.answer(plain)
    assert first.der == second.der == shared.ocsp.answer(plain).der
    assert first.cacheable
    live = [shared.ocsp.answer(asked) for _ in range(2)]
    assert live[0].der != live[1].der  # ECDSA draws anew for each signature
    assert [one.cacheable for one in live] == [False, False]
    assert shared.ocsp.answer(plain).der == first.der


def test_o41_an_answer_that_may_change_any_moment_is_not_kept(shared):
    answer = shared.ocsp.answer(request(certificate_id(shared.record, UNISSUED)))
    assert (answer.status, answer.cacheable) == (OcspStatus.SUCCESSFUL, False)


def test_o41_one_that_may_change_any_moment_is_enough_to_keep_nothing(shared, good_id):
    for ids in ((good_id, certificate_id(shared.record, UNISSUED)), (certificate_id(shared.record, UNISSUED), good_id)):
        answer = shared.ocsp.answer(request(*ids))
        assert (answer.status, answer.cacheable) == (OcspStatus.SUCCESSFUL, False)
        assert shared.ocsp.answer(request(*ids)).der != answer.der  # ECDSA draws anew: it was not remembered


def test_an_answer_about_several_is_good_as_long_as_the_first_of_them(asked):
    record = asked.ca("mo-sub1")
    ids = [certificate_id(record, asked.serial_of_ca("mo-sub2")), certificate_id(record, UNISSUED)]
    ends = [asked.policy.ca_seconds, asked.policy.leaf_seconds]
    assert ends[0] != ends[1]
    for order in (ids, ids[::-1]):
        answer = asked.ocsp.answer(request(*order))
        assert answer.next_update - answer.this_update == min(ends)
        assert {seconds(one.next_update) - answer.this_update for one in Response(answer.der).singles} == set(ends)


def test_o41_what_is_remembered_goes_by_the_whole_id_and_by_all_of_them(shared):
    ids = [certificate_id(shared.record, shared.good, name) for name in ("sha1", "sha256")]
    for asked in ([ids[0]], [ids[1]], ids, ids[::-1], [ids[0]]):
        assert [one.id_der for one in shared.ask(*asked).singles] == asked


def test_o42_while_the_token_is_away_a_nonce_gets_the_answer_without_one(asked, monkeypatch):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    before = asked.ask(id_der)
    monkeypatch.setattr(FileSigner, "sign", away)
    response = asked.ask_with_nonce(id_der)
    assert (response.nonce, response.der) == (None, before.der)


def test_o42_what_was_signed_ahead_serves_when_the_token_is_away(asked, monkeypatch):
    record, serial = asked.issue()
    asked.runtime.ocsp_refresh.run()
    asked.clock.advance(hours=20)  # past half its life, so that a new one is wanted
    monkeypatch.setattr(FileSigner, "sign", away)
    assert asked.status(record, serial) == "good"
    assert asked.ocsp.trouble == ""
    asked.clock.advance(hours=5)
    assert Asked(asked.runtime).status(record, serial) == "try_later"
