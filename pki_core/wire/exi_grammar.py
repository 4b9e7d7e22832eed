"""Schema-informed EXI grammars (W3C EXI 1.0, 8.5) as tables, and the one machine that reads and writes by them.

A table says what an XML Schema type holds: attributes, then children in order, or a simple value. From it come the
states of the type's grammar with their event codes, once, when the module is loaded. The options are ISO 15118's:
bit-packed, not strict, nothing preserved. So every state has one code more than productions, the way out of the
schema; no message of ours takes it, and a stream that does is malformed.

A type reads to the value its ``make`` returns from its parts' fields, and is written from an object with these fields.
A type without ``make`` has one part and is that part's value. Tables cannot refer to themselves: nesting is bounded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from pki_core.model.errors import MalformedError
from pki_core.wire.exi_bits import BitReader, BitWriter, width_of
from pki_core.wire.exi_values import Type

_Key = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """An attribute; those of a type stand in the order of their names (EXI 8.5.4.1.3.2)."""

    name: str
    field: str
    type: Type
    required: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """A child element, ``minimum`` to ``maximum`` times (0: any number); we take at most ``limit``."""

    name: str
    field: str
    type: Type | None  # None: in the schema, but not used in ISO 15118
    minimum: int = 1
    maximum: int = 1
    limit: int = 0

    @property
    def repeated(self) -> bool:
        """Whether the value is a tuple."""
        return self.maximum != 1


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Exactly one of several children."""

    children: tuple[Child, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """A simple value between the tags."""

    field: str
    type: Type


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """Mixed or any content that ISO 15118 leaves empty: the event code of the end among so many productions."""

    code: int
    productions: int


_Part = Attribute | Child | Content
_END = Content("", cast("Type", None))  # the production that ends an element


@dataclass(slots=True, eq=False)
class _State:
    width: int
    events: "tuple[tuple[_Part, _State] | None, ...]"
    steps: "dict[_Part, tuple[int, _State]]"


class Element:
    """A complex type, or a simple one as elements have it."""

    def __init__(
        self,
        make: Callable[..., object] | None,
        *children: Child | Choice,
        attributes: tuple[Attribute, ...] = (),
        content: Content | Closed | None = None,
    ) -> None:
        self._make = make
        self._attributes = attributes
        self._slots = [slot.children if isinstance(slot, Choice) else (slot,) for slot in children]
        self._content = content
        used = [child for slot in self._slots for child in slot if child.type]
        self._parts: list[Attribute | Child] = [*attributes, *used]
        self._plan = [(part, part.field, part.type, _most_of(part)) for part in self._parts if part.type is not None]
        states: dict[_Key, _State] = {}
        self._first = self._state((0, 0, 0), states)

    def read(self, reader: BitReader, name: str) -> object:
        """Read an element after its start."""
        found: dict[str, object] = {}
        for part in self._walk(reader, name):
            if part.type is None:
                raise MalformedError(f"{name} holds {getattr(part, 'name', '')}, which ISO 15118 does not use")
            value = part.type.read(reader, name if isinstance(part, Content) else part.name)
            if not isinstance(part, Child) or not part.repeated:
                found[part.field] = value
                continue
            values = cast("tuple[object, ...]", found.get(part.field, ()))
            if len(values) >= (part.limit or part.maximum):
                raise MalformedError(f"{name} holds more than {len(values)} {part.name}")
            found[part.field] = (*values, value)
        if self._make is None:
            return next(iter(found.values()))
        return self._make(**found)

    def _walk(self, reader: BitReader, name: str) -> Iterator[_Part]:
        """Yield the parts that are there, each before its value is read."""
        state = self._first
        while True:
            code = reader.bits(state.width)
            event = state.events[code] if code < len(state.events) else None
            if event is None:
                raise MalformedError(f"{name} holds something that is not in the schema of ISO 15118")
            part, state = event
            if part is _END:
                return
            yield part

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write an element after its start, and its end."""
        state, has_fields = self._first, self._make is not None
        for part, field, kind, most in self._plan:
            item: object = getattr(value, field) if has_fields else value
            if item is None or item == ():
                continue
            for one in _repeated(item, most, part, name) if most else (item,):
                step = state.steps.get(part)
                if step is None:
                    raise _lacking(state, name)
                writer.bits(step[0], state.width)
                state = step[1]
                kind.write(writer, one, part.name)
        if isinstance(self._content, Content):
            state = self._step(writer, state, self._content, name)
            self._content.type.write(writer, getattr(value, self._content.field) if has_fields else value, name)
        self._step(writer, state, _END, name)

    @staticmethod
    def _step(writer: BitWriter, state: _State, part: _Part, name: str) -> _State:
        step = state.steps.get(part)
        if step is None:
            raise _lacking(state, name)
        writer.bits(step[0], state.width)
        return step[1]

    def _state(self, key: _Key, states: dict[_Key, _State]) -> _State:
        if key not in states:
            states[key] = state = _State(0, (), {})
            productions = self._productions(key)
            state.width = width_of(len(productions) + 1)
            state.events = tuple(
                production and (production[0], self._state(production[1], states)) for production in productions
            )
            state.steps = {event[0]: (code, event[1]) for code, event in enumerate(state.events) if event}
        return states[key]

    def _productions(self, key: _Key) -> list[tuple[_Part, _Key] | None]:
        """Return what may follow: after ``key[0]`` attributes, and ``key[2]`` children of slot ``key[1]``."""
        after, number, count = key
        if after > len(self._attributes):  # behind a simple value, or the end
            return [(_END, key)]
        found: list[tuple[_Part, _Key] | None] = []
        for position, attribute in enumerate(self._attributes[after:], after + 1):
            found.append((attribute, (position, 0, 0)))
            if attribute.required:
                return found
        if isinstance(self._content, Content):
            return [*found, (self._content, (len(self._attributes) + 1, 0, 0))]
        if isinstance(self._content, Closed):
            end = (_END, key)
            return [*found, *[end if code == self._content.code else None for code in range(self._content.productions)]]
        return self._children(found, number, count)

    def _children(
        self, found: list[tuple[_Part, _Key] | None], number: int, count: int
    ) -> list[tuple[_Part, _Key] | None]:
        after = len(self._attributes)
        for position, slot in enumerate(self._slots[number:], number):
            most = slot[0].maximum
            if not most or count < most:
                found += [(child, (after, position, count + 1 if most else 1)) for child in slot]
            if count < slot[0].minimum:
                return found
            count = 0
        return [*found, (_END, (after, len(self._slots), 0))]


def _most_of(part: Attribute | Child) -> int:
    """Return how often a part may be there; 0 = its value is not a tuple."""
    return (part.limit or part.maximum) if isinstance(part, Child) and part.repeated else 0


def _repeated(item: object, most: int, part: Attribute | Child, name: str) -> tuple[object, ...]:
    items = cast("tuple[object, ...]", item)
    if len(items) > most:
        raise MalformedError(f"{name} holds {len(items)} {part.name}; {most} are allowed")
    return items


def _lacking(state: _State, name: str) -> MalformedError:
    lacking = " or ".join(str(getattr(known, "name", "its value")) for known in state.steps if known is not _END)
    return MalformedError(f"{name} needs {lacking or 'nothing more'} here")


def element_of(simple: Type) -> Element:
    """Return how an element with a simple type is read and written: its value, and its end."""
    return Element(None, content=Content("value", simple))


class Kept:
    """A type whose values come again and again: the bits of a value are made once and set in from then on.

    Right because a writer never refers to earlier strings: the bits of a value are the same wherever it stands.
    """

    def __init__(self, inner: Element, most: int = 64) -> None:
        """Keep the bits of at most so many values; they are public, and hashable."""
        self._inner = inner
        self._most = most
        self._bits: dict[object, tuple[int, int]] = {}
        self._older: dict[object, tuple[int, int]] = {}  # the generation before: a full cache is not an empty one

    def read(self, reader: BitReader, name: str) -> object:
        """Read a value."""
        return self._inner.read(reader, name)

    def write(self, writer: BitWriter, value: object, name: str) -> None:
        """Write a value."""
        bits = self._bits.get(value)
        if bits is None:
            bits = self._older.get(value) or self._bits_of(value, name)
            if len(self._bits) >= self._most:
                self._bits, self._older = {}, self._bits
            self._bits[value] = bits
        writer.many(*bits)

    def _bits_of(self, value: object, name: str) -> tuple[int, int]:
        own = BitWriter()
        self._inner.write(own, value, name)
        return own.written()
