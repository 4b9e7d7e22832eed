"""Certificates of ours that a newer one replaced in the CCP: kept in mind until they end, or are revoked with it."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from pki_core.model.pools import ProvisioningKey
from pki_core.store.bulk import is_one_of
from pki_core.store.engine import is_postgres
from pki_core.store.pool_tables import contract, former_contract
from pki_core.store.times import to_seconds

_former = former_contract.c
_COLUMNS = ("emaid", "certificate_id", "pcid", "algorithm", "valid_to")


class FormerContractGateway:
    """Rows of ``former_contract``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def remember(self, emaids: Collection[str], but: int | None = None) -> None:
        """Keep the certificates that contracts have now in mind, before others take their place; not ``but``."""
        if not emaids:
            return
        are = is_one_of(self._connection, contract.c.emaid, sorted(emaids))
        now_there = select(*(contract.c[name] for name in _COLUMNS)).where(are, contract.c.certificate_id.is_not(None))
        if but is not None:
            now_there = now_there.where(contract.c.certificate_id != but)
        insert = postgres_insert if is_postgres(self._connection) else sqlite_insert
        kept = insert(former_contract).from_select(_COLUMNS, now_there)
        self._connection.execute(kept.on_conflict_do_nothing())  # one that was put back in its place meanwhile

    def of(self, emaids: Collection[str]) -> list[int]:
        """Return the numbers of what contracts had before."""
        return self._listed([self._of_contracts(emaids)] if emaids else [])

    def of_keys(self, keys: Collection[ProvisioningKey]) -> list[int]:
        """Return the numbers of what was encrypted for keys of vehicles, whatever their contracts have now."""
        return self._listed(self._for_keys(keys))

    def take(self, emaids: Collection[str]) -> list[int]:
        """Forget what contracts had before; return the numbers of these certificates."""
        return self._taken([self._of_contracts(emaids)] if emaids else [])

    def take_of_keys(self, keys: Collection[ProvisioningKey]) -> list[int]:
        """Forget what was encrypted for keys of vehicles; return as ``take``."""
        return self._taken(self._for_keys(keys))

    def forget_ended(self, now: datetime) -> int:
        """Forget what has ended by itself; returns how many."""
        return self._connection.execute(delete(former_contract).where(_former.valid_to <= to_seconds(now))).rowcount

    def _of_contracts(self, emaids: Collection[str]) -> ColumnElement[bool]:
        return is_one_of(self._connection, _former.emaid, sorted(emaids))

    def _for_keys(self, keys: Collection[ProvisioningKey]) -> list[ColumnElement[bool]]:
        found = []
        for algorithm in sorted({key.algorithm for key in keys}):
            pcids = sorted({key.pcid for key in keys if key.algorithm is algorithm})
            found.append(and_(is_one_of(self._connection, _former.pcid, pcids), _former.algorithm == algorithm.value))
        return found

    def _listed(self, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
        queries = [select(_former.certificate_id).where(one) for one in conditions]
        return [number for query in queries for number in self._connection.scalars(query)]

    def _taken(self, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
        statements = [delete(former_contract).where(one).returning(_former.certificate_id) for one in conditions]
        return [number for statement in statements for number in self._connection.scalars(statement)]
