"""The entries of a CRL (RFC 5280 5.1.2.6) read back octet by octet, more than a million a second, in little memory.

One expression describes an entry as ours are: serial, time, and at most the reason, not critical. Splitting by it
leaves nothing over when all entries are of that form. Of serials a hash of 8 octets is kept, in buckets, to find
doubles and what is missing in a later list.
"""

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from pki_core.model.errors import MalformedError

_BLOCK = 65_536
_PIECE = 1_048_576
_LARGEST_ENTRY = 130  # the short form of a length reaches no further
_LENGTHS = (18, 20, 19, *range(17, 0, -1))  # octets of a serial, ours first
_SERIAL = b"|".join(rb"\x%02x[\x00-\xff]{%d}" % (octets, octets) for octets in _LENGTHS)
_MOMENT = rb"[01][0-9][0-3][0-9][0-2][0-9][0-5][0-9][0-5][0-9]Z"
_TIME = rb"(?:\x17\x0d[0-9]{2}" + _MOMENT + rb"|\x18\x0f[0-9]{4}" + _MOMENT + rb")"
_REASON = rb"(?:\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01[\x01-\x06\x08-\x0a])?"
_ENTRY = re.compile(rb"\x30([\x10-\x7f])\x02(" + _SERIAL + rb")(" + _TIME + _REASON + rb")")
_PARTS = 4  # of each entry, split: what stands before it, its length, serial, the rest
_NO_REASON = ord("Z")  # the rest ends with its time
_BUCKETS = 64

Read = Callable[[int, int], bytes]  # (offset, octets)
Buckets = list["array[int]"]

_last_octet = itemgetter(-1)


@dataclass(slots=True)
class EntryScan:
    """What was found in the entries."""

    count: int = 0
    times: set[bytes] = field(default_factory=set)  # DER: the earliest and the latest of each stretch
    reasons: set[int] = field(default_factory=set)
    keys: Buckets = field(default_factory=lambda: [array("q") for _ in range(_BUCKETS)])  # hashes of the serials
    has_doubles: bool = False
    last_block: int = 0  # where the last stretch of entries begins


class _Block(NamedTuple):
    at: int
    lengths: list[bytes]
    serials: list[bytes]  # with their length in front
    rests: list[bytes]  # time and reason


def scan_entries(read: Read, octets: int) -> EntryScan:
    """Read all entries of a list.

    Raises:
        MalformedError: something in them is not an entry as this software writes them.
    """
    scan = EntryScan()
    for block in _blocks(read, octets):
        scan.count += len(block.serials)
        scan.last_block = block.at
        scan.times.update(map(_time_of, (min(block.rests), max(block.rests))))
        scan.reasons.update(map(_last_octet, block.rests))
        _put(block.serials, scan.keys)
    scan.reasons.discard(_NO_REASON)
    scan.has_doubles = any(len(set(bucket)) < len(bucket) for bucket in scan.keys)
    return scan


def entries_in(read: Read, octets: int) -> Iterator[bytes]:
    """Yield each entry, in order."""
    for block in _blocks(read, octets):
        for length, serial, rest in zip(*block[1:], strict=True):
            yield b"\x30" + length + b"\x02" + serial + rest


def is_continued(before: tuple[Read, int], after: tuple[Read, int]) -> bool:
    """Tell whether a list, given as (reader, octets) of its entries, begins with all the entries of another."""
    octets = before[1]
    return octets <= after[1] and all(
        before[0](at, min(_PIECE, octets - at)) == after[0](at, min(_PIECE, octets - at))
        for at in range(0, octets, _PIECE)
    )


def missing_serials(read: Read, octets: int, after: EntryScan) -> Iterator[bytes]:
    """Yield the serials (octets) of a list's entries that are not in a later one."""
    keys: Buckets = [array("q") for _ in range(_BUCKETS)]
    for block in _blocks(read, octets):
        _put(block.serials, keys)
    gone = set(chain.from_iterable(set(old).difference(new) for old, new in zip(keys, after.keys, strict=True)))
    if not gone:
        return
    for block in _blocks(read, octets):
        yield from (serial[1:] for serial in block.serials if hash(serial) in gone)


def _blocks(read: Read, octets: int) -> Iterator[_Block]:
    at = 0
    while at < octets:
        block = read(at, min(_BLOCK, octets - at))
        parts = _ENTRY.split(block)
        rest = len(parts.pop())
        if at + len(block) < octets and parts:  # the last one may go on in the next block: its reason is optional
            rest += sum(map(len, parts[-_PARTS:])) + 2  # its tag, and the tag of the serial
            del parts[-_PARTS:]
        found = _Block(at, parts[1::_PARTS], parts[2::_PARTS], parts[3::_PARTS])
        used = len(block) - rest
        announced = sum(b"".join(found.lengths)) + 2 * len(found.lengths)
        is_whole = rest <= 2 * _LARGEST_ENTRY if at + len(block) < octets else rest == 0
        if not found.serials or any(parts[::_PARTS]) or used != announced or not is_whole:
            raise MalformedError(f"the entries of the CRL are not all of our form behind octet {at}")
        yield found
        at += used


def _put(serials: list[bytes], keys: Buckets) -> None:
    into = [bucket.append for bucket in keys]
    for key in map(hash, serials):
        into[key % _BUCKETS](key)


def _time_of(rest: bytes) -> bytes:
    return rest[: 2 + rest[1]]
