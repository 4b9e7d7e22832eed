"""The outbox: events written in the transaction of what they tell of; whoever delivers them removes them."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select

from pki_core.model.pools import Event, EventType, Namespace, OutboxEvent
from pki_core.store import pool_tables
from pki_core.store.bulk import insert_rows, is_one_of
from pki_core.store.times import from_seconds, to_seconds

_event = pool_tables.outbox_event
_COLUMNS = ("id", "at", "type", "scope", "pcid", "emaid", "root_id", "namespace")


class OutboxGateway:
    """Rows of ``outbox_event``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, at: datetime, events: Sequence[Event]) -> None:
        """Add events, in order."""
        seconds = to_seconds(at)
        insert_rows(
            self._connection,
            _event,
            _COLUMNS,
            [
                (
                    *(str(uuid.uuid4()), seconds, one.type.value, one.scope, one.pcid, one.emaid, one.root_id),
                    one.namespace and one.namespace.value,
                )
                for one in events
            ],
        )

    def waiting(self, after: int, limit: int) -> list[OutboxEvent]:
        """Return events behind a number, the oldest first."""
        rows = self._connection.execute(
            select(_event).where(_event.c.number > after).order_by(_event.c.number).limit(limit)
        )
        return [_record(row) for row in rows]

    def count(self) -> int:
        """Return how many events wait."""
        return self._connection.scalar(select(func.count()).select_from(_event)) or 0

    def take(self, limit: int) -> list[OutboxEvent]:
        """Take the oldest events out; two takers never get the same."""
        rows = self._connection.execute(
            select(_event).order_by(_event.c.number).limit(limit).with_for_update(skip_locked=True)
        ).all()
        self.remove([row.number for row in rows])
        return [_record(row) for row in rows]

    def remove(self, numbers: Collection[int]) -> int:
        """Remove events that were delivered or given up."""
        return self._connection.execute(
            delete(_event).where(is_one_of(self._connection, _event.c.number, sorted(numbers)))
        ).rowcount


def _record(row: Row[Any]) -> OutboxEvent:
    namespace = row.namespace and Namespace(row.namespace)
    event = Event(EventType(row.type), row.scope, row.pcid, row.emaid, row.root_id, namespace)
    return OutboxEvent(row.number, row.id, from_seconds(row.at), event)
