"""Requests (RFC 2986): what is read, what is refused and under which code, and what a proof of possession proves."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448

from pki_core.model.errors import CsrRejectedError
from pki_core.model.requests import CsrProof, OwnKeyProof, RequestedSubject
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.enroll import prove_possession
from pki_core.wire.csr import MAX_CSR_OCTETS, parse_csr, peek_common_name, verify_proof
from pki_core.wire.public_key import load_public_key, refuse_weak_key, spki_of
from tests.builders import (
    BIT_STRING,
    EMAID,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    UTF8,
    attribute,
    content_of,
    elements_of,
    make_csr,
    name,
    new_key,
    profile,
    raw_csr,
    request,
    sequence,
    sign,
    some_key,
    spki,
    tlv,
)

CN_OID = bytes.fromhex("0603550403")


def refusal(work, *arguments):
    with pytest.raises(CsrRejectedError) as caught:
        work(*arguments)
    assert caught.value.code == "csr.rejected"
    assert str(caught.value).endswith(".")  # one plain sentence
    return caught.value.reason


def refused(csr_der):
    return refusal(parse_csr, "row-1", csr_der)


def common_name_rdn(value):
    return tlv(SET, sequence(CN_OID, value))


# --- reading


def test_a_request_is_read_as_it_was_made():
    key = new_key()
    subject = name(("C", "DE"), ("ST", "Berlin"), ("L", "Mitte"), ("O", "Ümlaut GmbH"), ("OU", "PnC"), ("CN", EMAID))
    csr_der = make_csr(key=key, subject=subject)
    parsed = parse_csr("row-1", csr_der, "expected")
    assert parsed.subject == RequestedSubject(
        common_name=EMAID,
        organization="Ümlaut GmbH",
        country="DE",
        organizational_unit="PnC",
        locality="Mitte",
        state="Berlin",
    )
    assert (parsed.reference, parsed.expected_identifier, parsed.not_after) == ("row-1", "expected", None)
    oracle = x509.load_der_x509_csr(csr_der)
    assert parsed.spki_der == spki(key)
    assert parsed.proof == CsrProof(
        signed_bytes=oracle.tbs_certrequest_bytes,
        signature=oracle.signature,
        signature_algorithm=oracle.signature_algorithm_oid.dotted_string,
    )


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_every_algorithm_of_iso_15118_proves_possession(algorithm):
    key = new_key(algorithm)
    parsed = request(key=key)
    found, loaded = load_public_key(parsed.spki_der)
    refuse_weak_key(found, parsed.spki_der)
    verify_proof(parsed.proof, found, loaded)
    assert found is algorithm
    assert spki_of(loaded) == spki(key)


def test_extensions_a_request_asks_for_are_never_read():
    asked = [
        (x509.SubjectAlternativeName([x509.DNSName("bank.example")]), False),
        (x509.BasicConstraints(ca=True, path_length=None), True),
    ]
    key = new_key()
    plain, greedy = request(key=key), request(key=key, extensions=asked)
    assert b"bank.example" in greedy.proof.signed_bytes
    assert (greedy.subject, greedy.spki_der) == (plain.subject, plain.spki_der)
    prove_possession(greedy, profile())


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff", b"\x30\x80\0\0"], ids=["empty", "noise", "indefinite"])
def test_what_the_attributes_hold_does_not_matter(content):
    assert parse_csr("row-1", raw_csr(attributes=tlv(0xA0, content))).subject.common_name == EMAID


@pytest.mark.parametrize(
    ("tag", "codec"),
    [(0x0C, "utf-8"), (0x13, "ascii"), (0x16, "ascii"), (0x14, "latin-1"), (0x1E, "utf-16-be"), (0x1C, "utf-32-be")],
    ids=["UTF8", "Printable", "IA5", "Teletex", "BMP", "Universal"],
)
def test_every_string_type_of_x509_is_read(tag, codec):
    text = EMAID if codec == "ascii" else "Zoë"
    subject = tlv(SEQUENCE, common_name_rdn(tlv(tag, text.encode(codec))))
    assert parse_csr("row-1", raw_csr(subject=subject)).subject.common_name == text


def test_the_parts_of_one_rdn_are_read_like_those_of_several():
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName([attribute("C", "DE"), attribute("O", "Test Mobility")]),
            x509.RelativeDistinguishedName([attribute("CN", EMAID)]),
        ]
    )
    parsed = request(subject=subject).subject
    assert parsed == RequestedSubject(common_name=EMAID, organization="Test Mobility", country="DE")


def test_parts_no_certificate_keeps_are_dropped():
    email = x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "a@b.example")
    subject = x509.Name([email, attribute("DC", "ROOT"), attribute("DC", "V2G"), attribute("CN", EMAID)])
    assert request(subject=subject).subject == RequestedSubject(common_name=EMAID)


def test_a_request_without_a_name_has_an_empty_common_name():
    assert parse_csr("row-1", raw_csr(subject=sequence())).subject == RequestedSubject(common_name="")


# --- names that are refused

BAD_NAMES = {
    "two common names": name(("CN", EMAID), ("CN", EMAID)).public_bytes(),
    "two common names in one RDN": tlv(
        SEQUENCE, tlv(SET, sequence(CN_OID, tlv(UTF8, b"A")) + sequence(CN_OID, tlv(UTF8, b"B")))
    ),
    "two organisations": name(("O", "One"), ("CN", EMAID), ("O", "Two")).public_bytes(),
    "a line feed": name(("CN", "DEPNC\nC00000001")).public_bytes(),
    "a NUL": name(("CN", EMAID + "\0.example")).public_bytes(),
    "an escape sequence": name(("CN", EMAID), ("O", "\x1b[2J")).public_bytes(),
    "a direction mark": name(("CN", EMAID), ("O", "abc\u202edef")).public_bytes(),
    "a line separator": name(("CN", EMAID), ("O", "abc\u2028def")).public_bytes(),
    "too long": tlv(SEQUENCE, common_name_rdn(tlv(UTF8, b"x" * 201))),
    "no text": tlv(SEQUENCE, common_name_rdn(tlv(INTEGER, b"\x01"))),
    "an OCTET STRING": tlv(SEQUENCE, common_name_rdn(tlv(OCTET_STRING, b"DEPNC"))),
    "a tag of two octets": tlv(SEQUENCE, common_name_rdn(b"\x1f\x81\x01\x01A")),
    "broken UTF-8": tlv(SEQUENCE, common_name_rdn(tlv(UTF8, b"\xc3\x28"))),
    "overlong UTF-8": tlv(SEQUENCE, common_name_rdn(tlv(UTF8, b"\xc0\x80"))),
    "half a BMP character": tlv(SEQUENCE, common_name_rdn(tlv(0x1E, b"\0D\0"))),
    "a lone surrogate": tlv(SEQUENCE, common_name_rdn(tlv(0x1E, b"\xd8\x00"))),
    "beyond Unicode": tlv(SEQUENCE, common_name_rdn(tlv(0x1C, b"\x7f\xff\xff\xff"))),
    "Latin-1 in a PrintableString": tlv(SEQUENCE, common_name_rdn(tlv(0x13, b"Zo\xeb"))),
}


@pytest.mark.parametrize("subject", BAD_NAMES.values(), ids=BAD_NAMES)
def test_a_name_that_cannot_be_read_for_sure_is_refused(subject):
    assert refused(raw_csr(subject=subject)) == "csr.subject_invalid"


# --- structures that are refused


def indefinite(der):
    return der[:1] + b"\x80" + content_of(der) + b"\0\0"


GOOD = raw_csr()
INFO, ALGORITHM, SIGNATURE = elements_of(GOOD)
BAD_STRUCTURES = {
    "nothing": b"",
    "text": b"-----BEGIN CERTIFICATE REQUEST-----",
    "an empty SEQUENCE": sequence(),
    "trailing octets": GOOD + b"\0",
    "trailing octets inside": sequence(INFO, ALGORITHM, SIGNATURE, b"\x05\0"),
    "cut off": GOOD[:-1],
    "indefinite length": indefinite(GOOD),
    "indefinite length of the body": sequence(indefinite(INFO), ALGORITHM, SIGNATURE),
    "a length in more octets than it needs": b"\x30\x83\0" + GOOD[2:4] + GOOD[4:]
    if GOOD[1] == 0x82
    else b"\x30\x82\0" + GOOD[2:3] + GOOD[3:],
    "version 2": raw_csr(version=tlv(INTEGER, b"\x01")),
    "version -1": raw_csr(version=tlv(INTEGER, b"\xff")),
    "a version of 21 octets": raw_csr(version=tlv(INTEGER, b"\x01" + bytes(20))),
    "version in two octets": raw_csr(version=tlv(INTEGER, b"\0\0")),
    "no attributes": raw_csr(attributes=b""),
    "attributes under another tag": raw_csr(attributes=tlv(0xA1, b"")),
    "attributes that are primitive": raw_csr(attributes=tlv(0x80, b"")),
    "no signature": sequence(INFO, ALGORITHM),
    "a signature with unused bits": raw_csr(signature=tlv(BIT_STRING, b"\x01" + bytes(70))),
    "a signature without content": raw_csr(signature=tlv(BIT_STRING, b"")),
    "a signature that is no BIT STRING": raw_csr(signature=tlv(OCTET_STRING, bytes(70))),
    "an RDN of no SET": raw_csr(subject=tlv(SEQUENCE, sequence(sequence(CN_OID, tlv(UTF8, b"A"))))),
    "an unsorted RDN": raw_csr(
        subject=tlv(SEQUENCE, tlv(SET, sequence(CN_OID, tlv(UTF8, b"AA")) + sequence(CN_OID, tlv(UTF8, b"A"))))
    ),
    "an algorithm of nothing": raw_csr(algorithm=sequence()),
    "an algorithm that is no OID": raw_csr(algorithm=sequence(tlv(INTEGER, b"\x01"))),
    "an OID of nothing": raw_csr(algorithm=sequence(tlv(OID, b""))),
    "a certificate": sequence(INFO, ALGORITHM, SIGNATURE, SIGNATURE),
}


@pytest.mark.parametrize("csr_der", BAD_STRUCTURES.values(), ids=BAD_STRUCTURES)
def test_what_is_not_der_of_rfc_2986_is_refused(csr_der):
    assert refused(csr_der) == "csr.malformed"


def test_a_request_is_bounded_in_size():
    key = some_key(KeyAlgorithm.ED448)  # its signatures have one length
    sizes = {filler: len(raw_csr(key=key, attributes=tlv(0xA0, bytes(filler)))) for filler in (4000, 4001)}
    assert sizes[4001] == sizes[4000] + 1
    largest = MAX_CSR_OCTETS - sizes[4000] + 4000
    csr_der = raw_csr(key=key, attributes=tlv(0xA0, bytes(largest)))
    assert len(csr_der) == MAX_CSR_OCTETS
    assert parse_csr("row-1", csr_der).subject.common_name == EMAID
    assert refused(raw_csr(key=key, attributes=tlv(0xA0, bytes(largest + 1)))) == "csr.too_large"


@pytest.mark.parametrize("tag", [UTF8, 0x13, 0x14])
def test_a_part_of_a_name_is_bounded_in_size(tag):
    def named(length):
        return raw_csr(subject=tlv(SEQUENCE, common_name_rdn(tlv(tag, b"x" * length))))

    assert parse_csr("row-1", named(200)).subject.common_name == "x" * 200
    assert refused(named(201)) == "csr.subject_invalid"


# --- proofs that are refused


def proof_refusal(parsed):
    return refusal(verify_proof, parsed.proof, *load_public_key(parsed.spki_der))


def test_a_request_signed_by_another_key_is_refused():
    parsed = parse_csr("row-1", raw_csr(key=new_key(), spki=spki(some_key())))
    assert proof_refusal(parsed) == "csr.bad_signature"


@pytest.mark.parametrize(
    "octets", [b"", b"\0" * 70, bytes.fromhex("3006020101020101"), bytes.fromhex("30060201000201")]
)
def test_a_signature_that_is_none_is_refused(octets):
    parsed = parse_csr("row-1", raw_csr(signature=tlv(BIT_STRING, b"\0" + octets)))
    assert proof_refusal(parsed) == "csr.bad_signature"


def test_a_changed_name_voids_the_proof():
    csr_der = make_csr()
    assert proof_refusal(parse_csr("row-1", csr_der.replace(EMAID.encode(), EMAID[:-2].encode() + b"2A"))) == (
        "csr.bad_signature"
    )


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda digest: digest.name)
def test_an_ecdsa_key_may_sign_its_request_with_any_hash_of_sha_2(digest):
    parsed = request(key=some_key(KeyAlgorithm.SECP521R1), digest=digest)
    verify_proof(parsed.proof, *load_public_key(parsed.spki_der))


OTHER_ALGORITHMS = {
    "ecdsa-with-SHA1": "300906072a8648ce3d0401",
    "ecdsa-with-SHA224": "300a06082a8648ce3d040301",
    "RSA": "300d06092a864886f70d01010b0500",
    "Ed448": "300506032b6571",
    "unknown": "300506032a0304",
}


@pytest.mark.parametrize("algorithm", OTHER_ALGORITHMS.values(), ids=OTHER_ALGORITHMS)
def test_a_signature_algorithm_that_is_not_the_keys_is_refused(algorithm):
    assert proof_refusal(parse_csr("row-1", raw_csr(algorithm=bytes.fromhex(algorithm)))) == "csr.signature_algorithm"


def test_an_ed448_key_signs_its_request_with_ed448_only():
    assert proof_refusal(parse_csr("row-1", raw_csr(key=some_key(KeyAlgorithm.ED448)))) == "csr.signature_algorithm"


def test_a_key_we_made_ourselves_needs_no_proof():
    verify_proof(OwnKeyProof(), *load_public_key(spki(some_key())))


def test_the_signature_covers_the_body_only_as_it_stands():
    key = ed448.Ed448PrivateKey.generate()
    parsed = request(key=key)
    assert parsed.proof.signature == sign(key, parsed.proof.signed_bytes)


# --- the quick look


def test_the_common_name_is_seen_without_decoding():
    assert peek_common_name(make_csr()) == EMAID.encode()
    assert peek_common_name(raw_csr(subject=sequence())) == b""


@pytest.mark.parametrize("octets", [b"", CN_OID, CN_OID + b"\x0c", CN_OID + b"\x0c\xff", CN_OID + b"\x0c\x05ab"])
def test_a_look_at_anything_is_a_look(octets):
    assert isinstance(peek_common_name(octets), bytes | None)
