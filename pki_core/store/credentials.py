"""Credentials of partners: hashes of machine secrets, fingerprints of client certificates, one-time codes."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from pki_core.model.credentials import Credential, CredentialKind
from pki_core.store import tables
from pki_core.store.times import from_seconds, to_seconds

# Built once: every request asks one of them.
_BY_HASH = select(tables.credential).where(tables.credential.c.sha256 == bindparam("wanted"))
_OF_PARTNER = (
    select(tables.credential)
    .where(tables.credential.c.partner_id == bindparam("wanted"))
    .order_by(tables.credential.c.id)
)


class CredentialGateway:
    """Rows of ``credential``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, partner_id: str, kind: CredentialKind, sha256: str, now: datetime, not_after: datetime | None = None
    ) -> int:
        """Add a credential and return its number; ConflictError when somebody has the very same."""
        number = self._connection.execute(
            insert(tables.credential)
            .values(
                partner_id=partner_id,
                kind=kind.value,
                sha256=sha256,
                created_at=to_seconds(now),
                not_after=None if not_after is None else to_seconds(not_after),
            )
            .returning(tables.credential.c.id)
        ).scalar_one()
        return int(number)

    def find(self, sha256: str) -> Credential | None:
        """Return the credential with a hash, in force or not; None when there is none."""
        row = self._connection.execute(_BY_HASH, {"wanted": sha256}).first()
        return None if row is None else _record(row)

    def of_partner(self, partner_id: str) -> list[Credential]:
        """Return every credential of a partner, in the order they were made."""
        rows = self._connection.execute(_OF_PARTNER, {"wanted": partner_id})
        return [_record(row) for row in rows]

    def end(self, number: int, now: datetime) -> bool:
        """Withdraw a credential, or use a code up; False when that was done before."""
        return (
            self._connection.execute(
                update(tables.credential)
                .where(tables.credential.c.id == number, tables.credential.c.ended_at.is_(None))
                .values(ended_at=to_seconds(now))
            ).rowcount
            == 1
        )


def _record(row: Row[Any]) -> Credential:
    return Credential(
        id=row.id,
        partner_id=row.partner_id,
        kind=CredentialKind(row.kind),
        sha256=row.sha256,
        created_at=from_seconds(row.created_at),
        not_after=None if row.not_after is None else from_seconds(row.not_after),
        ended_at=None if row.ended_at is None else from_seconds(row.ended_at),
    )
