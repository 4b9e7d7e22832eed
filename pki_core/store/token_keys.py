"""Keys that sign access tokens."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from pki_core.model.tokens import TokenKey
from pki_core.store.partner_tables import token_key
from pki_core.store.times import from_seconds, to_seconds


class TokenKeyGateway:
    """Rows of ``token_key``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[TokenKey]:
        """Return every key, oldest first."""
        return [_record(row) for row in self._connection.execute(select(token_key).order_by(token_key.c.number))]

    def add(self, key: TokenKey) -> None:
        """Add a key; ConflictError when another process has added this number."""
        self._connection.execute(
            insert(token_key).values(
                number=key.number,
                key_label=key.key_label,
                spki_der=key.spki_der,
                signs_from=to_seconds(key.signs_from),
            )
        )

    def end(self, numbers: list[int], now: datetime) -> int:
        """Withdraw keys; return how many were in force."""
        return self._connection.execute(
            update(token_key)
            .where(token_key.c.number.in_(numbers), token_key.c.ended_at.is_(None))
            .values(ended_at=to_seconds(now))
        ).rowcount


def _record(row: Row[Any]) -> TokenKey:
    return TokenKey(
        number=row.number,
        key_label=row.key_label,
        spki_der=bytes(row.spki_der),
        signs_from=from_seconds(row.signs_from),
        ended_at=None if row.ended_at is None else from_seconds(row.ended_at),
    )
