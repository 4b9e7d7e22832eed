"""End entities of the registration authority, by partner and canonical name."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, delete, select

from pki_core.model.registrations import EndEntity
from pki_core.store import pool_tables
from pki_core.store.bulk import insert_rows, is_one_of
from pki_core.store.times import to_seconds

_entity = pool_tables.end_entity
_COLUMNS = ("partner_id", "canonical", "document", "registered_at")


class RegistrationGateway:
    """Rows of ``end_entity``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, partner_id: str, entities: Sequence[EndEntity], now: datetime) -> int:
        """Store end entities, each over the one of its name; returns how many are new."""
        by_name = {entity.canonical: entity for entity in entities}
        replaced = self.remove(partner_id, sorted(by_name))
        seconds = to_seconds(now)
        insert_rows(
            self._connection,
            _entity,
            _COLUMNS,
            [(partner_id, name, json.dumps(asdict(entity)), seconds) for name, entity in sorted(by_name.items())],
        )
        return len(by_name) - replaced

    def remove(self, partner_id: str, names: Sequence[str]) -> int:
        """Remove a partner's end entities by canonical name."""
        mine = is_one_of(self._connection, _entity.c.canonical, names)
        return self._connection.execute(delete(_entity).where(_entity.c.partner_id == partner_id, mine)).rowcount

    def known(self, partner_id: str, names: Sequence[str]) -> set[str]:
        """Return those of some canonical names that a partner has registered."""
        listed = is_one_of(self._connection, _entity.c.canonical, names)
        found = select(_entity.c.canonical).where(_entity.c.partner_id == partner_id, listed)
        return set(self._connection.scalars(found))

    def page(self, partner_id: str, after: str, limit: int) -> list[EndEntity]:
        """Return a partner's end entities behind a canonical name, in order."""
        documents = self._connection.scalars(
            select(_entity.c.document)
            .where(_entity.c.partner_id == partner_id, _entity.c.canonical > after)
            .order_by(_entity.c.canonical)
            .limit(limit)
        )
        return [_read(document) for document in documents]


def _read(document: str) -> EndEntity:
    fields = json.loads(document)
    return EndEntity(**{**fields, "evse_ids": tuple(fields["evse_ids"])})
