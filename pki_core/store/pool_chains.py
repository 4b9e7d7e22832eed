"""Chains of the pools: the CA certificates between leafs and root, stored once for all leafs that share them."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from pki_core.model.pools import Chain
from pki_core.store import pool_tables as tables
from pki_core.store.engine import is_postgres
from pki_core.store.times import from_seconds, to_seconds

_chain = tables.certificate_chain


class ChainGateway:
    """Rows of ``certificate_chain``. They are never removed: a few for each CA."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ensure(
        self, certificates: Sequence[bytes], root_sha256: str, valid_to: datetime, *, now: datetime | None
    ) -> int:
        """Return the number of a chain, which is stored when it is new.

        ``certificates`` are the leaf's issuer and, if there is one, the CA above it; ``now`` is None for CAs of ours,
        else the moment their status was asked.
        """
        octets = b"".join([len(der).to_bytes(4, "big") + der for der in certificates])
        digest = hashlib.sha256(octets + root_sha256.encode()).hexdigest()
        by_hash = select(_chain.c.id).where(_chain.c.sha256 == digest)
        number = self._connection.scalar(by_hash)
        if number is None:
            # Two processes may be the first to use it at once.
            insert = postgres_insert if is_postgres(self._connection) else sqlite_insert
            self._connection.execute(
                insert(_chain)
                .values(
                    sha256=digest,
                    sub2_der=certificates[0] if len(certificates) > 1 else None,
                    sub1_der=certificates[-1],
                    root_sha256=root_sha256,
                    valid_to=to_seconds(valid_to),
                    is_own=now is None,
                    checked_at=0 if now is None else to_seconds(now),
                )
                .on_conflict_do_nothing(index_elements=[_chain.c.sha256])
            )
            number = self._connection.execute(by_hash).scalar_one()
        return int(number)

    def get(self, number: int) -> Chain:
        """Return a chain that is known to be there."""
        return _record(self._connection.execute(select(_chain).where(_chain.c.id == number)).one())

    def all(self) -> list[Chain]:
        """Return every chain: some for each OEM and MO."""
        return [_record(row) for row in self._connection.execute(select(_chain).order_by(_chain.c.id))]

    def checked(self, numbers: Collection[int], now: datetime) -> None:
        """Note that the status of chains was found good."""
        self._connection.execute(
            update(_chain).where(_chain.c.id.in_(sorted(numbers))).values(checked_at=to_seconds(now))
        )


def _record(row: Row[Any]) -> Chain:
    return Chain(
        id=row.id,
        sub2_der=bytes(row.sub2_der or b""),
        sub1_der=bytes(row.sub1_der),
        root_sha256=row.root_sha256,
        valid_to=from_seconds(row.valid_to),
        is_own=row.is_own,
        checked_at=from_seconds(row.checked_at),
    )
