"""The issuer: prepare draws, builds and lints; sign signs exactly that, once, and proves what the key returned."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from pki_core.issuance.issuer import RANDOM_OCTETS, Issuer, Prepared
from pki_core.issuance.lint import Finding
from pki_core.model.errors import (
    InvariantError,
    KeyRejectedError,
    LintError,
    SignatureInvalidError,
    TbsMismatchError,
)
from pki_core.model.profiles import Edition, KeyUsage, Level
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.certificate import assemble
from tests.builders import (
    EMAID,
    NOW,
    MemorySigner,
    draft,
    issuer_for,
    issuer_record,
    new_key,
    prepare,
    profile,
    profiles,
    sign,
    some_key,
    spki,
)


@pytest.fixture
def wanted():
    return profile()


@pytest.fixture
def issuer(wanted):
    return issuer_for(wanted)


class TamperingSigner(MemorySigner):
    """A key that returns something else than it should."""

    def __init__(self, tamper):
        super().__init__()
        self.tamper = tamper

    def sign(self, messages):
        return self.tamper(self, super().sign(messages), messages)


# --- what comes out


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_certificate_holds_what_was_drafted(algorithm):
    suffix = {KeyAlgorithm.SECP256R1: "", KeyAlgorithm.SECP521R1: "_20", KeyAlgorithm.ED448: "_20_ed448"}[algorithm]
    wanted = profile(f"contract_leaf{suffix}")
    issuer, key = issuer_for(wanted), new_key(algorithm)
    prepared = prepare(issuer, wanted, draft(key=key))
    certificate = x509.load_der_x509_certificate(issuer.sign(prepared)[0])
    assert certificate.serial_number == prepared[0].serial
    assert certificate.public_key() == key.public_key()
    assert certificate.not_valid_before_utc == prepared[0].not_before == NOW - timedelta(minutes=60)
    assert certificate.not_valid_after_utc == prepared[0].not_after == prepared[0].not_before + timedelta(days=730)
    assert certificate.subject.rfc4514_string() == f"CN={EMAID},DC=MO,O=Test Mobility,C=DE"
    assert (prepared[0].reference, prepared[0].common_name) == ("row-1", EMAID)


def test_many_are_signed_in_their_order(wanted, issuer):
    keys = [new_key() for _ in range(3)]
    drafts = [draft(f"DEPNCC0000000{number}1", key) for number, key in enumerate(keys)]
    prepared = prepare(issuer, wanted, *drafts)
    certificates = [x509.load_der_x509_certificate(der) for der in issuer.sign(prepared)]
    assert [one.public_key() for one in certificates] == [key.public_key() for key in keys]
    assert [one.serial_number for one in certificates] == [one.serial for one in prepared]


def test_nothing_is_prepared_or_signed_out_of_nothing(wanted, issuer):
    assert issuer.prepare(wanted, wanted.hash, [], NOW) == []
    assert issuer.sign([]) == []


@pytest.mark.parametrize("profile_name", profiles())
def test_every_profile_makes_certificates_below_its_ceiling(profile_name):
    # with the longest names a certificate may carry; only names beyond ASCII may be refused for their size
    wanted = profile(profile_name)
    component = (("DC", wanted.subject.domain_component),) if wanted.subject.domain_component else ()
    subject = (("C", "DE"), ("O", "x" * 64), *component, ("CN", "y" * 64))
    signer = MemorySigner(wanted.key_algorithms[0])
    issuer = issuer_for(wanted, signer=signer)
    names = ("bank.example",) if wanted.extensions.subject_alternative_names else ()
    (one,) = prepare(issuer, wanted, draft(subject=subject, key=signer.key, alternative_names=names))
    (certificate_der,) = issuer.sign([one])
    assert len(certificate_der) <= wanted.max_der_octets == (800 if wanted.edition is Edition.ISO_2 else 1600)


def test_alternative_names_are_those_of_the_request():
    wanted = profile("tls_server")
    issuer = issuer_for(wanted)
    asked = ("bank.example", "127.0.0.1", "2001:db8::1")
    for names in (asked, asked[:1]):  # the second one is no echo of the first
        (one,) = prepare(issuer, wanted, draft(subject=(("CN", names[0]),), alternative_names=names))
        extensions = x509.load_der_x509_certificate(issuer.sign([one])[0]).extensions
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert tuple(str(name.value) for name in found.value) == names
        assert not found.critical


@pytest.mark.parametrize(("profile_name", "names"), [("tls_server", ()), ("tls_client", ("bank.example",))])
def test_alternative_names_the_profile_does_not_want_are_never_signed(profile_name, names):
    wanted = profile(profile_name)
    with pytest.raises(LintError, match="alternative names"):
        prepare(issuer_for(wanted), wanted, draft(subject=(("CN", "x"),), alternative_names=names))


# --- Prepared works once, for its issuer, as it was linted


def test_what_was_prepared_is_signed_once(wanted, issuer):
    prepared = prepare(issuer, wanted)
    issuer.sign(prepared)
    with pytest.raises(InvariantError, match="once"):
        issuer.sign(prepared)


def test_the_same_one_twice_in_a_list_is_not_signed(wanted):
    signer = MemorySigner()
    issuer = issuer_for(wanted, signer=signer)
    (one,) = prepare(issuer, wanted)
    with pytest.raises(InvariantError, match="once"):
        issuer.sign([one, one])
    assert signer.signed == []


def test_what_was_prepared_is_spent_even_when_the_key_failed(wanted):
    def fail(*_):
        raise ConnectionError

    issuer = issuer_for(wanted, signer=TamperingSigner(fail))
    prepared = prepare(issuer, wanted)
    with pytest.raises(ConnectionError):
        issuer.sign(prepared)
    with pytest.raises(InvariantError, match="once"):
        issuer.sign(prepared)


def test_another_issuer_signs_nothing_it_did_not_prepare(wanted):
    signer = MemorySigner()
    issuer, twin = issuer_for(wanted, signer=signer), issuer_for(wanted, signer=signer)
    with pytest.raises(InvariantError, match="issuer that prepared it"):
        twin.sign(prepare(issuer, wanted))
    assert signer.signed == []


def test_bytes_that_were_linted_cannot_be_changed(wanted, issuer):
    (one,) = prepare(issuer, wanted)
    with pytest.raises(FrozenInstanceError):
        one.tbs_der = b"other"


def test_a_copy_with_other_bytes_is_not_signed(wanted):
    signer = MemorySigner()
    issuer = issuer_for(wanted, signer=signer)
    (one,) = prepare(issuer, wanted)
    with pytest.raises(InvariantError):
        issuer.sign([replace(one, tbs_der=one.tbs_der.replace(b"MO", b"XX"))])
    with pytest.raises(InvariantError):
        issuer.sign([replace(one)])
    assert signer.signed == []


def test_bytes_that_nobody_linted_are_not_signed(wanted):
    signer = MemorySigner()
    issuer = issuer_for(wanted, signer=signer)
    forged = Prepared(
        reference="", serial=1, common_name="", spki_der=b"", not_before=NOW, not_after=NOW, tbs_der=b"0\0"
    )
    with pytest.raises(InvariantError):
        issuer.sign([forged])
    assert signer.signed == []


def test_what_was_never_signed_is_forgotten_with_its_owner(wanted, issuer):
    prepare(issuer, wanted)
    assert len(issuer._unsigned) == 0


# --- what the key returns is proven

TAMPERS = {
    "of other bytes": lambda signer, _, messages: [sign(signer.key, one + b"x") for one in messages],
    "of another key": lambda _, __, messages: [sign(new_key(), one) for one in messages],
    "in another order": lambda _, signatures, __: signatures[::-1],
    "empty": lambda _, signatures, __: [b"" for _ in signatures],
    "of raw r and s": lambda _, signatures, __: [bytes(64) for _ in signatures],
    "changed in its last bit": lambda _, signatures, __: [
        signatures[0],
        signatures[1][:-1] + bytes((signatures[1][-1] ^ 1,)),
    ],
}


@pytest.mark.parametrize("tamper", TAMPERS.values(), ids=TAMPERS)
def test_a_signature_that_does_not_verify_stops_everything(wanted, tamper):
    issuer = issuer_for(wanted, signer=TamperingSigner(tamper))
    with pytest.raises(SignatureInvalidError, match="test-key"):
        issuer.sign(prepare(issuer, wanted, draft(), draft("DEPNCC00000002C")))


@pytest.mark.parametrize(
    "tamper", [lambda _, signatures, __: signatures[:-1], lambda _, signatures, __: signatures * 2]
)
def test_another_number_of_signatures_stops_everything(wanted, tamper):
    issuer = issuer_for(wanted, signer=TamperingSigner(tamper))
    with pytest.raises(SignatureInvalidError, match="test-key"):
        issuer.sign(prepare(issuer, wanted, draft(), draft("DEPNCC00000002C")))


def test_a_signature_that_changes_the_signed_bytes_is_seen(wanted, issuer, monkeypatch):
    # what a fault in the assembly would look like
    def assemble_badly(tbs_der, algorithm, signature):
        other = tbs_der.replace(b"\x02\x01\x02", b"\x02\x01\x01", 1)  # another version, the same length
        return assemble(other, algorithm, signature)

    prepared = prepare(issuer, wanted)
    monkeypatch.setattr("pki_core.issuance.issuer.assemble", assemble_badly)
    with pytest.raises(TbsMismatchError):
        issuer.sign(prepared)


# --- what is not prepared


def test_a_finding_of_a_request_refuses_that_row_alone(wanted, issuer):
    too_large = (("C", "DE"), ("O", "ß" * 64), ("OU", "ß" * 64), ("L", "ß" * 64), ("DC", "MO"), ("CN", EMAID))
    first, finding, last = prepare(issuer, wanted, draft(), draft(subject=too_large), draft("DEPNCC00000002C"))
    assert isinstance(finding, Finding)
    assert (finding.code, finding.of_request) == ("certificate.too_large", True)
    assert len(issuer.sign([first, last])) == 2


def test_a_finding_of_our_own_profile_stops_the_run(wanted, issuer):
    wrong_component = (("C", "DE"), ("DC", "CPO"), ("CN", EMAID))
    with pytest.raises(LintError, match=r"contract_leaf: lint\.domain_component"):
        prepare(issuer, wanted, draft(), draft(subject=wrong_component))


def test_the_public_linter_stops_a_profile_that_breaks_a_rule_nobody_expects():
    wanted = profile("cps_leaf", extensions={"key_usage": (KeyUsage.DIGITAL_SIGNATURE, KeyUsage.KEY_CERT_SIGN)})
    with pytest.raises(LintError, match=r"cps_leaf: pkilint reports pkix\.\w+"):
        prepare(issuer_for(wanted), wanted, draft("CPS 1", subject=(("DC", "CPS"), ("CN", "CPS 1"))))


def test_the_public_linter_passes_what_the_profile_expects():
    wanted = profile(expected_lint_codes=())
    with pytest.raises(LintError, match=r"pkix\.key_usage_value_prohibited_for_ec"):
        prepare(issuer_for(wanted), wanted)
    wanted = profile()
    assert prepare(issuer_for(wanted), wanted)


@pytest.mark.parametrize(
    ("profile_name", "level", "edition"),
    [
        ("contract_leaf", Level.SUB1, Edition.ISO_2),
        ("contract_leaf", Level.ROOT, Edition.ISO_2),
        ("contract_leaf", Level.SUB2, Edition.ISO_20),
        ("mo_sub2", Level.ROOT, Edition.ISO_2),
        ("mo_sub1", Level.SUB1, Edition.ISO_2),
        ("v2g_root", Level.SUB1, Edition.ISO_2),
    ],
)
def test_an_issuer_of_another_level_or_edition_issues_nothing(profile_name, level, edition):
    wanted = profile(profile_name)
    signer = MemorySigner()
    issuer = Issuer(issuer_record(signer, level, edition), signer, 1)
    with pytest.raises(InvariantError, match=f"does not issue by profile {profile_name}"):
        prepare(issuer, wanted)


@pytest.mark.parametrize("level", [Level.ROOT, Level.SUB1, Level.SUB2])
def test_a_ca_of_any_level_has_responders(level):
    # RFC 6960 4.2.2.2
    signer = MemorySigner()
    issuer = Issuer(issuer_record(signer, level), signer, 1)
    responder = draft(subject=(("O", "pncpki"), ("CN", "OCSP 1")))
    assert isinstance(prepare(issuer, profile("ocsp_responder"), responder)[0], Prepared)


def test_an_issuer_with_another_key_than_its_record_is_refused():
    record = issuer_record(MemorySigner())
    with pytest.raises(KeyRejectedError, match="mo-sub2"):
        Issuer(record, MemorySigner(), 1)


@pytest.mark.parametrize("prefix", [0, -1, 0x80, 256])
def test_a_serial_prefix_that_would_make_no_positive_serial_is_refused(prefix):
    signer = MemorySigner()
    with pytest.raises(InvariantError, match="prefix"):
        Issuer(issuer_record(signer), signer, prefix)


# --- validity (status and issuance 6.6)


def validity_of(wanted, issuer, now=NOW, **changes):
    (one,) = prepare(issuer, wanted, draft(**changes), now=now)
    return one


def test_nothing_is_valid_before_its_issuer(wanted):
    first = NOW - timedelta(minutes=10)
    assert validity_of(wanted, issuer_for(wanted, not_before=first)).not_before == first


def test_nothing_outlives_its_issuer(wanted):
    last = NOW + timedelta(days=100)
    issuer = issuer_for(wanted, not_after=last)
    assert validity_of(wanted, issuer).not_after == last
    assert validity_of(wanted, issuer, not_after=NOW + timedelta(days=200)).not_after == last


def test_an_earlier_end_is_granted(wanted, issuer):
    end = NOW + timedelta(days=28)
    assert validity_of(wanted, issuer, not_after=end).not_after == end


def test_a_later_end_than_the_profile_allows_is_cut(wanted, issuer):
    one = validity_of(wanted, issuer, not_after=NOW + timedelta(days=800))
    assert one.not_after == one.not_before + timedelta(days=wanted.validity_days)


@pytest.mark.parametrize("end", [NOW, NOW - timedelta(seconds=1), datetime(2020, 1, 1, tzinfo=UTC)])
def test_an_end_that_has_passed_refuses_the_row(wanted, issuer, end):
    finding = validity_of(wanted, issuer, not_after=end)
    assert (finding.code, finding.of_request) == ("validity.past", True)


def test_an_expired_issuer_stops_the_run(wanted):
    with pytest.raises(InvariantError, match="expired"):
        prepare(issuer_for(wanted, not_after=NOW), wanted)


@pytest.mark.parametrize("end", ["not_before", "not_after"])
def test_an_issuer_without_a_certificate_issues_nothing(wanted, end):
    with pytest.raises(InvariantError, match="no validity"):
        prepare(issuer_for(wanted, **{end: None}), wanted)


def test_the_public_linter_sees_the_first_certificate_and_then_one_in_so_many(wanted, issuer, monkeypatch):
    seen = []
    monkeypatch.setattr("pki_core.issuance.issuer.SAMPLE_EVERY", 5)
    monkeypatch.setattr("pki_core.issuance.issuer.refuse_findings", lambda ders, _: seen.append(len(ders)))
    sampled = []
    for count in (1, 3, 1, 4, 2, 12, 0, 1):
        before = len(seen)
        issuer.prepare(wanted, wanted.hash, [draft() for _ in range(count)], NOW)
        sampled.append(len(seen) - before)
    assert sampled == [1, 0, 1, 0, 1, 1, 0, 0]  # 1, 4, 5!, 9, 11!, 23!, 23, 24 certificates so far
    assert set(seen) == {1}


def test_the_template_follows_the_profile_version(issuer):
    plain, long = profile(), profile("contract_leaf", "full_extensions")
    sizes = [len(prepare(issuer, one)[0].tbs_der) for one in (plain, long, plain)]
    assert sizes[0] == sizes[2] < sizes[1]


def test_serials_are_random_behind_their_prefix(wanted):
    signer = MemorySigner()
    issuer = Issuer(issuer_record(signer), signer, 0x7F)
    key = spki(some_key())
    serials = [one.serial for one in prepare(issuer, wanted, *[draft()._replace(spki_der=key)] * 200)]
    assert {serial >> 8 * RANDOM_OCTETS for serial in serials} == {0x7F}
    assert len(set(serials)) == 200
    for bit in range(8 * RANDOM_OCTETS):
        assert 0 < sum(serial >> bit & 1 for serial in serials) < 200  # 2 ** -199 that a good generator fails
