"""Finds rows of a batch that repeat an earlier one, in 24 octets of memory a row."""

from array import array
from collections.abc import Iterator
from hashlib import blake2b

_KINDS = ("row_id", "csr", "name")


class RepeatedRows:
    """Collects a 64-bit hash of each kind a row and sorts them at the end.

    At a million rows the chance that any two different values meet is below one in ten million.
    """

    def __init__(self) -> None:
        self._seqs = array("I")
        self._hashes = {kind: array("Q") for kind in _KINDS}

    def add(self, seq: int, *, row_id: bytes, csr: bytes, name: bytes) -> None:
        """Remember a row; an empty name repeats nothing."""
        self._seqs.append(seq)
        hashes = self._hashes
        hashes["row_id"].append(_hash(row_id))
        hashes["csr"].append(int.from_bytes(csr[:8], "big"))
        hashes["name"].append(_hash(name) if name else 0)

    def found(self) -> Iterator[tuple[int, str, int]]:
        """Yield (row, kind, first row of that value) for rows that repeat; each row once, for its first kind."""
        repeated: dict[int, tuple[str, int]] = {}
        for kind in _KINDS:
            for row, first in self._repeated(kind):
                repeated.setdefault(row, (kind, first))
        for row in sorted(repeated):
            kind, first = repeated[row]
            yield row, kind, first

    def _repeated(self, kind: str) -> Iterator[tuple[int, int]]:
        import numpy  # noqa: ICN001, PLC0415  # comes with pandas; the web front must not pay for it

        hashes = numpy.frombuffer(self._hashes[kind], dtype=numpy.uint64)
        if not len(hashes):
            return
        seqs = numpy.frombuffer(self._seqs, dtype=numpy.uint32)
        order = numpy.argsort(hashes, kind="stable")
        in_order = hashes[order]
        same = numpy.flatnonzero((in_order[1:] == in_order[:-1]) & (in_order[1:] != 0)) + 1
        first_of_run: dict[int, int] = {}
        for position in same.tolist():
            value = int(in_order[position])
            first = first_of_run.setdefault(value, int(seqs[order[position - 1]]))
            yield int(seqs[order[position]]), first


def _hash(octets: bytes) -> int:
    return int.from_bytes(blake2b(octets, digest_size=8).digest(), "big")
