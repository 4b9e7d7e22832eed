"""CRLs: the signed lists in pieces, what is published of each scope, and who is making the next one.

A list does not know everything when there are more changes than its maker saw, from ``MARGIN`` before its data was read
on: a change carries the time it was begun at by the clock of its machine, and may be committed behind a later reading.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    cast,
    delete,
    func,
    insert,
    select,
    text,
    union_all,
    update,
)

from pki_core.model.crls import FULL, MARGIN, CrlAge, CrlKind, CrlRecord
from pki_core.store import tables
from pki_core.store.engine import small_cache
from pki_core.store.times import from_seconds, to_seconds

PIECE_OCTETS = 1_048_576  # stored lists are read back by it
_NOBODY = ""


class CrlGateway:
    """Rows of ``crl``, ``crl_piece`` and ``crl_publication``. The complete list's row is the lock of its scope."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._piece: tuple[int, int, bytes] = (-1, -1, b"")  # the last one that was read in parts

    def prepare(self, issuer_id: int, scope: str, kind: CrlKind) -> None:
        """Make the row of a scope when it is missing."""
        self._connection.execute(
            text(
                "INSERT INTO crl_publication (issuer_id, scope, kind, crl_number, runner, lease_until)"
                " VALUES (:issuer_id, :scope, :kind, 0, '', 0) ON CONFLICT (issuer_id, scope, kind) DO NOTHING"
            ),
            {"issuer_id": issuer_id, "scope": scope, "kind": kind.value},
        )

    def holder(self, issuer_id: int, scope: str) -> tuple[str, datetime]:
        """Return who makes the scope's next list ("" = nobody) and until when."""
        row = self._connection.execute(
            select(tables.crl_publication.c.runner, tables.crl_publication.c.lease_until).where(
                *_is_row(issuer_id, scope, CrlKind.COMPLETE)
            )
        ).one()
        return row.runner, from_seconds(row.lease_until)

    def claim(self, issuer_id: int, scope: str, runner: str, instead_of: str, until: datetime) -> int | None:
        """Take a scope from its holder and draw the next number; None when somebody else was faster.

        A number is burned by drawing it: no two lists are ever signed with the same one (RFC 5280 5.2.3).
        """
        number = self._connection.execute(
            update(tables.crl_publication)
            .where(
                *_is_row(issuer_id, scope, CrlKind.COMPLETE),
                tables.crl_publication.c.runner == instead_of,
            )
            .values(runner=runner, lease_until=to_seconds(until), crl_number=tables.crl_publication.c.crl_number + 1)
            .returning(tables.crl_publication.c.crl_number)
        ).scalar()
        return None if number is None else int(number)

    def give_back(self, issuer_id: int, scope: str, runner: str) -> None:
        """End a claim; nothing happens when it is somebody else's by now."""
        self._connection.execute(
            update(tables.crl_publication)
            .where(*_is_row(issuer_id, scope, CrlKind.COMPLETE), tables.crl_publication.c.runner == runner)
            .values(runner=_NOBODY, lease_until=0)
        )

    def is_held(self, issuer_id: int, scope: str, runner: str, now: datetime) -> bool:
        """Tell whether a claim still stands, and lock its row till the end of the transaction."""
        taken = self._connection.execute(
            update(tables.crl_publication)
            .where(
                *_is_row(issuer_id, scope, CrlKind.COMPLETE),
                tables.crl_publication.c.runner == runner,
                tables.crl_publication.c.lease_until > to_seconds(now),
            )
            .values(runner=runner)
        ).rowcount
        return bool(taken)

    def point(self, record: CrlRecord, instead_of: int | None) -> bool:
        """Publish a list in the place of another; False when something else is published by now."""
        published = tables.crl_publication.c.crl_id
        changed = self._connection.execute(
            update(tables.crl_publication)
            .where(
                *_is_row(record.issuer_id, record.scope, record.kind),
                published.is_(None) if instead_of is None else published == instead_of,
            )
            .values(
                crl_id=record.id,
                # The complete list's row counts the numbers drawn, and may be ahead already.
                crl_number=record.crl_number if record.kind is CrlKind.DELTA else tables.crl_publication.c.crl_number,
            )
        ).rowcount
        return bool(changed)

    def add(self, **columns: object) -> int:
        """Add a signed list, without its octets; returns its id."""
        statement = insert(tables.crl).values(**columns).returning(tables.crl.c.id)
        return int(self._connection.execute(statement).scalar_one())

    def add_pieces(self, crl_id: int, pieces: Iterable[bytes]) -> None:
        """Add the octets of a list, in order."""
        with small_cache(self._connection):
            for seq, octets in enumerate(pieces):
                self._connection.execute(insert(tables.crl_piece).values(crl_id=crl_id, seq=seq, octets=octets))

    def piece(self, crl_id: int, seq: int) -> bytes | None:
        """Return one piece of a list, None when there is none (any more)."""
        piece = tables.crl_piece.c
        octets = self._connection.scalar(select(piece.octets).where(piece.crl_id == crl_id, piece.seq == seq))
        return None if octets is None else bytes(octets)

    def pieces(self, crl_id: int) -> Iterator[bytes]:
        """Yield the pieces of a list, in order."""
        seq = 0
        with small_cache(self._connection):
            while (octets := self.piece(crl_id, seq)) is not None:
                yield octets
                seq += 1

    def read(self, crl_id: int, at: int, count: int) -> bytes:
        """Return some octets of a list; fewer than asked for when it does not hold them."""
        found = b""
        while len(found) < count:
            seq, offset = divmod(at + len(found), PIECE_OCTETS)
            if self._piece[:2] != (crl_id, seq):
                self._piece = (crl_id, seq, self.piece(crl_id, seq) or b"")
            part = self._piece[2][offset : offset + count - len(found)]
            if not part:
                break
            found += part
        return found

    def published(self, issuer_id: int, scope: str, kind: CrlKind) -> CrlRecord | None:
        """Return what is served of a scope, None when nothing is yet."""
        row = self._connection.execute(
            select(tables.crl)
            .join(tables.crl_publication, tables.crl_publication.c.crl_id == tables.crl.c.id)
            .where(*_is_row(issuer_id, scope, kind))
        ).first()
        return None if row is None else _record(row)

    def latest(self, issuer_id: int, scope: str, kind: CrlKind, count: int) -> list[CrlRecord]:
        """Return the newest lists of a scope, the newest first; what was never published is among them."""
        rows = self._connection.execute(_of_scope(issuer_id, scope, kind).limit(count))
        return [_record(row) for row in rows]

    def highest_number(self, issuer_id: int, scope: str) -> int:
        """Return the highest number of a signed list of a scope, 0 when there is none."""
        crl = tables.crl.c
        return (
            self._connection.scalar(
                select(func.max(crl.crl_number)).where(crl.issuer_id == issuer_id, crl.scope == scope)
            )
            or 0
        )

    def scopes(self, issuer_id: int) -> list[str]:
        """Return the scopes that were ever published."""
        publication = tables.crl_publication.c
        return list(
            self._connection.scalars(
                select(publication.scope)
                .where(publication.issuer_id == issuer_id, publication.kind == CrlKind.COMPLETE.value)
                .order_by(publication.scope)
            )
        )

    def discard_unpublished(self, issuer_id: int, scope: str) -> int:
        """Remove lists that were signed and never published: their runner died, or a guard stopped it."""
        crl = tables.crl.c
        removed = 0
        for kind in CrlKind:
            published = self.published(issuer_id, scope, kind)
            newest = published.id if published else 0
            ids = [record.id for record in self.latest(issuer_id, scope, kind, 100) if record.id > newest]
            with small_cache(self._connection):  # SQLite reads all of a piece to give its pages back
                for table, key in ((tables.crl_piece, tables.crl_piece.c.crl_id), (tables.crl, crl.id)):
                    removed += self._connection.execute(delete(table).where(key.in_(ids))).rowcount
        return removed

    def has_another_since(self, record: CrlRecord) -> bool:
        """Tell whether a list of the same scope and kind, but this one, was issued at its time or after it."""
        crl, lists = tables.crl.c, _of_scope(record.issuer_id, record.scope, record.kind)
        others = lists.where(crl.id != record.id, crl.this_update >= to_seconds(record.this_update)).limit(1)
        return self._connection.execute(others).first() is not None

    def drop_old(self, issuer_id: int, scope: str, kind: CrlKind, keep: int) -> None:
        """Remove all but the newest lists of a scope; what is published stays, and so does what is not past yet.

        A list of a clock that ran ahead is kept until a later one has been issued: ``has_another_since`` is to see it.
        """
        lists = _of_scope(issuer_id, scope, kind)
        before = self._connection.execute(lists.offset(1).limit(1)).first()
        if before is None:
            return
        old = self._connection.execute(lists.offset(keep).limit(100))
        ids = [row.id for row in old if row.this_update <= before.this_update]
        served = select(tables.crl_publication.c.crl_id).where(tables.crl_publication.c.crl_id.is_not(None))
        with small_cache(self._connection):
            for table, key in ((tables.crl_piece, tables.crl_piece.c.crl_id), (tables.crl, tables.crl.c.id)):
                self._connection.execute(delete(table).where(key.in_(ids), key.not_in(served)))

    def unlisted(self, now: datetime) -> dict[int, tuple[CrlRecord | None, datetime]]:
        """Return the full list of each CA, and when the oldest change was recorded that it does not know.

        CAs that have ended, and those whose list knows everything, are left out.
        """
        issuer, publication = tables.issuer.c, tables.crl_publication
        is_full = (publication.c.issuer_id == issuer.id) & (publication.c.scope == FULL)
        rows = self._connection.execute(
            select(tables.crl, issuer.id.label("of_issuer"))
            .select_from(tables.issuer)
            .join(publication, is_full & (publication.c.kind == CrlKind.COMPLETE.value), isouter=True)
            .join(tables.crl, tables.crl.c.id == publication.c.crl_id, isouter=True)
            .where(issuer.not_after > to_seconds(now))
        )
        lists = {row.of_issuer: None if row.id is None else _record(row) for row in rows}
        return {one: (lists[one], since) for one, since in self._behind(lists, None).items()}

    def unknown_since(self, record: CrlRecord, shard: int | None) -> datetime | None:
        """Return when the oldest change was recorded that a list does not know, None when it knows everything."""
        return self._behind({record.issuer_id: record}, shard).get(record.issuer_id)

    def changes(self, issuer_id: int, shard: int | None, since: datetime) -> int:
        """Return how many changes of an issuer, or of one of its shards, are recorded from a moment on."""
        return self._connection.scalar(select(_changes(_recorded(issuer_id, shard, to_seconds(since))))) or 0

    def _behind(self, lists: Mapping[int, CrlRecord | None], shard: int | None) -> dict[int, datetime]:
        """Return for each CA whose list does not know everything since when.

        Nearly all do, and to see that, changes are counted in indexes alone; rows are read of the others.
        """
        if not lists:
            return {}
        # One trip, and a part for each CA: by its index, with its own times, whatever the others revoked meanwhile.
        counted = self._connection.execute(union_all(*(_count(*one, shard) for one in lists.items()))).all()
        seen = {one: 0 if latest is None else latest.seen for one, latest in lists.items()}
        behind = [row.of_issuer for row in counted if row.changes > (seen[row.of_issuer] or 0)]
        if not behind:
            return {}
        rows = self._connection.execute(union_all(*(_counts(one, lists[one], shard) for one in behind)))
        found = {row.of_issuer: _unknown_since(lists[row.of_issuer], row) for row in rows}
        return {one: since for one, since in found.items() if since is not None}

    def ages(self) -> list[CrlAge]:
        """Return what is published, by issuer."""
        rows = self._connection.execute(
            select(tables.crl, tables.issuer.c.label)
            .join(tables.crl_publication, tables.crl_publication.c.crl_id == tables.crl.c.id)
            .join(tables.issuer, tables.issuer.c.id == tables.crl.c.issuer_id)
            .order_by(tables.crl.c.issuer_id, tables.crl.c.scope)
        )
        return [
            CrlAge(
                issuer_label=row.label,
                scope=row.scope,
                kind=CrlKind.COMPLETE if row.base_number is None else CrlKind.DELTA,
                crl_number=row.crl_number,
                this_update=from_seconds(row.this_update),
                next_update=from_seconds(row.next_update),
                entries=row.entries,
            )
            for row in rows
        ]


def _recorded(issuer_id: int, shard: int | None, since: int) -> list[ColumnElement[bool]]:
    revocation = tables.revocation.c
    conditions = [revocation.issuer_id == issuer_id, revocation.changed_at >= since]
    return conditions if shard is None else [*conditions, revocation.shard == shard]


def _changes(recorded: Sequence[ColumnElement[bool]]) -> ColumnElement[int]:
    """Count changes: a hold that ended stands in one row and is two of them. Apart, so that indexes tell both."""
    every = select(func.count()).select_from(tables.revocation).where(*recorded)
    released = every.where(tables.revocation.c.released_at.is_not(None))
    return every.scalar_subquery() + released.scalar_subquery()


def _count(issuer_id: int, latest: CrlRecord | None, shard: int | None) -> Select[Any]:
    """Build the count of what was recorded from ``MARGIN`` before a list's snapshot on; of no list, of everything."""
    recorded = _recorded(issuer_id, shard, _counted_since(latest))
    columns: list[ColumnElement[Any]] = [
        cast(issuer_id, Integer).label("of_issuer"),
        _changes(recorded).label("changes"),
    ]
    return select(*columns)


def _counts(issuer_id: int, latest: CrlRecord | None, shard: int | None) -> Select[Any]:
    """Build the look at the rows that ``_count`` counts: how many are later than the snapshot, and the oldest ones."""
    changed_at, released_at = tables.revocation.c.changed_at, tables.revocation.c.released_at
    is_later = changed_at > (-1 if latest is None else to_seconds(latest.snapshot))
    columns: list[ColumnElement[Any]] = [
        cast(issuer_id, Integer).label("of_issuer"),
        (func.count() + func.count(released_at)).label("changes"),
        (func.count().filter(is_later) + func.count(released_at).filter(is_later)).label("later_changes"),
        func.min(changed_at).filter(is_later).label("later"),
        func.min(changed_at).label("oldest"),
    ]
    return select(*columns).where(*_recorded(issuer_id, shard, _counted_since(latest)))


def _counted_since(latest: CrlRecord | None) -> int:
    return 0 if latest is None else to_seconds(latest.snapshot - MARGIN)


def _unknown_since(latest: CrlRecord | None, counted: Row[Any]) -> datetime | None:
    """Apply the one rule to a list and what was counted.

    Which of the changes before the snapshot its maker did not see cannot be told: the oldest stands for it.
    """
    if latest is None or latest.seen is None:  # no list, or one of a version that did not count
        since = counted.later
    elif counted.changes <= latest.seen:
        since = None
    else:
        since = counted.later if counted.changes - counted.later_changes <= latest.seen else counted.oldest
    return None if since is None else from_seconds(since)


def _is_row(issuer_id: int, scope: str, kind: CrlKind) -> list[Any]:
    publication = tables.crl_publication.c
    return [publication.issuer_id == issuer_id, publication.scope == scope, publication.kind == kind.value]


def _of_scope(issuer_id: int, scope: str, kind: CrlKind) -> Select[Any]:
    crl = tables.crl.c
    is_kind = crl.base_number.is_(None) if kind is CrlKind.COMPLETE else crl.base_number.is_not(None)
    return (
        select(tables.crl)
        .where(crl.issuer_id == issuer_id, crl.scope == scope, is_kind)
        .order_by(crl.crl_number.desc(), crl.id.desc())
    )


def _record(row: Row[Any]) -> CrlRecord:
    return CrlRecord(
        id=row.id,
        issuer_id=row.issuer_id,
        scope=row.scope,
        crl_number=row.crl_number,
        base_number=row.base_number,
        this_update=from_seconds(row.this_update),
        next_update=from_seconds(row.next_update),
        snapshot=from_seconds(row.snapshot),
        seen=row.seen,
        entries=row.entries,
        octets=row.octets,
        sha256=row.sha256,
    )
