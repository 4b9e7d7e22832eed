"""To-be-signed bytes taken apart (RFC 5280 4.1.2): every part as it stands, and only strict DER."""

import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.certificate import SIGNATURE_ALGORITHM_DER
from pki_core.wire.extensions import AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, KEY_USAGE
from pki_core.wire.tbs import GENERALIZED_TIME_TAG, UTC_TIME_TAG, decode_tbs
from tests.builders import (
    EMAID,
    INTEGER,
    SET,
    content_of,
    draft,
    elements_of,
    issuer_for,
    issuer_name,
    prepare,
    profile,
    sequence,
    some_key,
    spki,
    tlv,
)

VERSION, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, SPKI, EXTENSIONS = range(8)


@pytest.fixture(scope="module")
def prepared():
    wanted = profile()
    return prepare(issuer_for(wanted), wanted)[0]


@pytest.fixture
def parts(prepared):
    return elements_of(prepared.tbs_der)


def test_every_part_is_found_as_it_stands(prepared):
    tbs = decode_tbs(prepared.tbs_der)
    assert (tbs.version, tbs.serial) == (2, prepared.serial)
    assert tbs.signature_algorithm_der in SIGNATURE_ALGORITHM_DER.values()
    assert tbs.issuer_der == issuer_name("mo-sub2").public_bytes()
    assert tbs.not_before == (UTC_TIME_TAG, b"260301110000Z")
    assert tbs.not_after == (UTC_TIME_TAG, b"280229110000Z")
    assert tbs.subject == (
        ("2.5.4.6", 0x13, b"DE"),
        ("2.5.4.10", 0x13, b"Test Mobility"),
        ("0.9.2342.19200300.100.1.25", 0x16, b"MO"),
        ("2.5.4.3", 0x13, EMAID.encode()),
    )
    assert tbs.spki_der == spki(some_key())
    assert len(tbs.subject_key_identifier) == 8
    assert [(oid, critical) for oid, critical, _ in tbs.other_extensions[:3]] == [
        (BASIC_CONSTRAINTS, True),
        (KEY_USAGE, True),
        (AUTHORITY_KEY_IDENTIFIER, False),
    ]


def test_times_are_told_with_their_type():
    wanted = profile("contract_leaf_20", "iso20_generalized_time")
    issuer = issuer_for(wanted)
    tbs = decode_tbs(prepare(issuer, wanted, draft(key=some_key(wanted.key_algorithms[0])))[0].tbs_der)
    assert tbs.not_before == (GENERALIZED_TIME_TAG, b"20260301110000Z")


def replaced(parts, index, element):
    return sequence(*parts[:index], element, *parts[index + 1 :])


def extension(oid, value, critical=b""):
    return sequence(bytes.fromhex(oid), critical, tlv(4, value))


SKI = "0603551d0e"
MUTATIONS = {
    "nothing": lambda _: b"",
    "trailing octets": lambda parts: sequence(*parts) + b"\0",
    "cut off": lambda parts: sequence(*parts)[:-1],
    "one part more": lambda parts: sequence(*parts, b"\x05\0"),
    "no version": lambda parts: sequence(*parts[1:]),
    "no extensions": lambda parts: sequence(*parts[:-1]),
    "indefinite length": lambda parts: b"\x30\x80" + b"".join(parts) + b"\0\0",
    "a serial in more octets than it needs": lambda parts: replaced(parts, SERIAL, tlv(INTEGER, b"\0\x01")),
    "no serial": lambda parts: replaced(parts, SERIAL, tlv(INTEGER, b"")),
    "one time only": lambda parts: replaced(parts, VALIDITY, sequence(elements_of(parts[VALIDITY])[0])),
    "three times": lambda parts: replaced(parts, VALIDITY, sequence(*elements_of(parts[VALIDITY]) * 2)),
    "an RDN of several parts": lambda parts: replaced(
        parts, SUBJECT, sequence(tlv(SET, b"".join(map(content_of, elements_of(parts[SUBJECT])[:2]))))
    ),
    "an RDN of nothing": lambda parts: replaced(parts, SUBJECT, sequence(tlv(SET, b""))),
    "an extension of nothing": lambda parts: replaced(parts, EXTENSIONS, tlv(0xA3, sequence(sequence()))),
    "criticality FALSE written out": lambda parts: replaced(
        parts, EXTENSIONS, tlv(0xA3, sequence(extension(SKI, b"\x04\x01a", bytes.fromhex("010100"))))
    ),
    "a criticality of 1": lambda parts: replaced(
        parts, EXTENSIONS, tlv(0xA3, sequence(extension(SKI, b"\x04\x01a", bytes.fromhex("010101"))))
    ),
    "a key identifier that is no OCTET STRING": lambda parts: replaced(
        parts, EXTENSIONS, tlv(0xA3, sequence(extension(SKI, b"\x03\x01a")))
    ),
    "a key identifier with more behind it": lambda parts: replaced(
        parts, EXTENSIONS, tlv(0xA3, sequence(extension(SKI, b"\x04\x01ab")))
    ),
    "a key identifier of nothing": lambda parts: replaced(parts, EXTENSIONS, tlv(0xA3, sequence(extension(SKI, b"")))),
}


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS)
def test_what_is_not_der_of_rfc_5280_is_malformed(parts, mutate):
    with pytest.raises(MalformedError):
        decode_tbs(mutate(parts))


def test_without_a_key_identifier_no_other_extension_is_taken_for_one(parts):
    others = [one for one in elements_of(content_of(parts[EXTENSIONS])) if bytes.fromhex(SKI) not in one]
    tbs = decode_tbs(replaced(parts, EXTENSIONS, tlv(0xA3, sequence(*others))))
    assert tbs.subject_key_identifier is None
    assert len(tbs.other_extensions) == len(others)


def test_a_critical_key_identifier_is_none(parts):
    critical = extension(SKI, b"\x04\x01a", bytes.fromhex("0101ff"))
    tbs = decode_tbs(replaced(parts, EXTENSIONS, tlv(0xA3, sequence(critical))))
    assert (tbs.subject_key_identifier, len(tbs.other_extensions)) == (None, 1)


def test_a_second_or_critical_key_identifier_is_shown_as_another_extension(parts):
    own = next(element for element in elements_of(content_of(parts[EXTENSIONS])) if bytes.fromhex(SKI) in element)
    critical = extension(SKI, b"\x04\x01a", bytes.fromhex("0101ff"))
    tbs = decode_tbs(replaced(parts, EXTENSIONS, tlv(0xA3, sequence(own, own, critical))))
    assert [(oid, is_critical) for oid, is_critical, _ in tbs.other_extensions] == [
        ("2.5.29.14", False),
        ("2.5.29.14", True),
    ]
