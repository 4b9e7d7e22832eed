"""Bodies of enrolments and the attributes of requests (RFC 7030 4.2.1, RFC 2985 5.4, RFC 6402 2.8)."""

import base64

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pki_core.model.errors import CsrRejectedError, MalformedError
from pki_core.wire.csr import parse_csr, read_subject
from pki_core.wire.csr_body import changed_subject, csr_der_of, elements, read_attributes
from tests.builders import make_csr, name, raw_csr, tlv

PASSWORD, EXTENSIONS, CHANGE = "2a864886f70d010907", "2a864886f70d01090e", "2b06010505070724"
DER = make_csr()


def attribute(oid, *values):
    return tlv(0x30, tlv(0x06, bytes.fromhex(oid)) + tlv(0x31, b"".join(values)))


def attributes_of(*attributes):
    request = parse_csr("row", raw_csr(attributes=tlv(0xA0, b"".join(attributes))))
    return read_attributes(request.proof.signed_bytes)


def pem(der, label="CERTIFICATE REQUEST"):
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    "body",
    [DER, base64.b64encode(DER), base64.encodebytes(DER), base64.b64encode(DER).replace(b"A", b" A\t\r\n"), pem(DER)],
    ids=["der", "line", "lines", "white space", "pem"],
)
def test_every_form_gives_the_same_request(body):
    assert csr_der_of(body) == DER


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"ABC", b"AB=C", b"\xff\xff", pem(DER, "CERTIFICATE"), pem(DER) + pem(DER)]
)
def test_other_bodies_are_malformed(body):
    with pytest.raises(MalformedError):
        csr_der_of(body)


@given(st.binary(max_size=300))
def test_no_body_raises_anything_else(body):
    try:
        csr_der_of(body)
    except MalformedError:
        return


def test_a_request_without_attributes_has_none():
    attributes = read_attributes(parse_csr("row", make_csr()).proof.signed_bytes)
    assert (attributes.challenge_password, attributes.alternative_names, attributes.new_subject_der) == ("", None, b"")


@pytest.mark.parametrize(
    ("tag", "octets"), [(0x13, b"word"), (0x0C, b"word"), (0x16, b"word"), (0x14, b"word"), (0x1E, b"\0w\0o\0r\0d")]
)
def test_a_challenge_password_is_read_in_every_string_type(tag, octets):
    assert attributes_of(attribute(PASSWORD, tlv(tag, octets))).challenge_password == "word"


def test_attributes_nobody_knows_are_passed_over():
    found = attributes_of(attribute("2a0304", tlv(0x04, b"?")), attribute(PASSWORD, tlv(0x13, b"word")))
    assert found.challenge_password == "word"


@pytest.mark.parametrize(
    "broken",
    [
        [attribute(PASSWORD)],
        [attribute(PASSWORD, tlv(0x13, b"a"), tlv(0x13, b"b"))],
        [attribute(PASSWORD, tlv(0x13, b"a")), attribute(PASSWORD, tlv(0x13, b"b"))],
        [attribute(PASSWORD, tlv(0x02, b"\1"))],
        [attribute(PASSWORD, tlv(0x13, b"\xff"))],
        [attribute(PASSWORD, tlv(0x0C, b"x" * 1025))],
        [tlv(0x30, tlv(0x06, bytes.fromhex(PASSWORD)) + tlv(0x30, tlv(0x13, b"a")))],
        [attribute(EXTENSIONS, tlv(0x30, b"\x30"))],
        [attribute(EXTENSIONS, tlv(0x30, tlv(0x30, b"\x02\x01\x00")))],
        [attribute(CHANGE, tlv(0x30, b"\x30\x7f"))],
        [b"\x30\x80"],
        [b"\x30"],
        [b"\x30\x85\1\1\1\1\1"],
    ],
)
def test_broken_attributes_are_refused(broken):
    with pytest.raises(CsrRejectedError) as caught:
        attributes_of(*broken)
    assert caught.value.reason == "csr.attributes_invalid"


@given(st.binary(max_size=120))
def test_no_attributes_raise_anything_else(octets):
    try:
        attributes_of(octets)
    except CsrRejectedError:
        return


def test_alternative_names_are_read_and_other_extensions_are_not():
    names = x509.SubjectAlternativeName([x509.DNSName("b.example"), x509.DNSName("a.example")])
    usage = x509.BasicConstraints(ca=True, path_length=None)
    for extensions in ([(names, False)], [(usage, True), (names, True)]):
        request = parse_csr("row", make_csr(extensions=extensions))
        found = read_attributes(request.proof.signed_bytes)
        assert found.alternative_names == {tlv(0x82, b"a.example"), tlv(0x82, b"b.example")}
    request = parse_csr("row", make_csr(extensions=[(usage, True)]))
    assert read_attributes(request.proof.signed_bytes).alternative_names is None


def test_a_change_of_subject_and_of_alternative_names_are_told_apart():
    wish, names = name(("C", "DE"), ("CN", "New")).public_bytes(), tlv(0x30, tlv(0x82, b"a.example"))
    both = attributes_of(attribute(CHANGE, tlv(0x30, wish + names)))
    only_names = attributes_of(attribute(CHANGE, tlv(0x30, names)))
    only_wish = attributes_of(attribute(CHANGE, tlv(0x30, wish)))
    assert (both.new_subject_der, both.changes_alternative_names) == (wish, True)
    assert (only_names.new_subject_der, only_names.changes_alternative_names) == (b"", True)
    assert (only_wish.new_subject_der, only_wish.changes_alternative_names) == (wish, False)
    assert changed_subject(only_wish).common_name == "New"


@pytest.mark.parametrize("der", [b"", b"\x30\x05", b"\x31\x00", b"\x30\x02\x31\x05"])
def test_a_name_that_is_none_is_refused(der):
    with pytest.raises(CsrRejectedError):
        read_subject(der)


def test_elements_come_out_even():
    assert elements(tlv(0x02, b"\1") + tlv(0x04, bytes(200))) == [tlv(0x02, b"\1"), tlv(0x04, bytes(200))]
    with pytest.raises(ValueError, match="truncated"):
        elements(b"\x02\x05\x01")
