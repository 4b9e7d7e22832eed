"""The audit log: append only, written in the transaction of the act it tells of."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from pki_core.store import tables
from pki_core.store.bulk import insert_rows
from pki_core.store.times import to_seconds

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
    """Writes audit rows. There is no update and no delete."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, stream: str, at: datetime, entries: Sequence[AuditEntry]) -> None:
        """Append entries to a stream; the hash chain over them is sealed later, outside the act."""
        seconds = to_seconds(at)
        rows = [(stream, seconds, *entry) for entry in entries]
        insert_rows(self._connection, tables.audit, _COLUMNS, rows)
