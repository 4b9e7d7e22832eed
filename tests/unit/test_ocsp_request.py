"""OCSP requests: what is read, and what is malformed (RFC 6960 4.1, RFC 9654)."""

import hashlib

import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.ocsp_request import _kept_certificate_id, parse_request
from pki_core.wire.ocsp_response import CertificateIdForm
from tests.builders import MemorySigner, issuer_record
from tests.ocsp_forms import (
    ACCEPTABLE,
    PREFERRED,
    SERVICE_LOCATOR,
    certificate_id,
    extension,
    hash_algorithm,
    integer,
    nonce,
    oid,
    request,
    single,
    tlv,
)

ISSUER = issuer_record(MemorySigner())
SERIAL = 0x01_23_45_67_89_AB_CD_EF_01_23_45_67_89_AB_CD_EF_01_23
ID = certificate_id(ISSUER, SERIAL)
MOST = 10


def parse(der, most=MOST):
    return parse_request(der, most)


def is_malformed(der, most=MOST):
    with pytest.raises(MalformedError):
        parse(der, most)


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("parameters", [b"\x05\x00", b""], ids=["NULL", "absent"])
def test_a_certificate_id_is_read_and_its_bytes_kept_whole(name, parameters):
    der = certificate_id(ISSUER, SERIAL, name, algorithm=hash_algorithm(name, parameters))
    (one,) = parse(request(der)).certificate_ids
    assert (one.der, one.hash_algorithm, one.serial) == (der, name, "0123456789abcdef0123456789abcdef0123")
    assert one.issuer_name_hash == hashlib.new(name, ISSUER.subject_der).digest()


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, SERIAL, (1 << 159) - 1])
def test_the_ids_we_sign_ahead_for_are_those_clients_write(name, serial):
    text = serial.to_bytes((serial.bit_length() + 7) // 8, "big").hex()
    der = CertificateIdForm(name, ISSUER.subject_der, ISSUER.spki_der).der(text)
    assert der == certificate_id(ISSUER, serial, name)
    assert parse(request(der)).certificate_ids[0].serial == text


def test_o17_several_ids_come_out_in_order():
    ids = [certificate_id(ISSUER, serial) for serial in (3, 1, 2)]
    assert [one.der for one in parse(request(*ids)).certificate_ids] == ids


def test_a_certificate_id_seen_before_is_judged_where_it_stands():
    assert parse(request(ID)).certificate_ids == parse(request(ID)).certificate_ids
    is_malformed(request(ID)[:-1])
    is_malformed(tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, ID + ID)))))
    bad = certificate_id(ISSUER, SERIAL, "sha1", algorithm=hash_algorithm("sha256"))
    is_malformed(request(bad))
    is_malformed(request(bad))


def test_only_certificate_ids_as_long_as_those_of_clients_are_kept():
    long = tlv(0x30, tlv(0x30, oid("1.2.3.4")), tlv(0x04, bytes(500)), tlv(0x04, bytes(20)), integer(1))
    before = _kept_certificate_id.cache_info().currsize
    assert [parse(request(long)).certificate_ids[0].der for _ in range(2)] == [long, long]
    assert _kept_certificate_id.cache_info().currsize == before
    longest = certificate_id(ISSUER, (1 << 159) - 1, "sha512")
    found = parse(request(longest)).certificate_ids[0]
    assert parse(request(longest)).certificate_ids[0] is found


def test_o19_the_cap_counts_ids():
    assert len(parse(request(*[ID] * MOST)).certificate_ids) == MOST
    is_malformed(request(*[ID] * (MOST + 1)))


def test_o20_the_same_id_twice_is_two_questions():
    assert len(parse(request(ID, ID)).certificate_ids) == 2


def test_o21_a_request_for_nothing_is_malformed():
    is_malformed(tlv(0x30, tlv(0x30, tlv(0x30))))


GOOD = request(ID)
NOT_DER = {
    "nothing": b"",
    "one octet": b"\x30",
    "noise": bytes(range(64)),
    "cut off": GOOD[:-1],
    "octets behind it": GOOD + b"\0",
    "an indefinite length": b"\x30\x80" + GOOD[2:] + b"\0\0",
    "another tag": b"\x31" + GOOD[1:],
    "a length in the long form that fits the short one": b"\x30\x81" + GOOD[1:],
    "a length with a leading zero": b"\x30\x82\x00" + GOOD[1:2] + GOOD[2:],
    "a length of four octets": b"\x30\x84\x00\x00\x00" + GOOD[1:2] + GOOD[2:],
    "a length of no octets": b"\x30\xff" + GOOD[1:],
    "an element longer than what holds it": tlv(0x30, b"\x30\x7f" + GOOD[4:]),
    "a tag number of several octets": tlv(0x30, tlv(0x30, b"\x1f\x81\x01\x00")),
    "a set for the sequence of requests": tlv(0x30, tlv(0x30, tlv(0x31, single(ID)))),
    "an octet string for a request": tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x04, ID)))),
    "a request without an id": tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30)))),
    "an id with a fifth part": request(tlv(0x30, ID[2:], b"\x05\x00")),
    "an id without serial": request(tlv(0x30, ID[2 : -2 - 18])),
    "a hash that is no octet string": request(ID.replace(b"\x04\x14", b"\x0c\x14", 1)),
    "parameters of SHA-1 that are not NULL": request(
        certificate_id(ISSUER, 1, algorithm=hash_algorithm("sha1", integer(1)))
    ),
    "an OID without content": request(certificate_id(ISSUER, 1, algorithm=tlv(0x30, tlv(0x06)))),
    "an OID that does not end": request(certificate_id(ISSUER, 1, algorithm=tlv(0x30, tlv(0x06, b"\x2b\x8e")))),
    "an OID with a padded part": request(
        certificate_id(ISSUER, 1, algorithm=tlv(0x30, tlv(0x06, b"\x2b\x80\x0e\x03\x02\x1a")))
    ),
    "an empty serial": request(certificate_id(ISSUER, b"\x02\x00")),
    "a serial with a needless zero": request(certificate_id(ISSUER, b"\x02\x02\x00\x01")),
    "a negative serial with a needless octet": request(certificate_id(ISSUER, b"\x02\x02\xff\x80")),
    "something else behind the requests": tlv(0x30, tlv(0x30, tlv(0x30, single(ID)), tlv(0xA3))),
    "something behind the extensions": tlv(
        0x30, tlv(0x30, tlv(0x30, single(ID)), tlv(0xA2, tlv(0x30, nonce(b"1"))), tlv(0xA2, tlv(0x30)))
    ),
    "no signature where one belongs": request(ID, after=tlv(0x30)),
    "two signatures": request(ID, after=tlv(0xA0) * 2),
    "an empty list of extensions": tlv(0x30, tlv(0x30, tlv(0x30, single(ID)), tlv(0xA2, tlv(0x30)))),
    "two lists of extensions": tlv(0x30, tlv(0x30, tlv(0x30, single(ID)), tlv(0xA2, tlv(0x30, nonce(b"1")) * 2))),
    "an extension of one part": request(ID, extensions=[tlv(0x30, oid(SERVICE_LOCATOR))]),
    "an extension that is no sequence": request(ID, extensions=[tlv(0x31, nonce(b"1")[2:])]),
    "criticality that says FALSE": request(
        ID, extensions=[tlv(0x30, oid(SERVICE_LOCATOR), tlv(0x01, b"\0"), tlv(0x04, b"1"))]
    ),
    "criticality that is any number": request(
        ID, extensions=[tlv(0x30, oid(SERVICE_LOCATOR), tlv(0x01, b"\x01"), tlv(0x04, b"1"))]
    ),
    "something else behind an id": request(requests=[tlv(0x30, ID, tlv(0xA1, tlv(0x30, nonce(b"1"))))]),
    "seventeen extensions": request(ID, extensions=[extension(f"1.2.3.{n}", b"") for n in range(17)]),
}


@pytest.mark.parametrize("der", NOT_DER.values(), ids=NOT_DER)
def test_o22_what_is_not_der_of_the_standard_is_malformed(der):
    is_malformed(der)


def test_o23_another_version_is_malformed():
    is_malformed(request(ID, before=tlv(0xA0, integer(1))))
    is_malformed(request(ID, before=tlv(0xA0, integer(0))))  # the default, which DER leaves out


def test_o24_a_hash_we_do_not_know_is_told_apart_from_what_cannot_be_read():
    md5 = certificate_id(ISSUER, 1, "md5")
    assert parse(request(md5)).certificate_ids[0].hash_algorithm == ""
    other = certificate_id(ISSUER, 1, algorithm=tlv(0x30, oid("1.2.3.4"), tlv(0x30)))
    assert parse(request(other)).certificate_ids[0].hash_algorithm == ""


@pytest.mark.parametrize(
    ("serial", "stored"),
    [(0, "00"), (-1, ""), (-(1 << 100), ""), ((1 << 160) - 1, ""), (1 << 400, ""), (0x80, "80"), (255, "ff")],
)
def test_o25_serials_nobody_can_have_are_read_and_match_nothing(serial, stored):
    assert parse(request(certificate_id(ISSUER, serial))).certificate_ids[0].serial == stored


@pytest.mark.parametrize("field", ["name_hash", "key_hash"])
@pytest.mark.parametrize(("name", "octets"), [("sha1", 19), ("sha1", 32), ("sha256", 20), ("sha384", 0)])
def test_o26_hashes_of_another_length_are_malformed(field, name, octets):
    is_malformed(request(certificate_id(ISSUER, 1, name, **{field: bytes(octets)})))


def test_o27_and_o28_names_and_signatures_of_requestors_are_stepped_over():
    name = tlv(0xA1, tlv(0xA4, ISSUER.subject_der))
    assert parse(request(ID, before=name)).certificate_ids[0].der == ID
    assert parse(request(ID, before=name, after=tlv(0xA0, tlv(0x30, b"\x05\x00")))).certificate_ids[0].der == ID


def test_o29_unknown_extensions_that_are_not_critical_are_ignored():
    asked = request(requests=[single(ID, extension("1.2.3", b"x"))], extensions=[extension("1.2.4", b"y")])
    assert parse(asked).certificate_ids[0].der == ID


def test_o30_unknown_critical_extensions_are_malformed():
    is_malformed(request(ID, extensions=[extension("1.2.4", b"y", critical=True)]))
    is_malformed(request(requests=[single(ID, extension("1.2.3", b"x", critical=True))]))


def test_o31_answers_of_other_types_than_ours_cannot_be_asked_for():
    basic, other = oid("1.3.6.1.5.5.7.48.1.1"), oid("1.2.3.4")
    parse(request(ID, extensions=[extension(ACCEPTABLE, tlv(0x30, other, basic), critical=True)]))
    is_malformed(request(ID, extensions=[extension(ACCEPTABLE, tlv(0x30, other))]))
    is_malformed(request(ID, extensions=[extension(ACCEPTABLE, b"")]))
    is_malformed(request(ID, extensions=[extension(ACCEPTABLE, tlv(0x30, basic) + b"\0")]))
    parse(request(ID, extensions=[extension(PREFERRED, tlv(0x30))]))


def test_o32_a_service_locator_is_ignored():
    assert parse(request(requests=[single(ID, extension(SERVICE_LOCATOR, tlv(0x30)))])).certificate_ids[0].der == ID


@pytest.mark.parametrize("octets", [0, 129, 500])
def test_o33_and_o37_a_nonce_of_no_or_too_many_octets_is_malformed(octets):
    is_malformed(request(ID, extensions=[nonce(bytes(octets))]))


@pytest.mark.parametrize("octets", [1, 15, 16, 32, 33, 128])
@pytest.mark.parametrize("critical", [False, True])
def test_o34_to_o38_a_nonce_of_any_other_length_is_read(octets, critical):
    value = bytes(range(octets))
    assert parse(request(ID, extensions=[nonce(value, critical=critical)])).nonce == value


def test_o39_a_nonce_without_its_own_octet_string_is_malformed():
    is_malformed(request(ID, extensions=[extension("1.3.6.1.5.5.7.48.1.2", b"0123456789abcdef")]))
    is_malformed(request(ID, extensions=[extension("1.3.6.1.5.5.7.48.1.2", tlv(0x04, b"0123456789") + b"\0")]))


def test_o40_an_extension_stands_there_once():
    is_malformed(request(ID, extensions=[nonce(b"1"), nonce(b"1")]))
    is_malformed(request(ID, extensions=[extension("1.2.3", b""), extension("1.2.3", b"")]))


def test_o41_without_a_nonce_there_is_none():
    assert parse(request(ID)).nonce is None


@pytest.mark.parametrize("text", ["", "30", "3000", "30023000", "300430023000", "3006300430023000", "30023100"])
def test_empty_sequences_are_malformed_at_every_depth(text):
    is_malformed(bytes.fromhex(text))
