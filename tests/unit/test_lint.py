"""Structural lints: each rule has bytes that trip it and bytes that do not.

Every vector runs twice: against a lint that has seen nothing, and against one that has just passed the good bytes.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from pki_core.issuance.lint import TbsLint
from pki_core.model.profiles import KeyUsage
from pki_core.wire.tbs import decode_tbs
from tests.builders import EMAID, NOW, new_key, profile, some_key, spki
from tests.unit.lint_vectors import (
    AIA,
    FAULTS_OF_A_REQUEST,
    FIRST,
    ISSUER,
    OCSP_ACCESS,
    OTHER_EMAID,
    SERIAL,
    SHORT_SERIAL,
    SUBJECT,
    VALIDITY,
    VECTORS,
    WINDOW,
    extension,
    good,
    utc,
    with_extensions,
    with_the_key,
    with_times,
    without,
)


def lint(wanted=None):
    return TbsLint(wanted or profile(), ISSUER, WINDOW)


def judge(judging, question):
    return judging.check(question.tbs_der, question.serial, question.subject, question.spki_der)


@pytest.mark.parametrize("seen", [False, True], ids=["first", "after good ones"])
@pytest.mark.parametrize("vector", VECTORS)
def test_every_rule_is_tripped(vector, seen):
    code, question = VECTORS[vector]
    wanted = profile(max_der_octets=620) if vector == "too large" else profile()
    judging = lint(wanted)
    if seen:
        assert judge(judging, good(wanted)) is None
        assert judge(judging, good(wanted, serial=SHORT_SERIAL)) is None  # as long as the shortest of a vector
    finding = judge(judging, with_the_key(question))
    assert (finding.code, finding.of_request) == (code, vector in FAULTS_OF_A_REQUEST)
    assert finding.message
    assert judge(judging, with_the_key(question)) == finding  # what is bad once is bad again


def test_good_bytes_trip_no_rule_however_often_they_are_judged():
    judging = lint()
    for number in range(1, 4):
        for key in (some_key(), new_key()):
            subject = (*SUBJECT[:3], ("CN", f"DEPNCC0000000{number}1"))
            assert judge(judging, good(serial=SERIAL + number, subject=subject, spki_der=spki(key))) is None


@pytest.mark.parametrize("common_name", ["A", "MO", "DE*PNC*E1", "x" * 64, "Zoë", "電気"])
def test_any_common_name_that_was_asked_for_is_good(common_name):
    subject = (*SUBJECT[:3], ("CN", common_name))
    judging = lint()
    assert judge(judging, good(subject=subject)) is None
    assert judge(judging, good(subject=subject)) is None


def test_the_same_extensions_put_together_by_hand_are_good():
    by_hand = with_extensions(lambda one: [*without(one, AIA), extension(AIA, OCSP_ACCESS)])
    assert judge(lint(), with_the_key(by_hand)) is None


def test_bytes_with_a_name_in_two_places_are_judged_each_time():
    # known places must not let the one stand for the other
    twins = (SUBJECT[0], ("O", EMAID), SUBJECT[2], SUBJECT[3])
    judging = lint()
    assert judge(judging, good(subject=twins)) is None
    swapped = good(subject=(SUBJECT[0], ("O", OTHER_EMAID), SUBJECT[2], ("CN", EMAID)))
    asked = replace(swapped, subject=(*twins[:3], ("CN", OTHER_EMAID)))
    assert judge(judging, asked).code == "lint.subject"


@pytest.fixture
def little_memory(monkeypatch):
    """Two skeletons are remembered."""
    monkeypatch.setattr("pki_core.issuance.lint._REMEMBERED", 2)


@pytest.fixture
def judged(monkeypatch):
    """The bytes that were judged from the start."""
    judgements = []

    def decode(tbs_der):
        judgements.append(tbs_der)
        return decode_tbs(tbs_der)

    monkeypatch.setattr("pki_core.issuance.lint.decode_tbs", decode)
    return judgements


def of_organization(name, number=0):
    common_name = f"DEPNCC{number:09}"
    return good(serial=SERIAL + number, subject=(SUBJECT[0], ("O", name), SUBJECT[2], ("CN", common_name)))


def of_second(number):
    return good(serial=SERIAL + number, validity=(NOW, VALIDITY[1] + timedelta(seconds=number)))


@pytest.mark.usefixtures("little_memory")
def test_what_repeats_is_judged_once_however_much_was_judged_before(judged):
    judging = lint()
    for organization in ("One", "Two", "Three", "Four"):
        assert judge(judging, of_organization(organization)) is None
    for second in range(4):
        assert judge(judging, of_second(second)) is None
    judged.clear()
    for number in range(1, 6):
        assert judge(judging, of_organization("Five", number)) is None
    assert len(judged) == 1


@pytest.mark.usefixtures("little_memory")
def test_the_oldest_of_what_is_remembered_goes(judged):
    judging = lint()
    for organization in ("One", "Two", "Three"):
        assert judge(judging, of_organization(organization)) is None
    judged.clear()
    for organization, judgements in (("Three", 0), ("Two", 0), ("One", 1), ("Three", 1), ("Two", 2)):
        assert judge(judging, of_organization(organization, number=1)) is None
        assert len(judged) == judgements


@pytest.mark.usefixtures("little_memory")
def test_what_is_remembered_is_bounded():
    judging = lint()
    for number in range(8):
        assert judge(judging, of_organization(f"Number {number}")) is None
        assert judge(judging, of_second(number)) is None
    assert (len(judging._places), len(judging._clean)) == (2, 2)


@pytest.mark.usefixtures("little_memory")
def test_threads_that_remember_at_once_find_what_is_wrong_and_nothing_else():
    judging = lint()
    bad = replace(of_organization("Number 1"), serial=SERIAL + 1)

    def many(start):
        return [judge(judging, of_organization(f"Number {(start + number) % 7}", number)) for number in range(50)]

    with ThreadPoolExecutor(4) as threads:
        findings = [one for some in threads.map(many, range(4)) for one in some]
    assert findings == [None] * 200
    assert judge(judging, bad).code == "lint.serial"
    assert len(judging._clean) <= 2


@pytest.mark.parametrize("serial", [1, 0x7F, 0x80, (1 << 159) - 1])
def test_every_positive_serial_of_at_most_20_octets_is_good(serial):
    assert judge(lint(), good(serial=serial)) is None


def test_criticality_of_a_purpose_that_is_absent_does_not_matter():
    wanted = profile(extensions={"extended_key_usage_critical": True})
    assert judge(lint(wanted), good(wanted)) is None


def test_a_certificate_may_live_exactly_as_long_as_its_issuer():
    assert judge(lint(), good(validity=WINDOW)) is None


def test_times_from_2050_on_are_generalized_and_before_are_not():
    window = NOW, NOW + timedelta(days=365 * 40)
    judging = TbsLint(profile(), ISSUER, window)
    assert judge(judging, good(validity=window)) is None
    late = with_times(FIRST, utc("660301120000Z"))
    assert judge(judging, with_the_key(late)).code == "lint.time"


def test_under_the_switch_every_time_is_generalized():
    wanted = profile(generalized_time_always=True)
    assert judge(lint(wanted), good(wanted)) is None
    assert judge(lint(wanted), good()).code == "lint.time"


CHANGED_PROFILES = {
    "a CA": {"ca": True},
    "a path length": {"ca": True, "path_length": 0},
    "a bit of key usage less": {"key_usage": (KeyUsage.DIGITAL_SIGNATURE,)},
    "an extended key usage": {"extended_key_usage": ("1.3.6.1.5.5.7.3.1",)},
    "another OCSP address": {"ocsp_url": "http://ocsp.test/other"},
    "no OCSP address": {"ocsp_url": ""},
    "issuers' certificates": {"ca_issuers_url": "http://ca.test/{issuer}.cer"},
    "a CRL": {"crl_url": "http://crl.test/{issuer}.crl"},
    "a policy": {"policy_oids": ("1.2.3",)},
    "no authority key identifier": {"authority_key_identifier": False},
    "no-check": {"ocsp_no_check": True},
}


@pytest.mark.parametrize("extensions", CHANGED_PROFILES.values(), ids=CHANGED_PROFILES)
def test_bytes_of_another_profile_are_not_good(extensions):
    wanted = profile(extensions=extensions)
    assert judge(lint(wanted), good(wanted)) is None
    assert judge(lint(wanted), good()).code == "lint.extension"
    assert judge(lint(), good(wanted)).code == "lint.extension"


def test_a_purpose_that_should_be_critical_is_not_good_without():
    critical, plain = (
        profile(extensions={"extended_key_usage": ("1.2.3",), "extended_key_usage_critical": flag})
        for flag in (True, False)
    )
    assert judge(lint(critical), good(critical)) is None
    assert judge(lint(critical), good(plain)).code == "lint.extension"
    assert judge(lint(plain), good(critical)).code == "lint.extension"


def test_a_key_identifier_of_the_other_length_is_not_good():
    long = profile(extensions={"key_identifier_octets": 20})
    assert judge(lint(long), good(long)) is None
    assert judge(lint(long), good()).code == "lint.subject_key_identifier"


def test_the_ceiling_counts_the_largest_signature():
    size = len(good().tbs_der) + 12 + 75 + 4  # algorithm, signature in its BIT STRING, outer header
    assert judge(lint(profile(max_der_octets=size)), good()) is None
    assert judge(lint(profile(max_der_octets=size - 1)), good()).code == "certificate.too_large"
