"""Certificates of ours that a newer one replaced in the CCP: kept in mind until they end, or are revoked with it."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, delete, select
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

    def take(self, emaids: Collection[str]) -> list[int]:
        """Forget what contracts had before; return the numbers of these certificates."""
        if not emaids:
            return []
        are = is_one_of(self._connection, _former.emaid, sorted(emaids))
        gone = delete(former_contract).where(are).returning(_former.certificate_id)
        return list(self._connection.scalars(gone))

    def take_of_keys(self, keys: Collection[ProvisioningKey]) -> list[int]:
        """Forget what was encrypted for keys of vehicles, whatever their contracts have now; return as ``take``."""
        taken: list[int] = []
        for algorithm in sorted({key.algorithm for key in keys}):
            pcids = sorted({key.pcid for key in keys if key.algorithm is algorithm})
            are = is_one_of(self._connection, _former.pcid, pcids)
            gone = delete(former_contract).where(are, _former.algorithm == algorithm.value)
            taken += self._connection.scalars(gone.returning(_former.certificate_id))
        return taken

    def forget_ended(self, now: datetime) -> int:
        """Forget what has ended by itself; returns how many."""
        return self._connection.execute(delete(former_contract).where(_former.valid_to <= to_seconds(now))).rowcount
