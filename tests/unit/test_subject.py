"""Subject names (RFC 5280 4.1.2.6): the profile decides which parts of a request a certificate carries."""

import pytest

from pki_core.issuance.subject import build_subject
from pki_core.model.errors import CsrRejectedError
from pki_core.model.profiles import IdentifierRule, SubjectRule
from pki_core.model.requests import RequestedSubject
from tests.builders import EMAID, profile, profiles

EVERYTHING = RequestedSubject(
    common_name="ignored: the judged name counts",
    organization="Test Mobility",
    country="DE",
    organizational_unit="PnC",
    locality="Ulm",
    state="BW",
)


def rule(**changes):
    fields = {"identifier": IdentifierRule.EMAID, "domain_component": "MO", "keep": ("O", "C"), "require": ()}
    return SubjectRule(**{**fields, **changes})


def refusal(wanted, requested, common_name=EMAID):
    with pytest.raises(CsrRejectedError) as caught:
        build_subject(wanted, requested, common_name)
    return caught.value.reason, str(caught.value)


def asked(**changes):
    return RequestedSubject(**{"common_name": EMAID, "organization": "X", "country": "DE", **changes})


def test_the_profile_s_parts_are_kept_in_the_usual_order_and_the_common_name_comes_last():
    assert build_subject(rule(), EVERYTHING, EMAID) == (
        ("C", "DE"),
        ("O", "Test Mobility"),
        ("DC", "MO"),
        ("CN", EMAID),
    )


def test_every_part_can_be_kept():
    keep = ("OU", "C", "ST", "O", "L")
    assert [name for name, _ in build_subject(rule(keep=keep), EVERYTHING, EMAID)] == [
        "C",
        "ST",
        "L",
        "O",
        "OU",
        "DC",
        "CN",
    ]


def test_nothing_is_kept_that_the_profile_does_not_name():
    assert build_subject(rule(keep=(), domain_component=""), EVERYTHING, EMAID) == (("CN", EMAID),)


def test_parts_a_request_leaves_out_are_left_out():
    assert build_subject(rule(), RequestedSubject(common_name=EMAID), EMAID) == (("DC", "MO"), ("CN", EMAID))


def test_a_part_the_profile_requires_must_be_there():
    reason, text = refusal(rule(require=("O",)), asked(organization=""))
    assert (reason, text) == ("subject.missing", "The subject must name the organization (O).")


def test_a_required_part_that_is_not_kept_must_be_there_all_the_same():
    wanted = rule(keep=(), require=("L",))
    assert refusal(wanted, asked())[0] == "subject.missing"
    assert build_subject(wanted, asked(locality="Ulm"), EMAID) == (("DC", "MO"), ("CN", EMAID))


@pytest.mark.parametrize(
    ("attribute", "name", "longest"),
    [
        ("state", "ST", 128),
        ("locality", "L", 128),
        ("organization", "O", 64),
        ("organizational_unit", "OU", 64),
    ],
)
@pytest.mark.parametrize("character", ["x", "ß", "電"])
def test_a_part_is_as_long_as_rfc_5280_allows_counted_in_characters(attribute, name, longest, character):
    wanted = rule(keep=(name,))
    assert (name, character * longest) in build_subject(wanted, asked(**{attribute: character * longest}), EMAID)
    reason, text = refusal(wanted, asked(**{attribute: character * (longest + 1)}))
    assert reason == "subject.too_long"
    assert f"{longest + 1} characters; {longest} are allowed" in text


def test_a_common_name_has_at_most_64_characters():
    assert build_subject(rule(), asked(), "x" * 64)[-1] == ("CN", "x" * 64)
    assert refusal(rule(), asked(), "x" * 65)[0] == "subject.too_long"


@pytest.mark.parametrize("country", ["de", "De", "DE"])
def test_a_country_is_written_in_capitals(country):
    assert build_subject(rule(), asked(country=country), EMAID)[0] == ("C", "DE")


@pytest.mark.parametrize("country", ["D", "DEU", "D1", "D ", "ÖÄ", "ße", "  ", "\u0391\u0392"])
def test_a_country_is_two_latin_letters(country):
    assert refusal(rule(), asked(country=country))[0] == "subject.country_invalid"


def test_a_wrong_country_does_not_matter_where_none_is_kept():
    assert build_subject(rule(keep=("O",)), asked(country="Germany"), EMAID)[0] == ("O", "X")


def test_a_refusal_is_not_remembered_for_the_next_request():
    wanted = rule(require=("O",))
    refusal(wanted, asked(organization=""))
    refusal(wanted, asked(organization=""))
    assert build_subject(wanted, asked(), EMAID)


@pytest.mark.parametrize("profile_name", profiles())
def test_every_shipped_profile_names_its_kind(profile_name):
    wanted = profile(profile_name).subject
    names = [name for name, _ in build_subject(wanted, EVERYTHING, EMAID)]
    assert names == ["C", "O", *(["DC"] if wanted.domain_component else []), "CN"]
