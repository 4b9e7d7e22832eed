"""Serial numbers in print: one stored form, and every spelling people paste leads to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki_core.issuance.issuer import RANDOM_OCTETS
from pki_core.issuance.lint import MAX_SERIAL_BITS
from pki_core.model.certificates import parse_serial, serial_text
from pki_core.model.errors import MalformedError

patient = settings(deadline=None)  # a busy machine is no fault of the code
serials = st.integers(min_value=0, max_value=(1 << 160) - 1)


@pytest.mark.parametrize(
    ("serial", "text"),
    [
        (0, "00"),
        (1, "01"),
        (0x7F, "7f"),
        (0x80, "80"),
        (0x100, "0100"),
        (0xABCDEF, "abcdef"),
        (0x123456789A, "123456789a"),
    ],
)
def test_a_serial_is_written_in_lower_hex_with_two_digits_an_octet(serial, text):
    assert serial_text(serial) == text


@patient
@given(serials)
def test_what_is_written_is_read_as_the_same(serial):
    assert parse_serial(serial_text(serial)) == serial_text(serial)
    assert int(serial_text(serial), 16) == serial


@patient
@given(
    serials, st.sampled_from(["{}", " {} ", "0x{}", "0X{}", "\t{}\n"]), st.booleans(), st.sampled_from(["", ":", " "])
)
def test_every_common_spelling_is_the_same_serial(serial, frame, capital, separator):
    digits = f"{serial:x}".zfill(2 * -(-len(f"{serial:x}") // 2))
    text = separator.join(digits[at : at + 2] for at in range(0, len(digits), 2))
    assert parse_serial(frame.format(text.upper() if capital else text)) == serial_text(serial)


@patient
@given(serials)
def test_a_leading_zero_more_or_less_does_not_matter(serial):
    assert parse_serial(f"{serial:x}") == parse_serial(f"00{serial:x}") == serial_text(serial)


@pytest.mark.parametrize(
    "text", ["", "   ", "0x", ":", "xyz", "12 34 5g", "-1", "1.0", "0x0x1", "\u0661\u0662", "\uff11", "1_0"]
)
def test_what_is_not_hexadecimal_is_malformed(text):
    with pytest.raises(MalformedError, match="hexadecimal"):
        parse_serial(text)


def test_a_serial_has_at_most_20_octets():
    # RFC 5280 4.1.2.2
    assert parse_serial("f" * 40) == "f" * 40
    assert parse_serial("0" * 50 + "f" * 40) == "f" * 40
    with pytest.raises(MalformedError, match="20 octets"):
        parse_serial("1" + "f" * 40)


@patient
@given(st.text(max_size=60))
def test_any_text_is_a_serial_or_malformed(text):
    try:
        parsed = parse_serial(text)
    except MalformedError:
        return
    assert parsed == serial_text(int(parsed, 16))


def test_a_serial_of_ours_has_136_random_bits_and_room_to_spare():
    # status and issuance 6.2; RFC 5280 4.1.2.2
    assert RANDOM_OCTETS * 8 == 136
    assert (1 + RANDOM_OCTETS) * 8 <= MAX_SERIAL_BITS
    assert len(serial_text((0x01 << 136) + 5)) == 36
