"""Check digits of contract identifiers: EMAID (ISO 15118-1 and -2, Annex H) and DIN SPEC 91286.

The EMAID digit is a code over two small fields at once. A character is a value 0..35, cut into two bits and two
trits; position i multiplies the bit pair by the i-th power of one matrix and the trit pair by that of another; the
fifteenth character is the one that makes both sums vanish. A bit and a trit together are one number modulo 6
(Chinese remainders), so a whole EMAID is fourteen look-ups and one addition of packed pairs.
"""

from collections.abc import Mapping
from operator import getitem

from pki_core.model.errors import MalformedError

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_Pair = tuple[int, int]
_Matrix = tuple[_Pair, _Pair]

_BITS: _Matrix = ((0, 1), (1, 1))  # Annex H: P1, modulo 2
_TRITS: _Matrix = ((0, 1), (1, 2))  # Annex H: P2, modulo 3
_POSITIONS = 14
_PACK = 128  # fourteen summands of at most 5 stay below it, so the low half never runs into the high one

_DIN_LENGTH = 11  # country 2, provider 3, instance 6
_DIN_MODULUS = 11


def _times(row: _Pair, matrix: _Matrix, modulus: int) -> _Pair:
    """Multiply a row vector by a matrix."""
    return (
        (row[0] * matrix[0][0] + row[1] * matrix[1][0]) % modulus,
        (row[0] * matrix[0][1] + row[1] * matrix[1][1]) % modulus,
    )


def _modulo_6(bit: int, trit: int) -> int:
    """Return the one number modulo 6 that is ``bit`` modulo 2 and ``trit`` modulo 3."""
    return (3 * bit + 4 * trit) % 6


def _contribution(value: int, position: int) -> _Pair:
    """Return what a character of this value adds at this position (1..15), as two numbers modulo 6."""
    bits = divmod(value // 9, 2)
    trits = divmod(value % 9, 3)
    for _ in range(position):
        bits = _times(bits, _BITS, 2)
        trits = _times(trits, _TRITS, 3)
    return _modulo_6(bits[0], trits[0]), _modulo_6(bits[1], trits[1])


def _position_table(position: int) -> Mapping[str, int]:
    """Return the packed contribution of every character at one position."""
    pairs = {character: _contribution(value, position) for value, character in enumerate(ALPHABET)}
    return {character: first + _PACK * second for character, (first, second) in pairs.items()}


def _closing_digits() -> tuple[tuple[str, ...], ...]:
    """Return, by the two sums modulo 6, the fifteenth character that brings both to zero."""
    by_sums = {}
    for value, character in enumerate(ALPHABET):
        first, second = _contribution(value, _POSITIONS + 1)
        by_sums[-first % 6, -second % 6] = character
    return tuple(tuple(by_sums[first, second] for second in range(6)) for first in range(6))


_TABLES = tuple(_position_table(position) for position in range(1, _POSITIONS + 1))
_DIGITS = _closing_digits()


def emaid_check_digit(canonical: str) -> str:
    """Compute the check digit of an EMAID's first 14 characters: upper case, no separators."""
    if len(canonical) != _POSITIONS:
        raise MalformedError(f"An EMAID check digit is computed over 14 characters, not {len(canonical)}.")
    try:
        sums = sum(map(getitem, _TABLES, canonical))
    except KeyError:
        raise MalformedError(
            "An EMAID check digit is computed over the digits 0-9 and the upper-case letters A-Z only."
        ) from None
    return _DIGITS[sums % _PACK % 6][sums // _PACK % 6]


def din_check_digit(canonical: str) -> str:
    """Compute the DIN SPEC 91286 check digit of 11 characters: country, provider, 6-character instance.

    A letter counts as the two decimal digits of its value (A = 10); digit i, from 0, weighs 2**i; modulo 11, X is 10.
    """
    if len(canonical) != _DIN_LENGTH or not set(canonical) <= set(ALPHABET):
        raise MalformedError("A DIN SPEC 91286 check digit is computed over 11 characters of 0-9 and A-Z.")
    digits = "".join(str(ALPHABET.index(character)) for character in canonical)
    remainder = sum(int(digit) << weight for weight, digit in enumerate(digits)) % _DIN_MODULUS
    return "X" if remainder == _DIN_MODULUS - 1 else str(remainder)
