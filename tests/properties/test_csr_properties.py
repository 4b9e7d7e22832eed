"""Requests for any octets: a request or CsrRejectedError, never anything else, and no changed one proves anything."""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pki_core.issuance.subject import build_subject
from pki_core.model.errors import CsrRejectedError, MalformedError
from pki_core.model.requests import IssueRequest
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.enroll import prove_possession
from pki_core.wire.certificate import CertificateTemplate, IssuerNames
from pki_core.wire.csr import parse_csr, peek_common_name, verify_proof
from pki_core.wire.public_key import load_public_key, refuse_weak_key
from pki_core.wire.tbs import decode_tbs
from tests.builders import (
    EMAID,
    NOW,
    SEQUENCE,
    SET,
    UTF8,
    draft,
    issuer_for,
    issuer_name,
    make_csr,
    name,
    prepare,
    profile,
    raw_csr,
    sequence,
    some_key,
    spki,
    tlv,
)

patient = settings(deadline=None)  # a busy machine is no fault of the code
ALGORITHMS = tuple(KeyAlgorithm)
CSRS = {algorithm: make_csr(key=some_key(algorithm)) for algorithm in ALGORITHMS}
PROFILES = {
    KeyAlgorithm.SECP256R1: "contract_leaf",
    KeyAlgorithm.SECP521R1: "contract_leaf_20",
    KeyAlgorithm.ED448: "contract_leaf_20_ed448",
}
# Bytes in the shape of DER: tags and lengths that fit, around anything.
der = st.recursive(
    st.builds(tlv, st.integers(0, 255), st.binary(max_size=40)),
    lambda inner: st.builds(
        lambda tag, parts: tlv(tag, b"".join(parts)), st.integers(0, 255), st.lists(inner, max_size=4)
    ),
    max_leaves=12,
)


def read(csr_der):
    """Everything that is done with a request before a serial is drawn."""
    parsed = parse_csr("row-1", csr_der)
    assert isinstance(parsed, IssueRequest)
    algorithm, key = load_public_key(parsed.spki_der)
    refuse_weak_key(algorithm, parsed.spki_der)
    verify_proof(parsed.proof, algorithm, key)
    return parsed


def read_or_refuse(csr_der):
    try:
        return read(csr_der)
    except CsrRejectedError as error:
        refusal = error
    assert refusal.reason.partition(".")[0] in {"csr", "key"}
    assert str(refusal).endswith(".")
    return None


@patient
@given(st.binary(max_size=400))
@example(b"\x30\x80")
@example(b"\x30\x84\xff\xff\xff\xff")
@example(b"\x1f" * 20)
def test_any_octets_are_a_request_or_refused(octets):
    assert read_or_refuse(octets) is None
    assert isinstance(peek_common_name(octets), bytes | None)


@patient
@given(der)
def test_any_der_is_a_request_or_refused(octets):
    read_or_refuse(octets)


@patient
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("subject", "spki", "attributes", "version", "algorithm"), der))
)
def test_any_part_in_a_good_request_leaves_a_request_or_is_refused(parts):
    read_or_refuse(raw_csr(**parts))


@patient
@given(st.sampled_from(ALGORITHMS), st.data())
def test_a_request_with_one_octet_changed_is_refused(algorithm, data):
    csr_der = bytearray(CSRS[algorithm])
    place = data.draw(st.integers(0, len(csr_der) - 1))
    csr_der[place] ^= data.draw(st.integers(1, 255))
    assert read_or_refuse(bytes(csr_der)) is None


@patient
@given(st.sampled_from(ALGORITHMS), st.data())
def test_a_request_with_a_piece_cut_out_or_put_in_is_refused(algorithm, data):
    csr_der = CSRS[algorithm]
    start = data.draw(st.integers(0, len(csr_der)))
    end = data.draw(st.integers(start, len(csr_der)))
    changed = csr_der[:start] + data.draw(st.binary(max_size=8)) + csr_der[end:]
    assume(changed != csr_der)
    assert read_or_refuse(changed) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_unchanged_is_a_request(algorithm):
    assert read_or_refuse(CSRS[algorithm])


@patient
@given(st.binary(max_size=200) | der)
def test_octets_that_are_no_public_key_are_refused(octets):
    with pytest.raises(CsrRejectedError, match=r"The |keys are not used") as caught:
        load_public_key(octets)
    assert caught.value.reason in {"key.invalid", "key.type_not_allowed"}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
printable = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=70)


@patient
@given(texts | printable)
def test_any_common_name_is_read_back_or_refused(text):
    subject = tlv(SEQUENCE, tlv(SET, sequence(bytes.fromhex("0603550403"), tlv(UTF8, text.encode()))))
    parsed = read_or_refuse(raw_csr(subject=subject))
    assert (parsed is not None) is (text.isprintable())
    assert parsed is None or parsed.subject.common_name == text


# RFC 5280 bounds names in characters; the oracle warns when their octets are more.
@pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")
@patient
@given(printable.filter(bool), printable, printable)
def test_no_name_reaches_a_certificate_changed(common_name, organization, locality):
    parts = [("C", "DE"), ("L", locality), ("O", organization), ("CN", common_name)]
    subject = sequence(
        *(
            tlv(SET, sequence(bytes.fromhex(f"06035504{code}"), tlv(UTF8, text.encode())))
            for code, (_, text) in zip(("06", "07", "0a", "03"), parts, strict=True)
        )
    )
    parsed = read_or_refuse(raw_csr(subject=subject))
    wanted = profile(subject={"keep": ("C", "O", "L")}, max_der_octets=2000)
    try:
        built = build_subject(wanted.subject, parsed.subject, parsed.subject.common_name)
    except CsrRejectedError:
        return
    kept = [(short, text) for short, text in parts if text]
    assert [part for part in built if part[0] != "DC"] == kept
    (one,) = prepare(issuer_for(wanted), wanted, draft(subject=built))
    assert name(*built).public_bytes() in one.tbs_der


names = IssuerNames(
    label="ca",
    subject_der=issuer_name("ca").public_bytes(),
    key_identifier=bytes(8),
    algorithm=KeyAlgorithm.SECP256R1,
)
TBS = CertificateTemplate(profile(), names).tbs(7, (("CN", EMAID),), spki(some_key()), (NOW, NOW.replace(year=2028)))


@patient
@given(st.binary(max_size=300) | der)
def test_any_octets_are_to_be_signed_bytes_or_malformed(octets):
    try:
        decode_tbs(octets)
    except MalformedError:
        return


@patient
@given(st.integers(0, len(TBS) - 1), st.integers(1, 255))
def test_to_be_signed_bytes_with_one_octet_changed_are_others_or_malformed(place, mask):
    changed = bytearray(TBS)
    changed[place] ^= mask
    try:
        decoded = decode_tbs(bytes(changed))
    except MalformedError:
        return
    assert decoded != decode_tbs(TBS)


def test_the_profiles_fit_their_requests():
    for algorithm, profile_name in PROFILES.items():
        assert prove_possession(parse_csr("row-1", CSRS[algorithm]), profile(profile_name))
