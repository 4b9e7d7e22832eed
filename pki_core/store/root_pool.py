"""The RCP: roots that somebody has vouched for, and those that wait for a second person."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from pki_core.model.pools import PoolRoot, RootKind
from pki_core.store import pool_tables
from pki_core.store.times import from_seconds, to_seconds

_root = pool_tables.pool_root


class RootPoolGateway:
    """Rows of ``pool_root``: tens, so everything may be read at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, root: PoolRoot, now: datetime) -> None:
        """Add a root; ConflictError when it is there as this kind."""
        self._connection.execute(
            insert(_root).values(
                id=root.id,
                kind=root.kind.value,
                certificate_der=root.certificate_der,
                sha256=root.sha256,
                valid_from=to_seconds(root.valid_from),
                valid_to=to_seconds(root.valid_to),
                added_by=root.added_by,
                confirmed_by=root.confirmed_by or None,
                evidence=root.evidence,
                is_active=root.is_active,
                added_at=to_seconds(now),
            )
        )

    def get(self, root_id: str) -> PoolRoot | None:
        """Return a root, active or waiting; None when there is none."""
        row = self._connection.execute(select(_root).where(_root.c.id == root_id)).first()
        return None if row is None else _record(row)

    def all(self) -> list[PoolRoot]:
        """Return every root, the waiting ones too, in the order they were added."""
        return [_record(row) for row in self._connection.execute(select(_root).order_by(_root.c.added_at, _root.c.id))]

    def active(self, *kinds: RootKind) -> list[PoolRoot]:
        """Return the active roots of some kinds."""
        wanted = [kind.value for kind in kinds]
        rows = self._connection.execute(select(_root).where(_root.c.is_active, _root.c.kind.in_(wanted)))
        return [_record(row) for row in rows]

    def stands(self, sha256: str, kinds: Sequence[RootKind], now: datetime) -> bool:
        """Tell whether a root is active as one of these kinds and has not ended."""
        found = select(_root.c.id).where(
            _root.c.sha256 == sha256,
            _root.c.kind.in_([kind.value for kind in kinds]),
            _root.c.is_active,
            _root.c.valid_to > to_seconds(now),
        )
        return self._connection.scalar(found.limit(1)) is not None

    def confirm(self, root_id: str, by: str) -> bool:
        """Activate a waiting root; False when another person was quicker. ConflictError: the same person."""
        waiting = update(_root).where(_root.c.id == root_id, _root.c.is_active.is_(False))
        return bool(self._connection.execute(waiting.values(is_active=True, confirmed_by=by)).rowcount)

    def ask_removal(self, root_id: str, by: str, now: datetime, since: datetime) -> bool:
        """Note who wants a root removed; False when another person has asked for it since then."""
        mine_or_over = or_(
            _root.c.removal_asked_by.is_(None),
            _root.c.removal_asked_at < to_seconds(since),
            func.lower(_root.c.removal_asked_by) == by.lower(),
        )
        asked = update(_root).where(_root.c.id == root_id, mine_or_over)
        values = {"removal_asked_by": by, "removal_asked_at": to_seconds(now)}
        return bool(self._connection.execute(asked.values(values)).rowcount)

    def remove(self, root_id: str) -> bool:
        """Remove a root; False when it is gone."""
        return bool(self._connection.execute(delete(_root).where(_root.c.id == root_id)).rowcount)


def _record(row: Row[Any]) -> PoolRoot:
    return PoolRoot(
        id=row.id,
        kind=RootKind(row.kind),
        certificate_der=bytes(row.certificate_der),
        sha256=row.sha256,
        valid_from=from_seconds(row.valid_from),
        valid_to=from_seconds(row.valid_to),
        added_by=row.added_by,
        confirmed_by=row.confirmed_by or "",
        evidence=row.evidence,
        is_active=row.is_active,
        removal_asked_by=row.removal_asked_by or "",
    )
