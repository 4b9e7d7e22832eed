"""The entries of a CRL (RFC 5280 5.1.2.6) read back octet by octet, a million a second, in little memory.

One expression describes an entry as ours are: serial, time, and at most the reason, not critical. What it does not
match from end to end is not ours. Serials are kept as 8 octets of hash each, to find doubles by sorting.
"""

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pki_core.model.errors import MalformedError

_BLOCK = 262_144
_PIECE = 1_048_576
_LARGEST_ENTRY = 130  # the short form of a length reaches no further
_SERIALS = b"|".join(
    rb"\x%02x[\x00-\xff]{%d}" % (octets, octets) for octets in (18, *range(20, 18, -1), *range(17, 0, -1))
)
_TIMES = rb"\x17\x0d[0-9]{12}Z|\x18\x0f[0-9]{14}Z"
_REASON = rb"\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01"
_ENTRY = re.compile(
    rb"\x30([\x10-\x7f])\x02(" + _SERIALS + rb")(" + _TIMES + rb")(" + _REASON + rb"[\x01-\x06\x08-\x0a])?"
)
_FEW = 10_000

Read = Callable[[int, int], bytes]  # (offset, octets)


@dataclass(slots=True)
class EntryScan:
    """What was found in the entries."""

    count: int = 0
    times: set[bytes] = field(default_factory=set)  # DER times, each once
    reasons: set[int] = field(default_factory=set)
    keys: "array[int]" = field(default_factory=lambda: array("q"))  # hashes of the serials, sorted
    has_doubles: bool = False
    last_block: int = 0  # where the last stretch of entries begins


def scan_entries(read: Read, octets: int) -> EntryScan:
    """Read all entries of a list.

    Raises:
        MalformedError: something in them is not an entry as this software writes them.
    """
    scan = EntryScan()
    at = 0
    for found in _blocks(read, octets):
        lengths, serials, times, reasons = zip(*found, strict=True)
        scan.last_block = at
        at += sum(b"".join(lengths)) + 2 * len(found)
        scan.count += len(found)
        scan.times.update(times)
        scan.reasons.update({reason[-1] for reason in set(reasons) if reason})
        scan.keys.extend(map(hash, serials))
    scan.keys, scan.has_doubles = _sorted(scan.keys)
    return scan


def is_continued(before: tuple[Read, int], after: tuple[Read, int]) -> bool:
    """Tell whether a list, given as (reader, octets) of its entries, begins with all the entries of another."""
    octets = before[1]
    return octets <= after[1] and all(
        before[0](at, min(_PIECE, octets - at)) == after[0](at, min(_PIECE, octets - at))
        for at in range(0, octets, _PIECE)
    )


def missing_serials(read: Read, octets: int, after: EntryScan) -> Iterator[bytes]:
    """Yield the serials of a list's entries that are not in a later one."""
    few = set(after.keys) if len(after.keys) < _FEW else None
    for found in _blocks(read, octets):
        serials = [serial for _, serial, _, _ in found]
        yield from (serial[1:] for serial in _missing(serials, after.keys, few))


def entries_in(read: Read, octets: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (serial octets, whole entry) of each entry, in order."""
    for found in _blocks(read, octets):
        for length, serial, time, reason in found:
            yield serial[1:], b"\x30" + length + b"\x02" + serial + time + reason


def _blocks(read: Read, octets: int) -> Iterator[list[tuple[bytes, bytes, bytes, bytes]]]:
    at = 0
    while at < octets:
        block = read(at, min(_BLOCK, octets - at))
        found = _ENTRY.findall(block)
        if at + len(block) < octets and found:
            found.pop()  # it may go on in the next block
        used = sum(3 + len(serial) + len(time) + len(reason) for _, serial, time, reason in found)
        announced = sum(2 + length[0] for length, _, _, _ in found)
        rest = len(block) - used
        if not found or used != announced or (rest and at + len(block) == octets) or rest > 2 * _LARGEST_ENTRY:
            raise MalformedError(f"the entries of the CRL are not all of our form near octet {at}")
        yield found
        at += used


def _sorted(keys: "array[int]") -> tuple["array[int]", bool]:
    """Return the keys in order, and whether one stands in them twice."""
    if len(keys) < _FEW:
        return array("q", sorted(keys)), len(set(keys)) < len(keys)
    import numpy as np  # noqa: PLC0415  # a set of a million numbers takes 100 MB, sorting them in place 8

    numbers = np.frombuffer(keys, dtype=np.int64)
    numbers.sort()
    return keys, bool((numbers[1:] == numbers[:-1]).any())


def _missing(serials: list[bytes], keys: "array[int]", few: set[int] | None) -> list[bytes]:
    if few is not None:
        return [serial for serial in serials if hash(serial) not in few]
    import numpy as np  # noqa: PLC0415  # as above

    known = np.frombuffer(keys, dtype=np.int64)
    asked = np.fromiter(map(hash, serials), dtype=np.int64, count=len(serials))
    places = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return [serials[at] for at in np.flatnonzero(known[places] != asked)]
