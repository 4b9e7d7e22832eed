"""Simple values in an EXI stream (W3C EXI 1.0, 7): numbers, octets, strings and enumerations with their limits."""

from dataclasses import dataclass
from typing import Protocol, cast

from pki_core.model.errors import MalformedError
from pki_core.wire.exi_bits import BitReader, BitWriter, is_xml_text, width_of


class Type(Protocol):
    """How the value of an attribute, element or content is read and written; ``name`` is for errors and strings."""

    def read(self, reader: BitReader, name: str) -> object:
        """Read a value; MalformedError when there is none."""
        ...

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write a value; MalformedError when the type does not hold it."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A string of at most ``limit`` characters."""

    limit: int

    def read(self, reader: BitReader, name: str) -> str:
        """Read it."""
        return reader.text(name, self.limit)

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write it."""
        text = cast("str", value)
        if len(text) > self.limit or not is_xml_text(text):
            raise MalformedError(f"{name} is no XML text of at most {self.limit} characters")
        writer.text(text)


@dataclass(frozen=True, slots=True)
class Octets:
    """xs:base64Binary or xs:hexBinary of at most ``limit`` octets."""

    limit: int

    def read(self, reader: BitReader, name: str) -> bytes:
        """Read them."""
        length = reader.unsigned(32)
        if length > self.limit:
            raise MalformedError(f"{name} has {length} octets; {self.limit} are allowed")
        return reader.octets(length)

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write them."""
        octets = cast("bytes", value)
        if len(octets) > self.limit:
            raise MalformedError(f"{name} has {len(octets)} octets; {self.limit} are allowed")
        writer.unsigned(len(octets))
        writer.octets(octets)


@dataclass(frozen=True, slots=True)
class Integer:
    """xs:integer (EXI 7.1.5): a sign, and a magnitude of at most ``bits`` bits."""

    bits: int

    def read(self, reader: BitReader, name: str) -> int:
        """Read it."""
        del name
        negative = reader.bits(1)
        magnitude = reader.unsigned(self.bits)
        return -magnitude - 1 if negative else magnitude

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write it."""
        number = cast("int", value)
        magnitude = -number - 1 if number < 0 else number
        if magnitude.bit_length() > self.bits:
            raise MalformedError(f"{name} has more than {self.bits} bits")
        writer.bits(int(number < 0), 1)
        writer.unsigned(magnitude)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A number without a sign (EXI 7.1.6) of at most ``bits`` bits."""

    bits: int

    def read(self, reader: BitReader, name: str) -> int:
        """Read it."""
        del name
        return reader.unsigned(self.bits)

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write it."""
        number = cast("int", value)
        if number < 0 or number.bit_length() > self.bits:
            raise MalformedError(f"{name} is no number of at most {self.bits} bits")
        writer.unsigned(number)


@dataclass(frozen=True, slots=True)
class SmallNumber:
    """A number of a small range (EXI 7.1.9), in ``bits`` bits."""

    bits: int

    def read(self, reader: BitReader, name: str) -> int:
        """Read it."""
        del name
        return reader.bits(self.bits)

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write it."""
        number = cast("int", value)
        if number < 0 or number.bit_length() > self.bits:
            raise MalformedError(f"{name} is no number of at most {self.bits} bits")
        writer.bits(number, self.bits)


@dataclass(frozen=True, slots=True)
class Enumeration:
    """One of a list of strings, by its place (EXI 7.2)."""

    values: tuple[str, ...]

    def read(self, reader: BitReader, name: str) -> str:
        """Read it."""
        place = reader.bits(width_of(len(self.values)))
        if place >= len(self.values):
            raise MalformedError(f"{name} is none of the values in the schema of ISO 15118")
        return self.values[place]

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write it."""
        text = cast("str", value)
        if text not in self.values:
            raise MalformedError(f"{name} cannot be {text!a}")
        writer.bits(self.values.index(text), width_of(len(self.values)))
