"""The audit chain as plain values: the canonical form of a row, the chain over rows, checkpoints over the chains.

Each stream has a chain: ``head = SHA-256(head before || canonical row)``. A checkpoint holds the heads of all streams,
names the checkpoint before it by its hash, and is signed. Rows are hashed when they are sealed, not when they are
written: the act they tell of waits for nobody.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

LOWEST_ID = -(1 << 62)  # below all ids: they start at 1, but who slips rows in may choose
START = bytes(32)  # the head of a stream without rows, and the hash before the first checkpoint


class AuditRow(NamedTuple):
    """One row as the store holds it."""

    id: int
    stream: str
    at: int
    actor: str
    action: str
    issuer_id: int | None
    serial: str | None
    profile_id: int | None
    certificate_sha256: bytes | None
    detail: str | None


class Head(NamedTuple):
    """The state of one stream's chain."""

    rows: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The heads of all streams after every row up to ``last_id``, signed."""

    number: int
    last_id: int
    heads: Mapping[str, Head]
    sealed_at: datetime
    previous_sha256: bytes
    key_label: str
    signature: bytes = b""

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers: canonical JSON."""
        return json.dumps(
            {
                "number": self.number,
                "last_id": self.last_id,
                "heads": {stream: [head.rows, head.hash.hex()] for stream, head in self.heads.items()},
                "sealed_at": int(self.sealed_at.timestamp()),
                "previous_sha256": self.previous_sha256.hex(),
                "key_label": self.key_label,
            },
            sort_keys=True,
            separators=(",", ":"),
        ).encode()

    @property
    def sha256(self) -> bytes:
        """What the next checkpoint, and an anchor outside the store, names it by."""
        return hashlib.sha256(self.signed_bytes).digest()


def canonical(row: AuditRow) -> bytes:
    """Return a row's octets: each field with its length, so that no two rows share them."""
    fields = [b"" if value is None else b"=" + _octets(value) for value in row]
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def extend(heads: Mapping[str, Head], rows: Iterable[AuditRow]) -> dict[str, Head]:
    """Return the heads after some more rows, which come in the order of their ids."""
    chains: dict[str, list[AuditRow]] = {}
    for row in rows:
        chains.setdefault(row.stream, []).append(row)
    extended = dict(heads)
    for stream, added in chains.items():
        count, head = extended.get(stream, Head(0, START))
        for row in added:
            head = hashlib.sha256(head + canonical(row)).digest()
        extended[stream] = Head(count + len(added), head)
    return extended


def _octets(value: str | bytes | int) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else str(value)).encode()
