"""What the queries of both certificate pools share: the DER of ours, and the windows that sweeps walk by."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, Table, and_, func, select

from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.bulk import look_up_by_keys
from pki_core.store.times import from_seconds, to_seconds

_certificate, _der = tables.certificate, tables.certificate_der


def with_der(pool: Table) -> Select[Any]:
    """Return the selection of whole rows; ``der`` is the leaf, wherever it is kept."""
    columns = [column for column in pool.c if column.name != "leaf_der"]
    return (
        select(*columns, func.coalesce(pool.c.leaf_der, _der.c.der).label("der"))
        .join_from(pool, _certificate, _certificate.c.id == pool.c.certificate_id, isouter=True)
        .join(_der, and_(_der.c.id == _certificate.c.id, _der.c.not_after == _certificate.c.not_after), isouter=True)
    )


def has_ended(pool: Table, now: datetime) -> ColumnElement[bool]:
    """Return the condition that one of a row's certificates has ended."""
    return pool.c.valid_to <= to_seconds(now)


def ends_between(pool: Table, since: datetime, until: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions that a row ends after a moment and not after another."""
    return pool.c.valid_to > to_seconds(since), pool.c.valid_to <= to_seconds(until)


def page_end(
    connection: Connection, column: Column[Any], window: Sequence[ColumnElement[bool]], until: datetime, limit: int
) -> datetime:
    """Return the second of the ``limit``-th row of a window, ordered by a column; ``until`` when there are fewer."""
    found = connection.scalar(select(column).where(*window).order_by(column).offset(limit - 1).limit(1))
    return until if found is None else from_seconds(found)


def changed_between(
    column: Column[Any], changed: tuple[datetime, datetime], ends: tuple[datetime, datetime]
) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a row came in between two moments, and ends between two others."""
    since, until = changed
    return column > to_seconds(since), column <= to_seconds(until), *ends_between(column.table, *ends)


def revoked_in_window(
    connection: Connection, columns: Sequence[Column[Any]], after: int, limit: int
) -> tuple[Sequence[Row[Any]], int | None]:
    """Return the rows of a pool whose certificate is revoked, by a window of the revocations behind a number.

    The second value is the last number of the window, None when there was nothing behind ``after``.
    """
    pool, revocation, status = columns[0].table, tables.revocation, tables.certificate_status
    look_up_by_keys(connection)
    window = (
        select(revocation.c.number, revocation.c.issuer_id, revocation.c.serial)
        .where(revocation.c.number > after)
        .order_by(revocation.c.number)
        .limit(limit)
        .subquery()
    )
    last = connection.scalar(select(func.max(window.c.number)))
    found = connection.execute(
        select(*columns)
        .join_from(window, status, and_(status.c.issuer_id == window.c.issuer_id, status.c.serial == window.c.serial))
        .join(pool, pool.c.certificate_id == status.c.certificate_id)
        .where(status.c.status == CertificateState.REVOKED.value)
    ).all()
    return found, last


def longest_untold(connection: Connection, name: Column[Any], before: datetime) -> tuple[str, datetime, int] | None:
    """Return the foreign row whose status was told the longest ago: its name, when, and how many are older than that.

    The number is of rows last told before a moment; None when there are no foreign rows.
    """
    pool = name.table
    is_foreign = pool.c.leaf_der.is_not(None)
    oldest = connection.execute(
        select(name, pool.c.checked_at).where(is_foreign).order_by(pool.c.checked_at).limit(1)
    ).first()
    if oldest is None:
        return None
    late = select(func.count()).select_from(pool).where(is_foreign, pool.c.checked_at < to_seconds(before))
    return oldest[0], from_seconds(oldest[1]), connection.scalar(late) or 0
