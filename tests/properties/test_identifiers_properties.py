"""Identifiers for any input: parsers refuse with MalformedError only, and every form reads back as the same one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki_core.model.emaid_check_digit import _TABLES, emaid_check_digit
from pki_core.model.errors import MalformedError
from pki_core.model.identifiers import (
    COMMON_NAME_LIMIT,
    CheckDigitPolicy,
    Emaid,
    Evseid,
    Pcid,
    Seccid,
    emaid_from_din,
    judge_check_digit,
    parse_evse_identifier,
)

ALNUM = string.ascii_letters + string.digits
LOOKALIKES = "\u017f\u0131\u212a\u0660\u0967\uff11\uff21\u00c9\u200d\n "  # upper, lower or digit value in ASCII


def word(length, most=None):
    return st.text(ALNUM, min_size=length, max_size=most or length)


country = st.text(string.ascii_letters, min_size=2, max_size=2)
emaids = st.tuples(country, word(3), word(9), word(0, 1)).map("".join)
evseids = st.builds("{}{}{}{}{}{}{}".format, country, st.sampled_from(["", "*"]), word(3), st.sampled_from(["", "*"]),
                    st.sampled_from("Ee"), st.sampled_from(["", "*"]), word(1, 31))  # fmt: skip
seccids = st.builds("{0}{5}{1}{5}{2}{5}{3}{5}{4}".format, country, word(3), st.sampled_from("Ss"), word(32, 53),
                    word(1), st.sampled_from(["", "-"]))  # fmt: skip
pcids = word(17, 18)
near_misses = st.text(ALNUM + "-*+_" + LOOKALIKES, max_size=70)

PARSERS = [
    Emaid.parse,
    Evseid.parse,
    Seccid.parse,
    Pcid.parse,
    parse_evse_identifier,
    lambda text: emaid_from_din(text, keep_din_digit=True),
    lambda text: Pcid.parse(text, edition20=True),
]


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.one_of(st.text(), near_misses, emaids, evseids, seccids, pcids))
def test_a_parser_returns_an_ascii_identifier_or_raises_malformed(parse, text):
    try:
        identifier = parse(text)
    except MalformedError as refusal:
        assert str(refusal).endswith(".")  # noqa: PT017  # most inputs are not refused
        return
    assert identifier.canonical.isascii()
    assert identifier.canonical.isalnum()
    assert identifier.canonical == identifier.canonical.upper()
    assert len(identifier.as_issued) <= COMMON_NAME_LIMIT


@given(text=emaids)
def test_every_form_of_an_emaid_reads_back_as_the_same_emaid(text):
    emaid = Emaid.parse(text)
    for form in (emaid.as_issued, emaid.printed, emaid.as_issued.lower(), emaid.canonical):
        again = Emaid.parse(form)
        assert again == emaid
        assert hash(again) == hash(emaid)
    assert Emaid.parse(emaid.printed).check_digit == emaid.check_digit
    assert emaid.as_issued == text.upper()


@given(text=evseids)
def test_every_form_of_an_evseid_reads_back_as_the_same_evseid(text):
    evseid = Evseid.parse(text)
    assert {Evseid.parse(form) for form in (evseid.as_issued, evseid.printed, evseid.canonical)} == {evseid}
    assert parse_evse_identifier(text) == evseid


@given(text=seccids)
def test_every_form_of_a_seccid_reads_back_as_the_same_seccid(text):
    seccid = Seccid.parse(text)
    assert {Seccid.parse(form) for form in (seccid.as_issued, seccid.printed, seccid.canonical)} == {seccid}
    assert parse_evse_identifier(text) == seccid


@given(text=pcids)
def test_a_pcid_is_the_same_in_every_case_and_keeps_its_own(text):
    pcid = Pcid.parse(text)
    assert Pcid.parse(text.lower()) == Pcid.parse(text.upper()) == pcid
    assert pcid.as_issued == text


@given(text=emaids.filter(lambda text: len(text) == 15))
def test_exactly_one_of_the_36_check_digits_is_right(text):
    emaid = Emaid.parse(text)
    warnings = [
        judge_check_digit(Emaid.parse(emaid.canonical + digit), CheckDigitPolicy.WARN)
        for digit in string.digits + string.ascii_uppercase
    ]
    assert warnings.count("") == 1


@given(text=emaids, position=st.integers(0, 13), character=st.sampled_from(string.digits + string.ascii_uppercase))
def test_the_check_digit_notices_any_single_changed_character(text, position, character):
    canonical = Emaid.parse(text).canonical
    changed = canonical[:position] + character + canonical[position + 1 :]
    assert (emaid_check_digit(changed) == emaid_check_digit(canonical)) == (changed == canonical)


def _reference_digit(canonical):
    """The definition, matrix by matrix and without tables: the oracle for the fast one."""
    alphabet = string.digits + string.ascii_uppercase
    sums = [0, 0, 0, 0]
    for last in alphabet:
        sums = [0, 0, 0, 0]
        powers = [[(1, 0), (0, 1)], [(1, 0), (0, 1)]]
        for character in canonical + last:
            value = alphabet.index(character)
            powers = [
                [(b % m, (a + k * b) % m) for a, b in power] for power, m, k in zip(powers, (2, 3), (1, 2), strict=True)
            ]
            rows = divmod(value // 9, 2), divmod(value % 9, 3)
            for half, (row, power) in enumerate(zip(rows, powers, strict=True)):
                for column in (0, 1):
                    sums[2 * half + column] += row[0] * power[0][column] + row[1] * power[1][column]
        if not any((sums[0] % 2, sums[1] % 2, sums[2] % 3, sums[3] % 3)):
            return last
    raise AssertionError(sums)


@given(text=emaids)
def test_the_table_driven_check_digit_agrees_with_its_definition(text):
    canonical = Emaid.parse(text).canonical
    assert emaid_check_digit(canonical) == _reference_digit(canonical)


def test_the_largest_sums_of_one_half_do_not_run_into_the_other():
    largest = "".join(max(table, key=lambda character: table[character] % 128) for table in _TABLES)
    assert emaid_check_digit(largest) == _reference_digit(largest)
