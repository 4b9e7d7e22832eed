"""Revocations: what CRLs list. A working table: what no list needs any more is removed, the status stays for ever."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, not_, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by

from pki_core.model.revocations import COMPROMISES, Reason
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.bulk import insert_rows, is_one_of, look_up_by_keys
from pki_core.store.engine import is_postgres, small_cache
from pki_core.store.times import from_seconds, to_seconds

_PIECE = 20_000  # entries the server joins in one go: about a megabyte
_ROWS = 2000  # entries read in one go
_entry_of = itemgetter(0)
_COLUMNS = ("issuer_id", "serial", "status", "revoked_at", "reason", "not_after", "shard", "entry_der", "changed_at")


class RevocationRow(NamedTuple):
    """One revocation as it is recorded."""

    issuer_id: int
    serial: str
    status: CertificateState  # revoked or hold
    revoked_at: datetime
    reason: Reason
    not_after: datetime
    shard: int | None
    entry_der: bytes
    changed_at: datetime


class Listing(NamedTuple):
    """Which entries a CRL holds: of an issuer or one of its shards, without those that have been listed long enough.

    RFC 5280 3.3: an entry is dropped once a list issued after the certificate's end has held it.
    """

    issuer_id: int
    shard: int | None = None
    ended_before: datetime | None = None  # a list was issued then
    changed_before: datetime | None = None  # and surely knew of what was recorded before this
    since: datetime | None = None  # only what was recorded from then on: a delta


class InForce(NamedTuple):
    """A certificate of ours that is neither revoked nor over."""

    issuer_id: int
    issuer_label: str
    serial: str
    state: CertificateState  # good or hold
    not_after: datetime
    certificate_der: bytes  # b"" = it is gone


class RevocationGateway:
    """Rows of ``revocation``, and the states in ``certificate_status`` that go with them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def move(
        self,
        key: tuple[int, str],
        before: CertificateState,
        after: CertificateState,
        said: tuple[datetime, Reason] | None,
    ) -> bool:
        """Change the state of (issuer id, serial) when it still is ``before``; False when it is not."""
        status = tables.certificate_status.c
        changed = self._connection.execute(
            update(tables.certificate_status)
            .where(status.issuer_id == key[0], status.serial == key[1], status.status == before.value)
            .values(
                status=after.value,
                revoked_at=to_seconds(said[0]) if said else None,
                reason=said[1].value if said else None,
            )
        ).rowcount
        return bool(changed)

    def add(self, row: RevocationRow) -> None:
        """Record a revocation or a hold; ConflictError when one of the serial is in force."""
        self.add_all([row])

    def count_in_force(self, certificate_ids: Sequence[int], now: datetime) -> int:
        """Return how many certificates ``lock_in_force`` would return, for a dry run."""
        certificate, status = tables.certificate, tables.certificate_status
        if not certificate_ids:
            return 0
        is_its_own = and_(status.c.issuer_id == certificate.c.issuer_id, status.c.serial == certificate.c.serial)
        query = (
            select(func.count())
            .select_from(certificate.join(status, is_its_own))
            .where(
                is_one_of(self._connection, certificate.c.id, sorted(set(certificate_ids))),
                status.c.status.in_((CertificateState.GOOD.value, CertificateState.HOLD.value)),
                certificate.c.not_after > to_seconds(now),
            )
        )
        return self._connection.scalar(query) or 0

    def lock_in_force(self, certificate_ids: Sequence[int], now: datetime) -> list[InForce]:
        """Return which certificates are neither revoked nor over; nobody changes them before the transaction ends."""
        if not certificate_ids:
            return []
        certificate, status, der = tables.certificate, tables.certificate_status, tables.certificate_der
        is_its_own = and_(status.c.issuer_id == certificate.c.issuer_id, status.c.serial == certificate.c.serial)
        is_its_der = and_(der.c.id == certificate.c.id, der.c.not_after == certificate.c.not_after)
        look_up_by_keys(self._connection)
        rows = self._connection.execute(
            select(
                certificate.c.issuer_id,
                tables.issuer.c.label,
                certificate.c.serial,
                status.c.status,
                certificate.c.not_after,
                der.c.der,
            )
            .join_from(certificate, status, is_its_own)
            .join(der, is_its_der, isouter=True)
            .join(tables.issuer, tables.issuer.c.id == certificate.c.issuer_id)
            .where(
                is_one_of(self._connection, certificate.c.id, sorted(set(certificate_ids))),
                status.c.status.in_((CertificateState.GOOD.value, CertificateState.HOLD.value)),
                certificate.c.not_after > to_seconds(now),
            )
            .order_by(certificate.c.issuer_id, certificate.c.serial)
            .with_for_update(of=status)
        )
        return [
            InForce(
                row.issuer_id,
                row.label,
                row.serial,
                CertificateState(row.status),
                from_seconds(row.not_after),
                bytes(row.der or b""),
            )
            for row in rows
        ]

    def move_all(self, found: Sequence[InForce], said: tuple[datetime, Reason], now: datetime) -> int:
        """Revoke certificates that ``lock_in_force`` returned, and end their holds; returns how many were changed."""
        status, revocation, changed = tables.certificate_status.c, tables.revocation.c, 0
        for issuer_id in sorted({one.issuer_id for one in found}):
            serials = [one.serial for one in found if one.issuer_id == issuer_id]
            held = [one.serial for one in found if one.issuer_id == issuer_id and one.state is CertificateState.HOLD]
            changed += self._connection.execute(
                update(tables.certificate_status)
                .where(status.issuer_id == issuer_id, is_one_of(self._connection, status.serial, serials))
                .values(status=CertificateState.REVOKED.value, revoked_at=to_seconds(said[0]), reason=said[1].value)
            ).rowcount
            if held:
                self._connection.execute(
                    update(tables.revocation)
                    .where(
                        revocation.issuer_id == issuer_id,
                        is_one_of(self._connection, revocation.serial, held),
                        revocation.released_at.is_(None),
                    )
                    .values(released_at=to_seconds(now), changed_at=to_seconds(now))
                )
        return changed

    def add_all(self, rows: Sequence[RevocationRow]) -> None:
        """Record revocations as a set; ConflictError when one of the serials is in force."""
        values = [
            (
                row.issuer_id,
                row.serial,
                row.status.value,
                to_seconds(row.revoked_at),
                row.reason.value or None,
                to_seconds(row.not_after),
                row.shard,
                row.entry_der,
                to_seconds(row.changed_at),
            )
            for row in rows
        ]
        insert_rows(self._connection, tables.revocation, _COLUMNS, values)

    def end_hold(self, issuer_id: int, serial: str, now: datetime) -> bool:
        """End the hold of a serial; False when there is none."""
        revocation = tables.revocation.c
        return bool(
            self._connection.execute(
                update(tables.revocation)
                .where(
                    revocation.issuer_id == issuer_id,
                    revocation.serial == serial,
                    revocation.released_at.is_(None),
                    revocation.status == CertificateState.HOLD.value,
                )
                .values(released_at=to_seconds(now), changed_at=to_seconds(now))
            ).rowcount
        )

    def correct(self, issuer_id: int, serial: str, reason: Reason, now: datetime) -> tuple[datetime, Reason] | None:
        """Give a revocation a reason that tells of the key, and end its line for lists: another one is to be added.

        Returns since when the certificate is revoked and the reason before; None when it is not revoked, or its reason
        tells of the key already.
        """
        status, revocation = tables.certificate_status.c, tables.revocation.c
        revoked_at = self._connection.scalar(
            update(tables.certificate_status)
            .where(
                status.issuer_id == issuer_id,
                status.serial == serial,
                status.status == CertificateState.REVOKED.value,
                func.coalesce(status.reason, 0).not_in([one.value for one in COMPROMISES]),
            )
            .values(reason=reason.value)
            .returning(status.revoked_at)
        )
        if revoked_at is None:
            return None
        before = self._connection.scalar(
            update(tables.revocation)
            .where(revocation.issuer_id == issuer_id, revocation.serial == serial, revocation.released_at.is_(None))
            .values(released_at=to_seconds(now), changed_at=to_seconds(now))
            .returning(revocation.reason)
        )
        return from_seconds(revoked_at), Reason(before or 0)

    def entries(self, listing: Listing) -> Iterator[bytes]:
        """Yield the DER entries in force, in order of recording, many of them joined at a time."""
        if is_postgres(self._connection):
            return self._joined_by_server(listing)
        return self._joined_here(listing)

    def released(self, listing: Listing) -> list[tuple[str, datetime]]:
        """Return (serial, when) of the holds that ended since a listing's moment and were not followed by another."""
        revocation, other = tables.revocation.c, tables.revocation.alias()
        is_listed = exists().where(
            other.c.issuer_id == revocation.issuer_id,
            other.c.serial == revocation.serial,
            other.c.released_at.is_(None),
        )
        rows = self._connection.execute(
            select(revocation.serial, func.max(revocation.changed_at))
            .where(
                revocation.issuer_id == listing.issuer_id,
                revocation.released_at.is_not(None),
                not_(is_listed),
                *([] if listing.since is None else [revocation.changed_at >= to_seconds(listing.since)]),
                *([] if listing.shard is None else [revocation.shard + 0 == listing.shard]),
            )
            .group_by(revocation.serial)
            .order_by(revocation.serial)
        )
        return [(serial, from_seconds(changed_at)) for serial, changed_at in rows]

    def ended(self, listing: Listing) -> list[str]:
        """Return the serials that a listing leaves out because lists have shown them after their end."""
        revocation, has_ended = tables.revocation.c, _has_ended(listing)
        if has_ended is None:
            return []
        conditions = [
            *_of_scope(listing._replace(since=None)),
            func.coalesce(revocation.released_at, 0) == 0,
            has_ended,
        ]
        ordered = select(revocation.serial).where(*conditions).order_by(revocation.number + 0)
        return list(self._connection.scalars(ordered))

    def states_of(self, issuer_id: int, serials: Sequence[str]) -> dict[str, tuple[CertificateState, datetime]]:
        """Return (state, end of validity) of serials."""
        status = tables.certificate_status.c
        rows = self._connection.execute(
            select(status.serial, status.status, status.not_after).where(
                status.issuer_id == issuer_id, is_one_of(self._connection, status.serial, serials)
            )
        )
        return {row.serial: (CertificateState(row.status), from_seconds(row.not_after)) for row in rows}

    def prune(self, listing: Listing, limit: int) -> int:
        """Remove rows that no list of the issuer will name again; returns how many."""
        revocation = tables.revocation.c
        has_ended = _has_ended(listing)
        if has_ended is None or listing.changed_before is None:
            return 0
        was_released = and_(
            revocation.changed_at < to_seconds(listing.changed_before), revocation.released_at.is_not(None)
        )
        removed = 0
        for condition in (has_ended, was_released):
            numbers = self._connection.scalars(
                select(revocation.number).where(revocation.issuer_id == listing.issuer_id, condition).limit(limit)
            ).all()
            if numbers:
                of_these = is_one_of(self._connection, revocation.number, numbers)
                removed += self._connection.execute(delete(tables.revocation).where(of_these)).rowcount
        return removed

    def _joined_here(self, listing: Listing) -> Iterator[bytes]:
        number = tables.revocation.c.number
        # All of a list in the order of an index; the few lines of a delta found by their time, and sorted.
        order = number if listing.since is None else number + 0
        statement = select(tables.revocation.c.entry_der).where(*_in_force(listing)).order_by(order)
        with small_cache(self._connection):
            cursor = self._connection.execute(statement).cursor
            while rows := cursor.fetchmany(_ROWS):
                yield b"".join(map(_entry_of, rows))

    def _joined_by_server(self, listing: Listing) -> Iterator[bytes]:
        """Read the entries joined by the server: a row each costs three times as much."""
        revocation = tables.revocation.c
        last = 0
        while True:
            piece = (
                select(revocation.number, revocation.entry_der)
                .where(*_in_force(listing), revocation.number > last)
                .order_by(revocation.number)
                .limit(_PIECE)
                .subquery()
            )
            joined = func.string_agg(piece.c.entry_der, aggregate_order_by(func.decode("", "hex"), piece.c.number))
            row = self._connection.execute(select(joined, func.max(piece.c.number))).one()
            if row[1] is None:
                return
            last = row[1]
            yield bytes(row[0])


def _of_scope(listing: Listing) -> list[ColumnElement[bool]]:
    revocation = tables.revocation.c
    conditions = [revocation.issuer_id == listing.issuer_id]
    if listing.since is not None:  # few rows: the planner shall find them by their time
        conditions = [revocation.issuer_id + 0 == listing.issuer_id, revocation.changed_at >= to_seconds(listing.since)]
    return conditions if listing.shard is None else [*conditions, revocation.shard == listing.shard]


def _in_force(listing: Listing) -> list[ColumnElement[bool]]:
    # Not "IS NULL": the planner shall walk the index that is in the order of the numbers.
    conditions = [*_of_scope(listing), func.coalesce(tables.revocation.c.released_at, 0) == 0]
    has_ended = _has_ended(listing)
    return conditions if has_ended is None else [*conditions, not_(has_ended)]


def _has_ended(listing: Listing) -> ColumnElement[bool] | None:
    if listing.ended_before is None or listing.changed_before is None:
        return None
    revocation = tables.revocation.c
    return and_(
        revocation.not_after < to_seconds(listing.ended_before),
        revocation.changed_at + 0 < to_seconds(listing.changed_before),  # nearly all were; few have ended since
    )
