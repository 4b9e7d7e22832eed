"""Public keys whose private half may be known: certificates of ours were revoked for that, and no other follows."""

from collections.abc import Collection
from functools import lru_cache

from sqlalchemy import BindParameter, ColumnElement, Connection, Select, bindparam, exists, select
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from pki_core.store.bulk import is_in_list, list_of
from pki_core.store.driver import run
from pki_core.store.engine import is_postgres
from pki_core.store.tables import compromised_key


def is_any_compromised(keys: BindParameter[object], *, postgres: bool) -> ColumnElement[bool]:
    """Return the condition that one of a list of keys is remembered; ``keys`` takes what ``list_of`` gives."""
    return exists().where(is_in_list(compromised_key.c.spki_sha256, keys, postgres=postgres))


class CompromisedKeyGateway:
    """Rows of ``compromised_key``; keys are named by the SHA-256 of their SubjectPublicKeyInfo, in hexadecimal."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, keys: Collection[str]) -> None:
        """Remember keys for good; those that are remembered already stay."""
        if not keys:
            return
        insert = postgres_insert if is_postgres(self._connection) else sqlite_insert
        rows = [{"spki_sha256": key} for key in sorted(set(keys))]
        self._connection.execute(insert(compromised_key).on_conflict_do_nothing(), rows)

    def among(self, keys: Collection[str]) -> set[str]:
        """Return which of these keys are remembered: one look for all of them."""
        statement = _among(postgres=is_postgres(self._connection))
        found = run(self._connection, statement, {"listed": list_of(self._connection, list(keys))})
        return {row[0] for row in found.fetchall()}


@lru_cache(maxsize=2)
def _among(*, postgres: bool) -> Select[tuple[str]]:
    """Build the look once: building it takes longer than running it."""
    key = compromised_key.c.spki_sha256
    return select(key).where(is_in_list(key, bindparam("listed"), postgres=postgres))
