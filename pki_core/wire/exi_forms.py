"""EXI streams that differ in octets only (EXI 7.1.1, 7.1.10): what they share is written once, then octets are set in.

Bit-packed, and with strings written out each time, a value stands at the same bits whatever its octets are, as long as
there are as many. Where that is shows when the one codec there is writes the same again with one bit changed.
"""

from collections.abc import Callable, Sequence

_BLANK, _MARK = b"0", b"1"  # differ in their last bit; characters, so that strings can be blank as well

Write = Callable[[tuple[bytes, ...]], bytes]


class Form:
    """A stream with room for values of certain lengths."""

    def __init__(self, write: Write, lengths: Sequence[int]) -> None:
        """Learn from ``write`` where it puts its values, each of so many octets and none of them empty.

        Raises:
            MalformedError: the values are longer than they may be.
        """
        blank = tuple(_BLANK * length for length in lengths)
        stream = write(blank)
        number = int.from_bytes(stream)
        self._octets = len(stream)
        self._shifts = []
        for place, value in enumerate(blank):
            marked = (*blank[:place], value[:-1] + _MARK, *blank[place + 1 :])
            self._shifts.append((int.from_bytes(write(marked)) ^ number).bit_length() - 1)
        for value, shift in zip(blank, self._shifts, strict=True):
            number ^= int.from_bytes(value) << shift
        self._number = number

    def filled(self, *values: bytes) -> bytes:
        """Return the stream with these values, each as long as it was said to be."""
        number = self._number
        for value, shift in zip(values, self._shifts, strict=True):
            number |= int.from_bytes(value) << shift
        return number.to_bytes(self._octets)
