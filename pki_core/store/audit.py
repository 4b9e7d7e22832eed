"""The audit log: append only, written in the transaction of the act it tells of; checkpoints seal what is there."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Row, func, insert, select, type_coerce
from sqlalchemy.sql.elements import Label
from sqlalchemy.types import NullType

from pki_core.model.audit import START, AuditRow, Checkpoint, Head
from pki_core.model.errors import InvariantError
from pki_core.store import tables
from pki_core.store.bulk import insert_rows
from pki_core.store.engine import is_postgres
from pki_core.store.times import from_seconds, to_seconds

_COLUMNS = ("stream", "at", "actor", "action", "issuer_id", "serial", "profile_id", "certificate_sha256", "detail")
ISSUED = "certificate.issued"


def _raw(column: Column[Any]) -> Label[Any]:
    """What stands in a column, whatever it is: SQLAlchemy's reader of octets fails at text."""
    return type_coerce(column, NullType()).label(column.name)


_CHECKPOINTS = select(*(_raw(column) for column in tables.audit_checkpoint.c))


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
                select(audit.id, *(_raw(audit[name]) for name in _COLUMNS))
                .where(audit.id > after_id, audit.id <= last_id)
                .order_by(audit.id)
                .limit(piece)
            ).all()
            if not rows:
                return
            after_id = rows[-1].id
            yield [AuditRow(row.id, str(row.stream), *row[2:]) for row in rows]

    def count_after(self, last_id: int) -> int:
        """Return how many rows are not sealed yet."""
        return self._connection.scalar(select(func.count()).where(tables.audit.c.id > last_id)) or 0

    def oldest_after(self, last_id: int) -> datetime | None:
        """Return when the oldest row behind an id was written, None when there is none."""
        audit = tables.audit.c
        at = self._connection.scalar(select(audit.at).where(audit.id > last_id).order_by(audit.id).limit(1))
        return None if at is None else from_seconds(at)

    def last_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint; InvariantError when it cannot be read."""
        newest = _CHECKPOINTS.order_by(tables.audit_checkpoint.c.number.desc()).limit(1)
        row = self._connection.execute(newest).first()
        return None if row is None else _checkpoint(row)

    def checkpoints(self, after: int | None, piece: int) -> list[tuple[int, Checkpoint | None]]:
        """Return checkpoints behind a number, or from the first, in order: None for one that cannot be read."""
        number = tables.audit_checkpoint.c.number
        query = _CHECKPOINTS.order_by(number).limit(piece)
        if after is not None:
            query = query.where(number > after)
        return [(row.number, _readable(row)) for row in self._connection.execute(query)]

    def certificates_untold(self) -> int:
        """Return how many certificates have no row of their issuing."""
        certificate, audit = tables.certificate.c, tables.audit.c
        told = select(audit.issuer_id, audit.serial).where(audit.action == ISSUED)
        untold = select(certificate.issuer_id, certificate.serial).except_(told).subquery()
        return self._connection.scalar(select(func.count()).select_from(untold)) or 0

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


def _readable(row: Row[Any]) -> Checkpoint | None:
    try:
        return _checkpoint(row)
    except InvariantError:
        return None


def _checkpoint(row: Row[Any]) -> Checkpoint:
    """Read a row as somebody may have left it who writes into the database: SQLite takes any value in any column."""
    try:
        heads = {stream: Head(_number(rows), _digest(head)) for stream, (rows, head) in json.loads(row.heads).items()}
        return Checkpoint(
            number=row.number,
            last_id=_number(row.last_id),
            heads=heads,
            sealed_at=from_seconds(_number(row.sealed_at)),
            previous_sha256=_digest(row.previous_sha256),
            key_label=str(row.key_label),
            signature=memoryview(row.signature).tobytes(),
        )
    except (ValueError, TypeError, AttributeError, OverflowError, OSError) as error:
        raise InvariantError(f"audit checkpoint {row.number} cannot be read: {type(error).__name__}") from error


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("no whole number")
    return value


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != len(START):
        raise ValueError("no SHA-256")
    return digest
