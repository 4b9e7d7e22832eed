"""Marks: how far, or when, something that runs again and again came the last time."""

from datetime import datetime

from sqlalchemy import Connection, select, text, update

from pki_core.store import tables
from pki_core.store.times import from_seconds, to_seconds

_mark = tables.mark


class MarkGateway:
    """Rows of ``mark``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, name: str) -> datetime | None:
        """Return a mark, None when there is none."""
        at = self._connection.scalar(select(_mark.c.at).where(_mark.c.name == name))
        return None if at is None else from_seconds(at)

    def lock(self, name: str, at: datetime) -> datetime:
        """Return a mark, which is set when there is none; nobody moves it before the transaction ends."""
        # Two processes may be the first at once; the same clause on both databases.
        self._connection.execute(
            text("INSERT INTO mark (name, at) VALUES (:name, :at) ON CONFLICT (name) DO NOTHING"),
            {"name": name, "at": to_seconds(at)},
        )
        found = self._connection.execute(select(_mark.c.at).where(_mark.c.name == name).with_for_update())
        return from_seconds(found.scalar_one())

    def advance(self, name: str, at: datetime) -> None:
        """Move a mark forward; an earlier moment changes nothing."""
        self.lock(name, at)
        self._connection.execute(
            update(_mark).where(_mark.c.name == name, _mark.c.at < to_seconds(at)).values(at=to_seconds(at))
        )
