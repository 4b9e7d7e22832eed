"""Finds rows of a batch that may repeat an earlier one, in 20 octets of memory a row."""

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal

Kind = Literal["row_id", "name"]


class RepeatedRows:
    """Collects a 64-bit hash of each kind a row and sorts them at the end.

    At a million rows the chance that any two different values meet is below one in ten million.
    """

    def __init__(self) -> None:
        self._seqs = array("I")
        self._hashes: dict[Kind, array[int]] = {"row_id": array("Q"), "name": array("Q")}

    def add(self, seq: int, *, row_id: bytes, name: bytes) -> None:
        """Remember a row; an empty name repeats nothing."""
        self._seqs.append(seq)
        self._hashes["row_id"].append(_hash(row_id))
        self._hashes["name"].append(_hash(name) if name else 0)

    def groups(self, kind: Kind) -> Iterator[list[int]]:
        """Yield the rows of each value that occurs more than once, in the order of the file."""
        import numpy  # noqa: ICN001, PLC0415  # comes with pandas; the web front must not pay for it

        hashes = numpy.frombuffer(self._hashes[kind], dtype=numpy.uint64)
        if not len(hashes):
            return
        seqs = numpy.frombuffer(self._seqs, dtype=numpy.uint32)
        order = numpy.argsort(hashes, kind="stable")
        in_order = hashes[order]
        starts = numpy.flatnonzero(numpy.append(True, in_order[1:] != in_order[:-1]))
        ends = numpy.append(starts[1:], len(hashes))
        repeated = (ends - starts > 1) & (in_order[starts] != 0)
        for start, end in zip(starts[repeated].tolist(), ends[repeated].tolist(), strict=True):
            yield seqs[order[start:end]].tolist()


def _hash(octets: bytes) -> int:
    return int.from_bytes(blake2b(octets, digest_size=8).digest(), "big")
