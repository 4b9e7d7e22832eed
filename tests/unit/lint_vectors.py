"""Bytes that trip the structural lints: each made by changing good ones in one place, with the code that is due."""

from dataclasses import dataclass, replace
from datetime import timedelta

from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.certificate import CertificateTemplate, IssuerNames, key_identifier_of
from tests.builders import (
    EMAID,
    INTEGER,
    NOW,
    OCTET_STRING,
    SET,
    UTF8,
    content_of,
    elements_of,
    issuer_name,
    new_key,
    profile,
    sequence,
    some_key,
    spki,
    tlv,
)

SERIAL = 0x01_00112233445566778899AABBCCDDEEFF_42
SUBJECT = (("C", "DE"), ("O", "Test Mobility"), ("DC", "MO"), ("CN", EMAID))
WINDOW = NOW - timedelta(days=30), NOW + timedelta(days=9 * 365)
VALIDITY = NOW, NOW + timedelta(days=730)
ISSUER = IssuerNames(
    label="the-ca",
    subject_der=issuer_name("the-ca").public_bytes(),
    key_identifier=bytes.fromhex("4123456789abcdef"),
    algorithm=KeyAlgorithm.SECP256R1,
)
VERSION_AT, SERIAL_AT, ALGORITHM_AT, ISSUER_AT, VALIDITY_AT, SUBJECT_AT, SPKI_AT, EXTENSIONS_AT = range(8)


@dataclass(frozen=True)
class Question:
    """What a lint is asked: the bytes, and what was asked for."""

    tbs_der: bytes
    serial: int = SERIAL
    subject: tuple = SUBJECT
    spki_der: bytes = b""


def good(wanted=None, **changes):
    """Good bytes under a profile, asked for as they are."""
    asked = {"serial": SERIAL, "subject": SUBJECT, "spki_der": spki(some_key()), "validity": VALIDITY, **changes}
    template = CertificateTemplate(wanted or profile(), ISSUER)
    tbs_der = template.tbs(asked["serial"], asked["subject"], asked["spki_der"], asked.pop("validity"))
    return Question(tbs_der=tbs_der, **asked)


def with_part(index, element, **asked):
    """Good bytes with one of their eight parts replaced."""
    question = good()
    parts = elements_of(question.tbs_der)
    return replace(question, tbs_der=sequence(*parts[:index], element, *parts[index + 1 :]), **asked)


def with_times(first, last):
    return with_part(VALIDITY_AT, sequence(first, last))


def with_rdns(edit, **asked):
    rdns = elements_of(elements_of(good().tbs_der)[SUBJECT_AT])
    return with_part(SUBJECT_AT, sequence(*edit(rdns)), **asked)


def with_extensions(edit):
    extensions = elements_of(content_of(elements_of(good().tbs_der)[EXTENSIONS_AT]))
    return with_part(EXTENSIONS_AT, tlv(0xA3, sequence(*edit(extensions))))


def without(extensions, oid):
    return [one for one in extensions if bytes.fromhex(oid) not in one]


def extension(oid, value, *, critical=False):
    return sequence(bytes.fromhex(oid), b"\x01\x01\xff" if critical else b"", tlv(OCTET_STRING, bytes.fromhex(value)))


def utc(text):
    return tlv(0x17, text.encode())


def generalized(text):
    return tlv(0x18, text.encode())


def rdn(oid, tag, text):
    return tlv(SET, sequence(bytes.fromhex(oid), tlv(tag, text)))


FIRST, LAST = utc("260301120000Z"), utc("280229120000Z")
KEY_IDENTIFIER = key_identifier_of(spki(some_key()), 8)
BC, KU, SKI, AKI, EKU, AIA = (
    "0603551d13",
    "0603551d0f",
    "0603551d0e",
    "0603551d23",
    "0603551d25",
    "06082b06010505070101",
)
CN, ORGANIZATION, COUNTRY, DC = "0603550403", "060355040a", "0603550406", "060a0992268993f22c640119"
OCSP_ACCESS = "3022302006082b060105050730018614" + b"http://ocsp.test/v2g".hex()
LONG_SERIAL = 1 << 159  # 160 bits: 21 octets with the sign bit
OTHER_EMAID = "DEPNCC00000002C"

VECTORS = {
    # code, question
    "version 1": ("lint.der", with_part(VERSION_AT, b"")),
    "version 2": ("lint.version", with_part(VERSION_AT, tlv(0xA0, tlv(INTEGER, b"\x01")))),
    "version 4": ("lint.version", with_part(VERSION_AT, tlv(0xA0, tlv(INTEGER, b"\x03")))),
    "serial 0": ("lint.serial", good(serial=0)),
    "serial 0 in place of the reserved one": ("lint.serial", with_part(SERIAL_AT, tlv(INTEGER, b"\0"))),
    "serial negative": ("lint.serial", good(serial=-SERIAL)),
    "serial negative in place of the reserved one": ("lint.serial", with_part(SERIAL_AT, tlv(INTEGER, b"\xff"))),
    "serial of 21 octets": ("lint.serial", good(serial=LONG_SERIAL)),
    "another serial than the reserved one": ("lint.serial", replace(good(), serial=SERIAL + 1)),
    "another serial of the same length": ("lint.serial", replace(good(serial=SERIAL + 1), serial=SERIAL)),
    "signature algorithm of another hash": (
        "lint.signature_algorithm",
        with_part(ALGORITHM_AT, bytes.fromhex("300a06082a8648ce3d040304")),
    ),
    "signature algorithm with NULL parameters": (
        "lint.signature_algorithm",
        with_part(ALGORITHM_AT, bytes.fromhex("300c06082a8648ce3d0403020500")),
    ),
    "another issuer": ("lint.issuer", with_part(ISSUER_AT, issuer_name("other-ca").public_bytes())),
    "the issuer in another string type": (
        "lint.issuer",
        with_part(ISSUER_AT, ISSUER.subject_der.replace(b"\x13\x0bpncpki", b"\x0c\x0bpncpki")),
    ),
    "GeneralizedTime before 2050": ("lint.time", with_times(FIRST, generalized("20280229120000Z"))),
    "UTCTime that means 1950": ("lint.time", with_times(FIRST, utc("500101000000Z"))),
    "UTCTime without seconds": ("lint.time", with_times(FIRST, utc("2802291200Z"))),
    "UTCTime of another zone": ("lint.time", with_times(FIRST, utc("280229120000+0100"))),
    "GeneralizedTime with fractions": ("lint.time", with_times(FIRST, generalized("20510301120000.5Z"))),
    "a day that does not exist": ("lint.time", with_times(FIRST, utc("270229120000Z"))),
    "a time of letters": ("lint.time", with_times(FIRST, utc("2802291200 0Z"))),
    "a time that is no time": ("lint.time", with_times(FIRST, tlv(UTF8, b"280229120000Z"))),
    "reversed validity": ("lint.validity", with_times(LAST, FIRST)),
    "a validity of no length": ("lint.validity", with_times(FIRST, FIRST)),
    "valid before its issuer": (
        "lint.validity",
        good(validity=(WINDOW[0] - timedelta(seconds=1), VALIDITY[1])),
    ),
    "valid after its issuer": ("lint.validity", good(validity=(NOW, WINDOW[1] + timedelta(seconds=1)))),
    "no domain component": ("lint.domain_component", good(subject=(SUBJECT[0], SUBJECT[1], SUBJECT[3]))),
    "another domain component": (
        "lint.domain_component",
        good(subject=(*SUBJECT[:2], ("DC", "CPO"), SUBJECT[3])),
    ),
    "the domain component as UTF8String": (
        "lint.subject",
        with_rdns(lambda rdns: [*rdns[:2], rdn(DC, UTF8, b"MO"), rdns[3]]),
    ),
    "common name twice": ("lint.subject", good(subject=(*SUBJECT, ("CN", EMAID)))),
    "common name twice, asked for once": ("lint.subject", with_rdns(lambda rdns: [*rdns, rdns[-1]])),
    "organisation twice": ("lint.subject", good(subject=(SUBJECT[0], SUBJECT[1], *SUBJECT[1:]))),
    "no common name": ("lint.subject", good(subject=SUBJECT[:3])),
    "a part missing": ("lint.subject", with_rdns(lambda rdns: rdns[1:])),
    "another common name": (
        "lint.subject",
        replace(good(subject=(*SUBJECT[:3], ("CN", OTHER_EMAID))), subject=SUBJECT),
    ),
    "another organisation": (
        "lint.subject",
        with_rdns(lambda rdns: [rdns[0], rdn(ORGANIZATION, 0x13, b"Other"), *rdns[2:]]),
    ),
    "parts in another order": ("lint.subject", with_rdns(lambda rdns: [rdns[1], rdns[0], *rdns[2:]])),
    "the common name as TeletexString": (
        "lint.subject",
        with_rdns(lambda rdns: [*rdns[:3], rdn(CN, 0x14, EMAID.encode())]),
    ),
    "the country as UTF8String": ("lint.subject", with_rdns(lambda rdns: [rdn(COUNTRY, UTF8, b"DE"), *rdns[1:]])),
    "the common name under another OID": (
        "lint.subject",
        with_rdns(lambda rdns: [*rdns[:3], rdn("060355040b", 0x13, EMAID.encode())]),
    ),
    "a PrintableString of other characters": (
        "lint.subject",
        with_rdns(
            lambda rdns: [rdns[0], rdn(ORGANIZATION, 0x13, b"a@b"), *rdns[2:]],
            subject=(SUBJECT[0], ("O", "a@b"), *SUBJECT[2:]),
        ),
    ),
    "a PrintableString of other characters, as long as a known one": (
        "lint.subject",
        with_rdns(
            lambda rdns: [*rdns[:3], rdn(CN, 0x13, b"DEPNC@00000001A")],
            subject=(*SUBJECT[:3], ("CN", "DEPNC@00000001A")),
        ),
    ),
    "another organisation asked for": ("lint.subject", replace(good(), subject=(SUBJECT[0], ("O", "X"), *SUBJECT[2:]))),
    "another domain component asked for": (
        "lint.subject",
        replace(good(), subject=(*SUBJECT[:2], ("DC", "OEM"), SUBJECT[3])),
    ),
    "a PrintableString of UTF-8": (
        "lint.subject",
        with_rdns(
            lambda rdns: [*rdns[:3], rdn(CN, 0x13, "Zoë4567890123".encode())],
            subject=(*SUBJECT[:3], ("CN", "Zoë4567890123")),
        ),
    ),
    "a common name of 65 characters": ("lint.subject", good(subject=(*SUBJECT[:3], ("CN", "x" * 65)))),
    "an empty organisation": ("lint.subject", good(subject=(SUBJECT[0], ("O", ""), *SUBJECT[2:]))),
    "a country of three letters": ("lint.subject", good(subject=(("C", "DEU"), *SUBJECT[1:]))),
    "two parts in one RDN": (
        "lint.der",
        with_rdns(lambda rdns: [tlv(SET, content_of(rdns[0]) + content_of(rdns[1])), *rdns[2:]]),
    ),
    "another key": ("lint.public_key", replace(good(spki_der=spki(new_key())), spki_der=spki(some_key()))),
    "the identifier of another key": (
        "lint.subject_key_identifier",
        with_extensions(lambda extensions: [*without(extensions, SKI), extension(SKI, "04084123456789abcdef")]),
    ),
    "the identifier of another key where the key's was": (
        "lint.subject_key_identifier",
        with_extensions(
            lambda extensions: [one.replace(KEY_IDENTIFIER, bytes.fromhex("4123456789abcdef")) for one in extensions]
        ),
    ),
    "no subject key identifier": ("lint.subject_key_identifier", with_extensions(lambda one: without(one, SKI))),
    "a critical subject key identifier": (
        "lint.subject_key_identifier",
        with_extensions(lambda one: [*without(one, SKI), extension(SKI, "04084123456789abcdef", critical=True)]),
    ),
    "two subject key identifiers": (
        "lint.extension",
        with_extensions(lambda extensions: [*extensions, extension(SKI, "04084123456789abcdef")]),
    ),
    "an extension twice": ("lint.extension", with_extensions(lambda extensions: [*extensions, extensions[-1]])),
    "an unknown extension": (
        "lint.extension",
        with_extensions(lambda extensions: [*extensions, extension("0603551d11", "30078205622e6e6574")]),
    ),
    "no basic constraints": ("lint.extension", with_extensions(lambda one: without(one, BC))),
    "basic constraints of a CA": (
        "lint.extension",
        with_extensions(lambda one: [extension(BC, "30030101ff", critical=True), *without(one, BC)]),
    ),
    "basic constraints not critical": (
        "lint.extension",
        with_extensions(lambda one: [extension(BC, "3000"), *without(one, BC)]),
    ),
    "key usage not critical": (
        "lint.extension",
        with_extensions(lambda one: [*without(one, KU), extension(KU, "030203e8")]),
    ),
    "key usage with keyCertSign": (
        "lint.extension",
        with_extensions(lambda one: [*without(one, KU), extension(KU, "030202ec", critical=True)]),
    ),
    "key usage with a bit less": (
        "lint.extension",
        with_extensions(lambda one: [*without(one, KU), extension(KU, "03020780", critical=True)]),
    ),
    "no key usage": ("lint.extension", with_extensions(lambda one: without(one, KU))),
    "an extended key usage": (
        "lint.extension",
        with_extensions(lambda extensions: [*extensions, extension(EKU, "300a06082b06010505070301")]),
    ),
    "another authority key identifier": (
        "lint.extension",
        with_extensions(lambda one: [*without(one, AKI), extension(AKI, "300a80084123456789abcdee")]),
    ),
    "no authority key identifier": ("lint.extension", with_extensions(lambda one: without(one, AKI))),
    "authority information critical": (
        "lint.extension",
        with_extensions(lambda one: [*without(one, AIA), extension(AIA, OCSP_ACCESS, critical=True)]),
    ),
    "an OCSP address of another place": (
        "lint.extension",
        with_extensions(lambda extensions: [one.replace(b"ocsp.test", b"evil.test") for one in extensions]),
    ),
    "no OCSP address": ("lint.extension", with_extensions(lambda one: without(one, AIA))),
    "no extensions": ("lint.subject_key_identifier", with_part(EXTENSIONS_AT, tlv(0xA3, sequence()))),
    "trailing octets": ("lint.der", replace(good(), tbs_der=good().tbs_der + b"\0")),
    "another first octet": ("lint.der", replace(good(), tbs_der=b"\x31" + good().tbs_der[1:])),
    "nothing": ("lint.der", replace(good(), tbs_der=b"")),
    "too large": ("certificate.too_large", good(subject=(SUBJECT[0], ("O", "ß" * 64), ("OU", "x" * 64), *SUBJECT[2:]))),
}
SHORT_SERIAL = next(number for number in range(1, 128) if good(serial=number).tbs_der.count(number) == 1)
FAULTS_OF_A_REQUEST = {"too large"}


def with_the_key(question):
    return question if question.spki_der else replace(question, spki_der=spki(some_key()))
