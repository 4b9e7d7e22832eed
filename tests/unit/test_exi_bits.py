"""Bits of EXI streams: positions, numbers, strings, and everything that ends too early or is too large."""

import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.exi_bits import BitReader, BitWriter, is_xml_text, width_of
from pki_core.wire.exi_values import Enumeration, Integer, Octets, SmallNumber, Text, Unsigned


def written(write):
    writer = BitWriter()
    write(writer)
    return writer.finish()


@pytest.mark.parametrize(("count", "bits"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (256, 8), (257, 9)])
def test_so_many_values_need_so_many_bits(count, bits):
    assert width_of(count) == bits


def test_octets_are_read_where_they_stand_among_the_bits():
    for shift in range(9):
        octets = written(lambda writer, shift=shift: (writer.bits(0, shift), writer.octets(b"\x00\xff\x5a")))
        reader = BitReader(octets)
        assert reader.bits(shift) == 0
        assert reader.octets(3) == b"\x00\xff\x5a"
        reader.finish()


@pytest.mark.parametrize(("number", "hexadecimal"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02")])
def test_an_unsigned_integer_has_seven_bits_an_octet_low_ones_first(number, hexadecimal):
    octets = written(lambda writer: writer.unsigned(number))
    assert octets.hex() == hexadecimal
    assert BitReader(octets).unsigned(32) == number


@pytest.mark.parametrize(
    ("hexadecimal", "reason"),
    [("", "too early"), ("80", "too early"), ("8000", "longer than it needs"), ("ffffffff7f", "too large")],
)
def test_a_number_cut_off_padded_or_too_large_is_malformed(hexadecimal, reason):
    with pytest.raises(MalformedError, match=reason):
        BitReader(bytes.fromhex(hexadecimal)).unsigned(32)


def test_a_number_of_endless_groups_is_left_at_its_limit():
    reader = BitReader(b"\xff" * 10_000)
    with pytest.raises(MalformedError, match="too large"):
        reader.unsigned(160)
    assert reader.position <= 8 * 24


@pytest.mark.parametrize("text", ["", "#ID1", "ID1" * 20, "Zürich", "\U0001f50c", "tab\tand\nline"])
def test_a_string_is_read_back(text):
    octets = written(lambda writer: writer.text(text))
    assert BitReader(octets).text("URI", 64) == text


def test_a_string_longer_than_allowed_is_not_even_read():
    octets = written(lambda writer: writer.unsigned(0xFFFFFFFF))
    with pytest.raises(MalformedError, match="URI has 4294967293 characters; 64 are allowed"):
        BitReader(octets).text("URI", 64)


@pytest.mark.parametrize("code", [0, 1, 8, 0xB, 0x1F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF, 0x110000, 0x1FFFFF])
def test_a_character_that_xml_does_not_have_is_malformed(code):
    octets = written(lambda writer: (writer.unsigned(3), writer.unsigned(code)))
    with pytest.raises(MalformedError):
        BitReader(octets).text("URI", 64)


def test_characters_that_do_not_print_may_still_be_xml():
    assert is_xml_text("no-break\u00a0space, soft\u00adhyphen\u007f")
    assert not is_xml_text("\x00")


def test_a_string_that_was_there_before_is_understood():
    """Value partitions of EXI 7.3.3: 0 and a number among the values of this name, 1 and one among all."""

    def write(writer):
        writer.text("alpha")
        writer.text("beta")
        writer.unsigned(0)  # of "@URI": alpha, beta
        writer.bits(1, 1)
        writer.text("gamma")
        writer.unsigned(1)  # of all: alpha, beta, gamma
        writer.bits(2, 2)

    reader = BitReader(written(write))
    names = ("@URI", "@URI", "@URI", "Other", "@URI")
    assert [reader.text(name, 64) for name in names] == ["alpha", "beta", "beta", "gamma", "gamma"]


def test_a_string_that_was_never_there_is_malformed():
    for number in (0, 1):
        with pytest.raises(MalformedError, match="has not been there"):
            BitReader(bytes([number])).text("URI", 64)


def test_a_repeated_string_keeps_the_limit_of_its_new_place():
    octets = written(lambda writer: (writer.text("x" * 40), writer.unsigned(1)))
    reader = BitReader(octets)
    reader.text("long", 64)
    with pytest.raises(MalformedError, match="short has 40 characters; 10 are allowed"):
        reader.text("short", 10)


@pytest.mark.parametrize(("rest", "reason"), [(b"\x01", "zero bits"), (b"\x00\x00", "octets follow")])
def test_what_follows_the_end_is_malformed(rest, reason):
    reader = BitReader(rest)
    reader.bits(4)
    with pytest.raises(MalformedError, match=reason):
        reader.finish()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Text(3), "four"),
        (Text(9), "\x00"),
        (Octets(2), b"123"),
        (Integer(8), 256),
        (Integer(8), -257),
        (Unsigned(8), 256),
        (Unsigned(8), -1),
        (SmallNumber(8), 256),
        (SmallNumber(8), -1),
        (Enumeration(("OK",)), "NO"),
    ],
)
def test_a_value_that_its_type_does_not_hold_is_not_written(kind, value):
    with pytest.raises(MalformedError, match="Field"):
        kind.write(BitWriter(), value, "Field")


@pytest.mark.parametrize("number", [0, 1, -1, 255, -256, 12345])
def test_a_number_with_a_sign_is_read_back(number):
    octets = written(lambda writer: Integer(8 if abs(number) <= 256 else 14).write(writer, number, "Serial"))
    assert Integer(14).read(BitReader(octets), "Serial") == number


def test_a_place_outside_an_enumeration_is_malformed():
    with pytest.raises(MalformedError, match="none of the values"):
        Enumeration(("a", "b", "c")).read(BitReader(b"\xff"), "Code")


def test_a_large_value_costs_no_more_than_its_octets():
    with pytest.raises(MalformedError, match="has 200 octets; 8 are allowed"):
        Octets(8).read(BitReader(b"\xc8\x01" + bytes(300)), "SessionID")
