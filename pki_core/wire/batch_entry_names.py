"""File names for the entries of a result archive, made from row ids: harmless on any system, and never twice."""

import hashlib
import re
from typing import Final

_UNSAFE: Final = re.compile("[^A-Za-z0-9._-]+")
_DEVICE: Final = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")  # Windows keeps them for itself
_LONGEST: Final = 160  # with serial and suffix below the 255 octets of usual file systems
_SUFFIX: Final = ".pem"
_BITS: Final = 1 << 24


class EntryNames:
    """Gives out names, and knows which it has given in 2 MiB, however many there are.

    That is a Bloom filter of two hashes: it never takes a used name for a new one. It takes a new one for a used one
    once in 5,000 names at 100,000 rows and once in 80 at a million; then the name is longer than it had to be.
    """

    def __init__(self) -> None:
        self._seen = bytearray(_BITS // 8)

    def name(self, row_id: str, serial: str) -> str:
        """Return a row's file name: its id when that will do, else what remains of it and the serial."""
        wanted = row_id.removesuffix(_SUFFIX)
        stem = _UNSAFE.sub("_", wanted).strip("._-")[:_LONGEST]
        if stem != wanted or not stem or _DEVICE.fullmatch(stem):
            stem = f"{stem}-{serial}" if stem else serial
        while self._is_used(stem.lower()):  # macOS and Windows do not tell A1 from a1
            stem = f"{stem}-{serial}"
        return stem + _SUFFIX

    def _is_used(self, stem: str) -> bool:
        """Tell whether a name may have been given out, and from now on it has."""
        digest = hashlib.blake2b(stem.encode("ascii"), digest_size=6).digest()
        used = True
        for position in (int.from_bytes(digest[:3], "big"), int.from_bytes(digest[3:], "big")):
            octet, bit = position >> 3, 1 << (position & 7)
            used = used and bool(self._seen[octet] & bit)
            self._seen[octet] |= bit
        return used
