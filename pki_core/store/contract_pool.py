"""The CCP: signed contract data by EMAID; the data itself lies apart, sweeps never touch it but to remove it."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, or_, select, update

from pki_core.model.pools import ContractRow, Namespace, ProvisioningKey, RemovedContract
from pki_core.model.signer import KeyAlgorithm
from pki_core.store import pool_tables
from pki_core.store.bulk import is_one_of, look_up_by_keys
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

_ccp, _pcp, _data = pool_tables.contract, pool_tables.provisioning_certificate, pool_tables.contract_data
_TOLD = (_ccp.c.emaid, _ccp.c.pcid, _ccp.c.certificate_id, _ccp.c.namespace)


class ContractPoolGateway:
    """Rows of ``contract`` and ``contract_data``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, row: ContractRow, signed_data: bytes, meta: str = "") -> bool:
        """Insert a contract, or write it over the one with its EMAID; returns whether it is new.

        Whether it is the default is decided once, at the insert; ``set_default`` changes it.
        """
        values = {
            "emaid_as_issued": row.emaid_as_issued,
            "pcid": row.key.pcid,
            "algorithm": row.key.algorithm.value,
            "key_sha256": row.key_sha256,
            "namespace": row.namespace.value,
            "chain_id": row.chain_id,
            "certificate_id": row.certificate_id,
            "leaf_der": None if row.certificate_id is not None else row.leaf_der,
            "valid_from": to_seconds(row.valid_from),
            "valid_to": to_seconds(row.valid_to),
            "cps_fingerprint": row.cps_fingerprint,
            "signer_id": row.signer_id,
            "updated_at": to_seconds(row.updated_at),
            "checked_at": to_seconds(row.checked_at),
        }
        known = update(_ccp).where(_ccp.c.emaid == row.emaid, _ccp.c.pcid == row.key.pcid).values(**values)
        if self._connection.execute(known).rowcount:
            self._connection.execute(
                update(_data)
                .where(_data.c.emaid == row.emaid)
                .values(signed_data=signed_data, renew_days=None, meta_data=meta or None)
            )
            return False
        self._connection.execute(insert(_ccp).values(emaid=row.emaid, is_default=row.is_default, **values))
        self._connection.execute(insert(_data).values(emaid=row.emaid, signed_data=signed_data, meta_data=meta or None))
        return True

    def get(self, emaid: str) -> ContractRow | None:
        """Return a contract with its certificate, None when there is none."""
        row = self._connection.execute(with_der(_ccp).where(_ccp.c.emaid == emaid)).first()
        return None if row is None else _record(row)

    def of_pcid(self, pcid: str) -> list[ContractRow]:
        """Return a vehicle's contracts, the default first."""
        rows = self._connection.execute(
            with_der(_ccp).where(_ccp.c.pcid == pcid).order_by(_ccp.c.is_default.desc(), _ccp.c.emaid)
        )
        return [_record(row) for row in rows]

    def certificates_of(self, emaids: Collection[str]) -> dict[str, bytes]:
        """Return the DER certificates of those contracts that are there."""
        if not emaids:
            return {}
        rows = self._connection.execute(with_der(_ccp).where(is_one_of(self._connection, _ccp.c.emaid, sorted(emaids))))
        return {row.emaid: bytes(row.der) for row in rows}

    def signed_data(self, emaid: str) -> bytes:
        """Return the signed data of a contract that is known to be there."""
        return bytes(self._connection.execute(select(_data.c.signed_data).where(_data.c.emaid == emaid)).scalar_one())

    def set_default(self, pcid: str, emaid: str) -> bool:
        """Make a contract its vehicle's default, in the place of another one; False when it is not that vehicle's."""
        # Both rows in the order that everybody locks.
        self._connection.execute(_locked(select(_ccp.c.emaid).where(_ccp.c.pcid == pcid)))
        self._connection.execute(
            update(_ccp).where(_ccp.c.pcid == pcid, _ccp.c.is_default, _ccp.c.emaid != emaid).values(is_default=False)
        )
        chosen = update(_ccp).where(_ccp.c.pcid == pcid, _ccp.c.emaid == emaid).values(is_default=True)
        return bool(self._connection.execute(chosen).rowcount)

    def of_keys(self, keys: Collection[ProvisioningKey]) -> list[RemovedContract]:
        """Return the contracts that hang on rows of the PCP."""
        return self._hanging(keys, self._on_vehicles(keys))

    def lock_of_keys(self, keys: Collection[ProvisioningKey]) -> list[RemovedContract]:
        """Return the same, locked until the transaction ends."""
        return self._hanging(keys, _locked(self._on_vehicles(keys)))

    def _on_vehicles(self, keys: Collection[ProvisioningKey]) -> Select[Any]:
        pcids = sorted({key.pcid for key in keys})
        return select(*_TOLD, _ccp.c.algorithm).where(is_one_of(self._connection, _ccp.c.pcid, pcids))

    def _hanging(self, keys: Collection[ProvisioningKey], statement: Select[Any]) -> list[RemovedContract]:
        wanted = frozenset(keys)
        rows = self._connection.execute(statement)
        return [_removed(row) for row in rows if ProvisioningKey(row.pcid, KeyAlgorithm(row.algorithm)) in wanted]

    def lock(self, emaids: Collection[str], ended: datetime | None = None) -> list[RemovedContract]:
        """Return which contracts are there, or have ended by a moment, locked until the transaction ends."""
        are = is_one_of(self._connection, _ccp.c.emaid, sorted(emaids))
        condition = are if ended is None else and_(are, has_ended(_ccp, ended))
        rows = self._connection.execute(_locked(select(*_TOLD).where(condition)))
        return [_removed(row) for row in rows]

    def below(self, chain_id: int, limit: int) -> list[RemovedContract]:
        """Return contracts of a chain, locked; this reads the pool."""
        statement = _locked(select(*_TOLD).where(_ccp.c.chain_id == chain_id).limit(limit))
        return [_removed(row) for row in self._connection.execute(statement)]

    def all_below(self, chain_id: int) -> list[RemovedContract]:
        """Return every contract of a chain, for a dry run; this reads the pool."""
        return [_removed(row) for row in self._connection.execute(select(*_TOLD).where(_ccp.c.chain_id == chain_id))]

    def expired(self, now: datetime, limit: int) -> list[RemovedContract]:
        """Return contracts one of whose certificates has ended, the longest first."""
        rows = self._connection.execute(
            select(*_TOLD).where(has_ended(_ccp, now)).order_by(_ccp.c.valid_to).limit(limit)
        )
        return [_removed(row) for row in rows]

    def ending(self, since: datetime, until: datetime, limit: int) -> tuple[list[RemovedContract], datetime]:
        """Return contracts that end after ``since``, by ``until`` at the latest, and the moment they go up to.

        About ``limit`` of them; those that end in the same second stay together.
        """
        until = page_end(self._connection, _ccp.c.valid_to, ends_between(_ccp, since, until), until, limit)
        rows = self._connection.execute(select(*_TOLD).where(*ends_between(_ccp, since, until)).order_by(_ccp.c.emaid))
        return [_removed(row) for row in rows], until

    def changed(
        self, changed: tuple[datetime, datetime], ends: tuple[datetime, datetime], limit: int
    ) -> tuple[list[RemovedContract], datetime]:
        """Return contracts that came in between two moments and end between two others, as ``ending`` in pages."""
        since, until = changed
        window = changed_between(_ccp.c.updated_at, changed, ends)
        until = page_end(self._connection, _ccp.c.updated_at, window, until, limit)
        window = changed_between(_ccp.c.updated_at, (since, until), ends)
        rows = self._connection.execute(select(*_TOLD).where(*window).order_by(_ccp.c.emaid))
        return [_removed(row) for row in rows], until

    def orphans(self, after: str, now: datetime, limit: int) -> tuple[list[RemovedContract], str]:
        """Return orphans in a window of contracts behind an EMAID, and the window's last EMAID, "" = no more.

        An orphan's vehicle has no provisioning certificate any more, or an ended one, or one with another key.
        """
        look_up_by_keys(self._connection)
        window = (
            select(*_TOLD, _ccp.c.algorithm, _ccp.c.key_sha256)
            .where(_ccp.c.emaid > after)
            .order_by(_ccp.c.emaid)
            .limit(limit)
            .subquery()
        )
        last = self._connection.scalar(select(func.max(window.c.emaid))) or ""
        is_its_own = and_(_pcp.c.pcid == window.c.pcid, _pcp.c.algorithm == window.c.algorithm)
        rows = self._connection.execute(
            select(*(window.c[told.name] for told in _TOLD))
            .join_from(window, _pcp, is_its_own, isouter=True)
            .where(or_(_pcp.c.pcid.is_(None), has_ended(_pcp, now), _pcp.c.key_sha256 != window.c.key_sha256))
        )
        return [_removed(row) for row in rows], last

    def count_without_root(self, standing: Collection[str]) -> list[tuple[str, int]]:
        """Return how many contracts name a CPS root that is none of these, by its fingerprint."""
        fingerprint = _ccp.c.cps_fingerprint
        counts, root = [], ""
        # From one root to the next along the index: there are few, and contracts of those that stand are not read.
        while (root := self._connection.scalar(select(func.min(fingerprint)).where(fingerprint > root))) is not None:
            if root not in standing:
                counted = select(func.count()).select_from(_ccp).where(fingerprint == root)
                counts.append((root, self._connection.scalar(counted) or 0))
        return counts

    def longest_untold(self, before: datetime) -> tuple[str, datetime, int] | None:
        """Return the foreign contract told of the longest ago, when, and how many were last told before a moment."""
        return longest_untold(self._connection, _ccp.c.emaid, before)

    def revoked(self, after: int, limit: int) -> tuple[list[RemovedContract], int | None]:
        """Return contracts of ours that are revoked, by a window of revocations; and where the next window begins."""
        rows, last = revoked_in_window(self._connection, _TOLD, after, limit)
        return [_removed(row) for row in rows], last

    def unchecked(self, before: datetime, after: str, limit: int) -> list[ContractRow]:
        """Return foreign contracts behind an EMAID whose status was not asked since a moment, in order."""
        rows = self._connection.execute(
            with_der(_ccp)
            .where(_ccp.c.leaf_der.is_not(None), _ccp.c.checked_at < to_seconds(before), _ccp.c.emaid > after)
            .order_by(_ccp.c.emaid)
            .limit(limit)
        )
        return [_record(row) for row in rows]

    def checked(self, emaids: Collection[str], now: datetime) -> None:
        """Note that contracts were found good."""
        if emaids:
            are = is_one_of(self._connection, _ccp.c.emaid, sorted(emaids))
            self._connection.execute(update(_ccp).where(are).values(checked_at=to_seconds(now)))

    def remove(self, emaids: Collection[str]) -> int:
        """Remove contracts with their data."""
        if not emaids:
            return 0
        listed = sorted(emaids)
        self._connection.execute(delete(_data).where(is_one_of(self._connection, _data.c.emaid, listed)))
        return self._connection.execute(delete(_ccp).where(is_one_of(self._connection, _ccp.c.emaid, listed))).rowcount


def _locked(statement: Select[Any]) -> Select[Any]:
    """Contracts are locked before anything that hangs on them, and in this order: so two wait, and none is killed."""
    return statement.order_by(_ccp.c.emaid).with_for_update()


def _removed(row: Row[*tuple[Any, ...]]) -> RemovedContract:
    return RemovedContract(row.emaid, row.pcid, row.certificate_id, Namespace(row.namespace))


def _record(row: Row[Any]) -> ContractRow:
    return ContractRow(
        emaid=row.emaid,
        emaid_as_issued=row.emaid_as_issued,
        key=ProvisioningKey(row.pcid, KeyAlgorithm(row.algorithm)),
        key_sha256=bytes(row.key_sha256),
        namespace=Namespace(row.namespace),
        is_default=row.is_default,
        chain_id=row.chain_id,
        certificate_id=row.certificate_id,
        leaf_der=bytes(row.der),
        valid_from=from_seconds(row.valid_from),
        valid_to=from_seconds(row.valid_to),
        cps_fingerprint=row.cps_fingerprint,
        signer_id=row.signer_id,
        updated_at=from_seconds(row.updated_at),
        checked_at=from_seconds(row.checked_at),
    )
