"""Bits of an EXI stream, bit-packed (W3C EXI 1.0, 7.1): numbers, octets and strings, read strictly and written.

A reader never looks past its octets, and every length is held against a limit before anything of that length is made.
"""

from collections.abc import Collection

from pki_core.model.errors import MalformedError

_GROUP = 7  # payload bits of one octet of an Unsigned Integer
_MORE = 0x80
_FLUSHED_AT = 64  # bits that wait at most before they become octets
# XML 1.0 2.2: characters a document may hold. Surrogates are none.
_XML_CONTROLS = frozenset("\t\n\r")
_XML_NONCHARACTERS = frozenset("\ufffe\uffff")
_LAST_CODE_POINT = 0x10FFFF
_FIRST_PRINTABLE = " "
_SURROGATES = range(0xD800, 0xE000)


def width_of(count: int) -> int:
    """Return how many bits tell so many values apart (EXI 7.1.9): none for one value."""
    return (count - 1).bit_length() if count > 1 else 0


def is_xml_text(text: str) -> bool:
    """Tell whether an XML document may hold these characters."""
    if text.isprintable():  # no control, no surrogate, no noncharacter: nearly every string takes this way
        return True
    return all(_is_xml_character(character) for character in text)


def _is_xml_character(character: str) -> bool:
    if character in _XML_NONCHARACTERS or ord(character) in _SURROGATES:
        return False
    return character >= _FIRST_PRINTABLE or character in _XML_CONTROLS


class BitReader:
    """Reads one stream from its first bit to its last."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._position = 0
        self._end = 8 * len(octets)
        self._local: dict[str, list[str]] = {}
        self._global: list[str] = []

    @property
    def position(self) -> int:
        """How many bits have been read."""
        return self._position

    def bits(self, count: int) -> int:
        """Read an n-bit Unsigned Integer (EXI 7.1.9)."""
        end = self._position + count
        if end > self._end:
            raise MalformedError("the EXI stream ends too early")
        last = (end + 7) >> 3
        value = int.from_bytes(self._octets[self._position >> 3 : last])
        self._position = end
        return value >> (8 * last - end) & ((1 << count) - 1)

    def octets(self, count: int) -> bytes:
        """Read so many octets, wherever among the bits they stand."""
        start, end = self._position, self._position + 8 * count
        if end > self._end:
            raise MalformedError("the EXI stream ends too early")
        self._position = end
        first, shift = start >> 3, start & 7
        if not shift:
            return self._octets[first : first + count]
        window = int.from_bytes(self._octets[first : first + count + 1]) >> (8 - shift)
        return (window & ((1 << 8 * count) - 1)).to_bytes(count)

    def unsigned(self, most_bits: int) -> int:
        """Read an Unsigned Integer (EXI 7.1.6) of at most so many bits, in its shortest form."""
        value = shift = 0
        while True:
            octet = self.bits(8)
            value |= (octet & (_MORE - 1)) << shift
            if not octet & _MORE:
                break
            shift += _GROUP
            if shift >= most_bits:
                raise MalformedError("a number in the EXI stream is too large")
        if value.bit_length() > most_bits:
            raise MalformedError("a number in the EXI stream is too large")
        if shift and not octet:
            raise MalformedError("a number in the EXI stream is longer than it needs to be")
        return value

    def text(self, name: str, limit: int) -> str:
        """Read a String (EXI 7.1.10, 7.3.3) of at most so many characters, the value of ``name``.

        ISO 15118 leaves no room for values in the string table, so writers repeat strings; those that refer to an
        earlier one all the same are understood.
        """
        length = self.unsigned(32)
        if length == 0:
            return self._earlier(self._local.get(name, ()), name, limit)
        if length == 1:
            return self._earlier(self._global, name, limit)
        length -= 2
        if length > limit:
            raise MalformedError(f"{name} has {length} characters; {limit} are allowed")
        text = self._characters(length)
        if not is_xml_text(text):
            raise MalformedError(f"{name} holds characters that XML does not have")
        if text:
            self._local.setdefault(name, []).append(text)
            self._global.append(text)
        return text

    def finish(self) -> None:
        """Hold that the stream ends here: what fills up its last octet is zero (EXI 4)."""
        if self._end - self._position >= _GROUP + 1:
            raise MalformedError("octets follow the end of the EXI stream")
        if self.bits(self._end - self._position):
            raise MalformedError("the EXI stream is not filled up with zero bits")

    def _characters(self, length: int) -> str:
        start = self._position
        octets = self.octets(length)  # no character takes less than an octet
        if octets.isascii():
            return octets.decode("ascii")
        self._position = start
        return "".join([self._character() for _ in range(length)])

    def _character(self) -> str:
        code = self.unsigned(21)
        if code > _LAST_CODE_POINT:
            raise MalformedError("a character in the EXI stream is none of Unicode")
        return chr(code)

    def _earlier(self, values: Collection[str], name: str, limit: int) -> str:
        number = self.bits(width_of(len(values)))
        if number >= len(values):
            raise MalformedError(f"{name} refers to a string that has not been there")
        text = list(values)[number]
        if len(text) > limit:
            raise MalformedError(f"{name} has {len(text)} characters; {limit} are allowed")
        return text


class BitWriter:
    """Writes one stream."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._waiting = 0
        self._count = 0

    def bits(self, value: int, count: int) -> None:
        """Write an n-bit Unsigned Integer."""
        self._waiting = self._waiting << count | value
        self._count += count
        if self._count >= _FLUSHED_AT:
            self._flush()

    def many(self, value: int, count: int) -> None:
        """Write bits that another writer has written: what its ``written`` returned."""
        self._waiting = self._waiting << count | value
        self._count += count
        self._flush()

    def written(self) -> tuple[int, int]:
        """Return all bits so far, as a number, and how many they are."""
        return int.from_bytes(self._octets) << self._count | self._waiting, 8 * len(self._octets) + self._count

    def octets(self, octets: bytes) -> None:
        """Write octets."""
        self._waiting = self._waiting << 8 * len(octets) | int.from_bytes(octets)
        self._count += 8 * len(octets)
        self._flush()

    def unsigned(self, value: int) -> None:
        """Write an Unsigned Integer in its shortest form."""
        while value >= _MORE:
            self.bits(value & (_MORE - 1) | _MORE, 8)
            value >>= _GROUP
        self.bits(value, 8)

    def text(self, text: str) -> None:
        """Write a String in full, also when it was there before."""
        self.unsigned(len(text) + 2)
        if text.isascii():
            self.octets(text.encode("ascii"))
            return
        for character in text:
            self.unsigned(ord(character))

    def finish(self) -> bytes:
        """Return the stream, filled up to whole octets with zero bits."""
        self.bits(0, -self._count & 7)
        self._flush()
        return bytes(self._octets)

    def _flush(self) -> None:
        rest = self._count & 7
        self._octets += (self._waiting >> rest).to_bytes(self._count >> 3)
        self._waiting &= (1 << rest) - 1
        self._count = rest
