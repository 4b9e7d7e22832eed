"""The PCP: OEM provisioning certificates by PCID and algorithm; found by exact key only, never listed or counted."""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    delete,
    false,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from pki_core.model.errors import ConflictError
from pki_core.model.pools import Namespace, ProvisioningKey, ProvisioningRow
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.store import pool_tables, tables
from pki_core.store.bulk import insert_rows, is_one_of
from pki_core.store.issuers import is_fallen
from pki_core.store.pool_queries import (
    changed_between,
    ends_between,
    has_ended,
    longest_untold,
    page_end,
    revoked_in_window,
    with_der,
)
from pki_core.store.times import from_seconds, to_seconds

_COLUMNS = (
    "pcid",
    "algorithm",
    "pcid_as_sent",
    "namespace",
    "chain_id",
    "certificate_id",
    "key_sha256",
    "valid_to",
    "added_at",
    "checked_at",
)
_pcp = pool_tables.provisioning_certificate
_KEY = (_pcp.c.pcid, _pcp.c.algorithm)
_certificate, _status = tables.certificate, tables.certificate_status


def _with_state(state: ColumnElement[int]) -> Select[Any]:
    is_its_own = and_(_status.c.issuer_id == _certificate.c.issuer_id, _status.c.serial == _certificate.c.serial)
    return with_der(_pcp).add_columns(state.label("status")).join(_status, is_its_own, isouter=True)


# Built once: a vehicle waits for it, and building takes longer than running.
_OF_VEHICLE = _with_state(
    case((is_fallen(_certificate.c.issuer_id), CertificateState.REVOKED.value), else_=_status.c.status)
).where(_pcp.c.pcid == bindparam("wanted"))


class IssuedRow(NamedTuple):
    """A row for a certificate of ours, in the order of the columns: this is the hot path."""

    pcid: str
    algorithm: str
    pcid_as_sent: str
    namespace: int
    chain_id: int
    certificate_id: int
    key_sha256: bytes
    valid_to: int
    added_at: int
    checked_at: int


class ProvisioningPoolGateway:
    """Rows of ``provisioning_certificate``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_issued(self, rows: Sequence[IssuedRow]) -> list[ProvisioningKey]:
        """Put certificates just issued in; return those whose key replaced another one.

        Nearly always every vehicle is new, so this is tried first; the keys of ``rows`` differ.
        """
        ordered = sorted(rows)  # two batches meet in the same order: one waits, none is killed
        try:
            with self._connection.begin_nested():
                insert_rows(self._connection, _pcp, _COLUMNS, ordered)
        except (ConflictError, IntegrityError):
            return self._replace(ordered)
        return []

    def _replace(self, rows: Sequence[IssuedRow]) -> list[ProvisioningKey]:
        keys = [ProvisioningKey(row.pcid, KeyAlgorithm(row.algorithm)) for row in rows]
        known = {
            (row.pcid, row.algorithm): bytes(row.key_sha256)
            for row in self._connection.execute(
                select(_pcp.c.pcid, _pcp.c.algorithm, _pcp.c.key_sha256).where(self._are(keys)).with_for_update()
            )
        }
        for row in rows:
            if row[:2] in known:
                values = {**row._asdict(), "leaf_der": None, "v2g_roots": None, "previous_pcid": None}
                self._connection.execute(
                    update(_pcp).where(_pcp.c.pcid == row.pcid, _pcp.c.algorithm == row.algorithm).values(**values)
                )
        insert_rows(self._connection, _pcp, _COLUMNS, [row for row in rows if row[:2] not in known])
        return [
            key for key, row in zip(keys, rows, strict=True) if row[:2] in known and known[row[:2]] != row.key_sha256
        ]

    def put(self, row: ProvisioningRow) -> None:
        """Insert a row, or write it over the one with its key."""
        values = {
            "pcid_as_sent": row.pcid_as_sent,
            "namespace": row.namespace.value,
            "chain_id": row.chain_id,
            "certificate_id": row.certificate_id,
            "leaf_der": None if row.certificate_id is not None else row.leaf_der,
            "key_sha256": row.key_sha256,
            "valid_to": to_seconds(row.valid_to),
            "added_at": to_seconds(row.added_at),
            "checked_at": to_seconds(row.checked_at),
            "v2g_roots": json.dumps(row.v2g_roots) if row.v2g_roots else None,
            "previous_pcid": row.previous_pcid or None,
        }
        if not self._connection.execute(update(_pcp).where(self._are([row.key])).values(**values)).rowcount:
            self._connection.execute(
                insert(_pcp).values(pcid=row.key.pcid, algorithm=row.key.algorithm.value, **values)
            )

    def get(self, key: ProvisioningKey) -> ProvisioningRow | None:
        """Return a row with its DER, None when there is none."""
        row = self._connection.execute(with_der(_pcp).where(self._are([key]))).first()
        return None if row is None else _record(row)

    def of_pcid(self, pcid: str) -> list[ProvisioningRow]:
        """Return a vehicle's rows, one an algorithm."""
        rows = self._connection.execute(with_der(_pcp).where(_pcp.c.pcid == pcid).order_by(_pcp.c.algorithm))
        return [_record(row) for row in rows]

    def standing(self, keys: Collection[ProvisioningKey]) -> list[tuple[ProvisioningRow, CertificateState | None]]:
        """Return rows and how the certificates of ours among them stand; None for those of others."""
        return _stood(self._connection.execute(_with_state(_status.c.status).where(self._are(keys))))

    def standing_with_cas(self, pcid: str) -> list[tuple[ProvisioningRow, CertificateState | None]]:
        """Return the rows of one vehicle as ``standing``; revoked is, too, what stands below a CA that is."""
        return _stood(self._connection.execute(_OF_VEHICLE, {"wanted": pcid}))

    def lock_hashes(self, keys: Collection[ProvisioningKey]) -> dict[ProvisioningKey, bytes]:
        """Return which rows are there with their key's hash; nobody changes them before the transaction ends."""
        statement = select(*_KEY, _pcp.c.key_sha256).where(self._are(keys)).order_by(*_KEY).with_for_update()
        return {_as_key(row): bytes(row.key_sha256) for row in self._connection.execute(statement)}

    def expired(self, now: datetime, limit: int) -> list[ProvisioningKey]:
        """Return rows one of whose certificates has ended, the longest first."""
        return self._keys(select(*_KEY).where(has_ended(_pcp, now)).order_by(_pcp.c.valid_to).limit(limit))

    def ending(self, since: datetime, until: datetime, limit: int) -> tuple[list[ProvisioningKey], datetime]:
        """Return rows that end after ``since``, by ``until`` at the latest, and the moment they go up to.

        About ``limit`` of them; those that end in the same second stay together.
        """
        until = page_end(self._connection, _pcp.c.valid_to, ends_between(_pcp, since, until), until, limit)
        return self._keys(select(*_KEY).where(*ends_between(_pcp, since, until)).order_by(*_KEY)), until

    def changed(
        self, changed: tuple[datetime, datetime], ends: tuple[datetime, datetime], limit: int
    ) -> tuple[list[ProvisioningKey], datetime]:
        """Return rows that came in between two moments and end between two others, as ``ending`` in pages."""
        since, until = changed
        window = changed_between(_pcp.c.added_at, changed, ends)
        until = page_end(self._connection, _pcp.c.added_at, window, until, limit)
        window = changed_between(_pcp.c.added_at, (since, until), ends)
        return self._keys(select(*_KEY).where(*window).order_by(*_KEY)), until

    def revoked(self, after: int, limit: int) -> tuple[list[ProvisioningKey], int | None]:
        """Return rows of ours that are revoked, by a window of revocations; and where the next window begins."""
        rows, last = revoked_in_window(self._connection, _KEY, after, limit)
        return [_as_key(row) for row in rows], last

    def longest_untold(self, before: datetime) -> tuple[str, datetime, int] | None:
        """Return the foreign vehicle told of the longest ago, when, and how many were last told before a moment."""
        return longest_untold(self._connection, _pcp.c.pcid, before)

    def unchecked(self, before: datetime, after: ProvisioningKey | None, limit: int) -> list[ProvisioningRow]:
        """Return foreign rows whose status was not asked since a moment, in the order of their keys."""
        condition = and_(_pcp.c.leaf_der.is_not(None), _pcp.c.checked_at < to_seconds(before))
        if after is not None:
            condition = and_(condition, tuple_(*_KEY) > (after.pcid, after.algorithm.value))
        rows = self._connection.execute(
            with_der(_pcp).where(condition).order_by(_pcp.c.pcid, _pcp.c.algorithm).limit(limit)
        )
        return [_record(row) for row in rows]

    def checked(self, keys: Collection[ProvisioningKey], now: datetime) -> None:
        """Note that rows were found good."""
        if keys:
            self._connection.execute(update(_pcp).where(self._are(keys)).values(checked_at=to_seconds(now)))

    def lock(self, keys: Collection[ProvisioningKey], ended: datetime | None = None) -> list[ProvisioningKey]:
        """Return which rows are there, or have ended by a moment; nobody changes them before the transaction ends."""
        condition = self._are(keys) if ended is None else and_(self._are(keys), has_ended(_pcp, ended))
        statement = select(*_KEY).where(condition).order_by(_pcp.c.pcid, _pcp.c.algorithm).with_for_update()
        return self._keys(statement)

    def below(self, chain_id: int, limit: int) -> list[ProvisioningKey]:
        """Return rows of a chain; this reads the pool."""
        return self._keys(select(*_KEY).where(_pcp.c.chain_id == chain_id).limit(limit))

    def all_below(self, chain_id: int) -> list[ProvisioningKey]:
        """Return every row of a chain, for a dry run; this reads the pool."""
        return self._keys(select(*_KEY).where(_pcp.c.chain_id == chain_id))

    def remove(self, keys: Collection[ProvisioningKey]) -> int:
        """Remove rows; ConflictError when a contract still names one."""
        return self._connection.execute(delete(_pcp).where(self._are(keys))).rowcount if keys else 0

    def _are(self, keys: Collection[ProvisioningKey]) -> ColumnElement[bool]:
        by_algorithm: dict[KeyAlgorithm, list[str]] = {}
        for key in keys:
            by_algorithm.setdefault(key.algorithm, []).append(key.pcid)
        return or_(
            false(),
            *[
                and_(
                    _pcp.c.algorithm == algorithm.value,
                    _pcp.c.pcid == pcids[0] if len(pcids) == 1 else is_one_of(self._connection, _pcp.c.pcid, pcids),
                )
                for algorithm, pcids in by_algorithm.items()
            ],
        )

    def _keys(self, statement: Select[Any]) -> list[ProvisioningKey]:
        return [_as_key(row) for row in self._connection.execute(statement)]


def _stood(rows: Iterable[Row[Any]]) -> list[tuple[ProvisioningRow, CertificateState | None]]:
    return [(_record(row), None if row.status is None else CertificateState(row.status)) for row in rows]


def _as_key(row: Row[*tuple[Any, ...]]) -> ProvisioningKey:
    return ProvisioningKey(row.pcid, KeyAlgorithm(row.algorithm))


def _record(row: Row[Any]) -> ProvisioningRow:
    return ProvisioningRow(
        key=_as_key(row),
        pcid_as_sent=row.pcid_as_sent,
        namespace=Namespace(row.namespace),
        chain_id=row.chain_id,
        certificate_id=row.certificate_id,
        leaf_der=bytes(row.der),
        key_sha256=bytes(row.key_sha256),
        valid_to=from_seconds(row.valid_to),
        added_at=from_seconds(row.added_at),
        checked_at=from_seconds(row.checked_at),
        v2g_roots=tuple(json.loads(row.v2g_roots)) if row.v2g_roots else (),
        previous_pcid=row.previous_pcid or "",
    )
