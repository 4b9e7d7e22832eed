"""EMAID, EVSEID, SECCID and PCID against the published and measured values of tests/vectors/identifiers.json."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from pki_core.model.emaid_check_digit import din_check_digit, emaid_check_digit
from pki_core.model.errors import MalformedError
from pki_core.model.identifiers import (
    COMMON_NAME_LIMIT,
    ISO_3166_ALPHA_2,
    CheckDigitPolicy,
    Emaid,
    Evseid,
    Pcid,
    Seccid,
    emaid_from_din,
    judge_check_digit,
    parse_evse_identifier,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "identifiers.json").read_text(encoding="utf-8"))


# --- EMAID


@pytest.mark.parametrize(("canonical", "digit"), VECTORS["emaid_check_digit"]["digits"].items())
def test_published_emaid_check_digits_are_computed(canonical, digit):
    assert emaid_check_digit(canonical) == digit
    assert judge_check_digit(Emaid.parse(canonical + digit), CheckDigitPolicy.REJECT) == ""


@pytest.mark.parametrize("text", VECTORS["emaid_with_right_digit"]["emaids"])
def test_emaids_of_another_tool_carry_the_digit_we_compute(text):
    emaid = Emaid.parse(text)
    assert emaid.check_digit == emaid_check_digit(emaid.canonical)


@pytest.mark.parametrize(("text", "right"), VECTORS["emaid_with_wrong_digit"]["right_digits"].items())
def test_a_wrong_check_digit_is_ignored_warned_of_or_rejected_as_the_policy_says(text, right):
    emaid = Emaid.parse(text)
    assert judge_check_digit(emaid, CheckDigitPolicy.OFF) == ""
    warning = judge_check_digit(emaid, CheckDigitPolicy.WARN)
    assert emaid.printed in warning
    assert f"but {right} is the right one" in warning
    with pytest.raises(MalformedError, match=f"but {right} is the right one"):
        judge_check_digit(emaid, CheckDigitPolicy.REJECT)


@pytest.mark.parametrize(("text", "right"), VECTORS["emaid_without_digit"]["right_digits"].items())
def test_an_emaid_without_check_digit_passes_every_policy(text, right):
    emaid = Emaid.parse(text)
    assert emaid.check_digit == ""
    assert emaid_check_digit(emaid.canonical) == right
    assert [judge_check_digit(emaid, policy) for policy in CheckDigitPolicy] == ["", "", ""]


@pytest.mark.parametrize("forms", VECTORS["emaid_equal_forms"])
def test_all_written_forms_of_an_emaid_are_equal(forms):
    emaids = [Emaid.parse(form) for form in forms]
    assert len(set(emaids)) == 1
    assert {emaid.canonical for emaid in emaids} == {"DE8AA001234567"}


def test_different_emaids_are_not_equal():
    assert Emaid.parse("DE8AA001234567") != Emaid.parse("DE8AA001234568")


def test_an_emaid_keeps_its_length_in_the_common_name_and_gets_its_dashes_in_print():
    with_digit, without = Emaid.parse("de-8aa-001234567-0"), Emaid.parse("de8aa001234567")
    assert (with_digit.as_issued, with_digit.printed) == ("DE8AA0012345670", "DE-8AA-001234567-0")
    assert (without.as_issued, without.printed) == ("DE8AA001234567", "DE-8AA-001234567")
    assert with_digit.provider_prefix == without.provider_prefix == "DE8AA"
    assert with_digit.check_digit == "0"


@pytest.mark.parametrize(("text", "reason"), VECTORS["emaid_refused"].items())
def test_what_is_no_emaid_is_refused_with_its_reason(text, reason):
    with pytest.raises(MalformedError) as refusal:
        Emaid.parse(text)
    assert str(refusal.value).startswith("EMAID ")
    assert reason in str(refusal.value)


def test_an_unknown_country_is_refused_only_under_a_list_of_countries():
    assert Emaid.parse("ZZ8AA001234567").canonical == "ZZ8AA001234567"
    with pytest.raises(MalformedError, match="country code ZZ, which is not on the list"):
        Emaid.parse("zz8AA001234567", ISO_3166_ALPHA_2)
    assert Emaid.parse("de8AA001234567", ISO_3166_ALPHA_2).provider_prefix == "DE8AA"
    assert Emaid.parse("EMP99CQAPAB004", ISO_3166_ALPHA_2 | {"EM"}).provider_prefix == "EMP99"  # Hubject's own country


def test_the_country_list_has_all_249_assigned_codes():
    assert len(ISO_3166_ALPHA_2) == 249
    assert {"DE", "NL", "GB", "US", "TW", "SS"} <= ISO_3166_ALPHA_2
    assert ISO_3166_ALPHA_2.isdisjoint({"UK", "EU", "EM", "ZZ", "XK", "CS", "AN"})


@pytest.mark.parametrize("canonical", ["", "DE8AA00123456", "DE8AA0012345670", "de8aa001234567", "DE8AA00123456\u0661"])
def test_a_check_digit_is_computed_over_14_canonical_characters_only(canonical):
    with pytest.raises(MalformedError, match="An EMAID check digit is computed over"):
        emaid_check_digit(canonical)


def test_the_check_digit_notices_every_single_error_and_every_swap_of_neighbours():
    canonical = "DE83DUIEN83QGZ"
    right = emaid_check_digit(canonical)
    for position, character in enumerate(canonical):
        for other in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".replace(character, ""):
            assert emaid_check_digit(canonical[:position] + other + canonical[position + 1 :]) != right
    for left in range(13):
        swapped = canonical[:left] + canonical[left + 1] + canonical[left] + canonical[left + 2 :]
        assert swapped == canonical or emaid_check_digit(swapped) != right


# --- DIN SPEC 91286


@pytest.mark.parametrize(("canonical", "digit"), VECTORS["din_check_digit"]["digits"].items())
def test_published_din_check_digits_are_computed(canonical, digit):
    assert din_check_digit(canonical) == digit


@pytest.mark.parametrize("row", VECTORS["din_conversions"]["rows"], ids=lambda row: row["iso"])
def test_a_din_identifier_becomes_the_published_iso_and_emi3_ones(row):
    assert emaid_from_din(row["din"], keep_din_digit=row["keep_din_digit"]).printed == row["iso"]
    assert emaid_from_din(row["din"], keep_din_digit=row["keep_din_digit"], emi3=True).printed == row["emi3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NL-TNM-122045-1", "but 0 is the right one"),
        ("NL-TNM-000122045-U", "is not a DIN SPEC 91286 contract identifier"),
        ("NL-TNM-12204\u0665-0", "is not a DIN SPEC 91286 contract identifier"),
        ("", "is not a DIN SPEC 91286 contract identifier"),
    ],
)
def test_a_wrong_din_identifier_is_not_converted(text, reason):
    with pytest.raises(MalformedError, match=reason):
        emaid_from_din(text, keep_din_digit=True)


@pytest.mark.parametrize("canonical", ["", "INTNM00007", "INTNM0000719", "intnm000071", "INTNM00007\u0661"])
def test_a_din_check_digit_is_computed_over_11_canonical_characters_only(canonical):
    with pytest.raises(MalformedError, match="over 11 characters"):
        din_check_digit(canonical)


# --- EVSEID


@pytest.mark.parametrize(("text", "expected"), VECTORS["evseid_valid"].items())
def test_an_evseid_is_read_compared_issued_and_printed(text, expected):
    evseid = Evseid.parse(text, ISO_3166_ALPHA_2)
    assert evseid.canonical == expected["canonical"]
    assert evseid.printed == expected["printed"]
    assert evseid.as_issued == text.upper()
    assert evseid.operator_prefix == expected["canonical"][:5]
    assert Evseid.parse(expected["canonical"]) == evseid


@pytest.mark.parametrize(("text", "reason"), VECTORS["evseid_refused"].items())
def test_what_is_no_evseid_is_refused_with_its_reason(text, reason):
    with pytest.raises(MalformedError) as refusal:
        Evseid.parse(text, ISO_3166_ALPHA_2)
    assert str(refusal.value).startswith("EVSEID ")
    assert reason in str(refusal.value)


def test_an_evseid_of_an_unlisted_country_passes_without_a_list():
    assert Evseid.parse("ZZ*AB7*E840*6487").operator_prefix == "ZZAB7"


# --- SECCID


@pytest.mark.parametrize(("text", "expected"), VECTORS["seccid_valid"].items())
def test_a_seccid_is_read_compared_issued_and_printed(text, expected):
    seccid = Seccid.parse(text)
    assert seccid.canonical == expected["canonical"]
    assert seccid.printed == expected["printed"]
    assert seccid.as_issued == text.upper()
    assert seccid.operator_prefix == expected["canonical"][:5]
    assert Seccid.parse(expected["canonical"]) == seccid


@pytest.mark.parametrize(("text", "reason"), VECTORS["seccid_refused"].items())
def test_what_is_no_seccid_is_refused_with_its_reason(text, reason):
    with pytest.raises(MalformedError) as refusal:
        Seccid.parse(text)
    assert str(refusal.value).startswith("SECCID ")
    assert reason in str(refusal.value)


def test_a_seccid_of_an_unlisted_country_is_refused_under_a_list():
    with pytest.raises(MalformedError, match="country code PI, which is not on the list"):
        Seccid.parse("PI-ONX-S-MICROMEGA00000000000000000000000-7", ISO_3166_ALPHA_2)


def test_the_letter_after_the_operator_tells_evseid_from_seccid():
    assert isinstance(parse_evse_identifier("DE*ICE*E45B*78C"), Evseid)
    assert isinstance(parse_evse_identifier("deices00003C4D5578786756453309675434762"), Seccid)
    assert isinstance(parse_evse_identifier("DE-ICE-S-00003C4D557878675645330967543476-2"), Seccid)
    with pytest.raises(MalformedError, match="lacks the letter E"):
        parse_evse_identifier("DE*ICE*X45B")
    with pytest.raises(MalformedError, match="not on the list"):
        parse_evse_identifier("ZZ*ICE*E45B*78C", ISO_3166_ALPHA_2)
    with pytest.raises(MalformedError, match="not on the list"):
        parse_evse_identifier("PI-ONX-S-MICROMEGA00000000000000000000000-7", ISO_3166_ALPHA_2)


def test_an_evseid_and_a_seccid_are_never_equal():
    assert Evseid(canonical="X", as_issued="X", printed="X") != Seccid(canonical="X", as_issued="X")


# --- PCID


@pytest.mark.parametrize("text", VECTORS["pcid_valid"])
def test_a_pcid_is_compared_in_upper_case_and_issued_in_its_own(text):
    pcid = Pcid.parse(text)
    assert pcid.canonical == text.upper()
    assert pcid.as_issued == pcid.printed == text
    assert pcid.wmi == text[:3].upper()
    assert pcid == Pcid.parse(text.swapcase())
    assert Pcid.parse(text, edition20=True) == pcid


@pytest.mark.parametrize(("text", "reason"), VECTORS["pcid_refused"].items())
def test_what_is_no_pcid_is_refused_with_its_reason(text, reason):
    with pytest.raises(MalformedError) as refusal:
        Pcid.parse(text)
    assert str(refusal.value).startswith("PCID ")
    assert reason in str(refusal.value)


def test_edition_20_allows_a_pcid_as_long_as_a_common_name():
    assert len(Pcid.parse("W" * 64, edition20=True).as_issued) == COMMON_NAME_LIMIT == 64
    for text in ("W" * 65, "W" * 16, "W" * 17 + "-"):
        with pytest.raises(MalformedError):
            Pcid.parse(text, edition20=True)


# --- all of them


@pytest.mark.parametrize(
    "identifier",
    [
        Emaid.parse("DE8AA0012345670"),
        Evseid.parse("DEAB7E1"),
        Seccid.parse("DEICES00003C4D5578786756453309675434762"),
        Pcid.parse("HUBOPENPROVCERT999"),
    ],
    ids=lambda identifier: type(identifier).__name__,
)
def test_an_identifier_cannot_be_changed_and_carries_no_dictionary(identifier):
    with pytest.raises(FrozenInstanceError):
        identifier.canonical = "X"
    assert not hasattr(identifier, "__dict__")


@pytest.mark.parametrize("parse", [Emaid.parse, Evseid.parse, Seccid.parse, Pcid.parse, parse_evse_identifier])
def test_a_refusal_quotes_only_the_beginning_of_a_long_input(parse):
    with pytest.raises(MalformedError) as refusal:
        parse("\u0666" * 100_000)
    assert str(refusal.value).isascii()
    assert len(str(refusal.value)) < 1_000


def test_a_refusal_never_breaks_a_log_line():
    with pytest.raises(MalformedError) as refusal:
        Emaid.parse("DE8AA0012\r\n34567")
    assert str(refusal.value).isprintable()
