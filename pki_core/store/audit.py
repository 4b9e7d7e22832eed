"""The audit log: append only, written in the transaction of the act it tells of; checkpoints seal what is there."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, insert, select

from pki_core.model.audit import AuditRow, Checkpoint, Head
from pki_core.store import tables
from pki_core.store.bulk import insert_rows
from pki_core.store.engine import is_postgres
from pki_core.store.times import from_seconds, to_seconds

_COLUMNS = ("stream", "at", "actor", "action", "issuer_id", "serial", "profile_id", "certificate_sha256", "detail")


class AuditEntry(NamedTuple):
    """One decision or key use: who did what, with which profile, under which issuer."""

    actor: str
    action: str
    issuer_id: int | None = None
    serial: str | None = None
    profile_id: int | None = None
    certificate_sha256: bytes | None = None
    detail: str | None = None


class AuditGateway:
    """Rows of ``audit`` and ``audit_checkpoint``. There is no update and no delete."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, stream: str, at: datetime, entries: Sequence[AuditEntry]) -> None:
        """Append entries to a stream; the hash chain over them is sealed later, outside the act."""
        seconds = to_seconds(at)
        rows = [(stream, seconds, *entry) for entry in entries]
        insert_rows(self._connection, tables.audit, _COLUMNS, rows)

    def settled_id(self) -> int:
        """Return the newest row's id, sure that no row with a smaller one can still appear; 0 when there is none.

        Numbers are drawn before their transactions commit. The lock waits for those that have drawn one, a moment.
        SQLite has one writer, and this transaction is it.
        """
        if is_postgres(self._connection):
            self._connection.exec_driver_sql("SET LOCAL lock_timeout TO '10s'; LOCK TABLE audit IN SHARE MODE")
        return int(self._connection.scalar(select(func.max(tables.audit.c.id))) or 0)

    def rows(self, after_id: int, last_id: int, piece: int) -> Iterator[list[AuditRow]]:
        """Yield the rows between two ids in pieces, in their order."""
        audit = tables.audit.c
        while True:
            rows = self._connection.execute(
                select(audit.id, *(audit[name] for name in _COLUMNS))
                .where(audit.id > after_id, audit.id <= last_id)
                .order_by(audit.id)
                .limit(piece)
            ).all()
            if not rows:
                return
            after_id = rows[-1].id
            yield [AuditRow(*row) for row in rows]

    def count_after(self, last_id: int) -> int:
        """Return how many rows are not sealed yet."""
        return self._connection.scalar(select(func.count()).where(tables.audit.c.id > last_id)) or 0

    def oldest_after(self, last_id: int) -> datetime | None:
        """Return when the oldest row behind an id was written, None when there is none."""
        audit = tables.audit.c
        at = self._connection.scalar(select(audit.at).where(audit.id > last_id).order_by(audit.id).limit(1))
        return None if at is None else from_seconds(at)

    def last_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint."""
        checkpoint = tables.audit_checkpoint
        row = self._connection.execute(select(checkpoint).order_by(checkpoint.c.number.desc()).limit(1)).first()
        return None if row is None else _checkpoint(row)

    def checkpoints(self, after: int, piece: int) -> list[Checkpoint]:
        """Return checkpoints behind a number, in order."""
        checkpoint = tables.audit_checkpoint
        query = select(checkpoint).where(checkpoint.c.number > after).order_by(checkpoint.c.number).limit(piece)
        return [_checkpoint(row) for row in self._connection.execute(query)]

    def add_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint; ConflictError when another sealer was quicker."""
        self._connection.execute(
            insert(tables.audit_checkpoint).values(
                number=checkpoint.number,
                last_id=checkpoint.last_id,
                heads=json.dumps({stream: [head.rows, head.hash.hex()] for stream, head in checkpoint.heads.items()}),
                sealed_at=to_seconds(checkpoint.sealed_at),
                previous_sha256=checkpoint.previous_sha256.hex(),
                key_label=checkpoint.key_label,
                signature=checkpoint.signature,
            )
        )


def _checkpoint(row: Row[Any]) -> Checkpoint:
    heads = {stream: Head(rows, bytes.fromhex(head)) for stream, (rows, head) in json.loads(row.heads).items()}
    return Checkpoint(
        number=row.number,
        last_id=row.last_id,
        heads=heads,
        sealed_at=from_seconds(row.sealed_at),
        previous_sha256=bytes.fromhex(row.previous_sha256),
        key_label=row.key_label,
        signature=bytes(row.signature),
    )
