"""Keys that sign in a CA's stead: delegated OCSP responders (RFC 6960 4.2.2.2) and CPS signers are kept alike."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select

from pki_core.model.requests import Issued
from pki_core.store import tables
from pki_core.store.times import to_seconds


class DelegateGateway:
    """Rows of one of their tables; none is ever removed."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._connection = connection
        self._table = table

    def add(self, names: tuple[str, str], issuer_id: int, issued: Issued) -> None:
        """Put one into service; ``names`` are its label and its key's. ConflictError when one is taken."""
        self._connection.execute(
            insert(self._table).values(
                label=names[0],
                key_label=names[1],
                issuer_id=issuer_id,
                certificate_id=issued.certificate_id,
                certificate_der=issued.certificate_der,
                not_before=to_seconds(issued.not_before),
                not_after=to_seconds(issued.not_after),
            )
        )

    def labels(self) -> list[str]:
        """Return the labels of all, the first first."""
        return list(self._connection.scalars(select(self._table.c.label).order_by(self._table.c.id)))

    def _latest_first(self) -> Iterable[Row[Any]]:
        """Return the rows with serial and status of their certificates."""
        table, certificate, status = self._table, tables.certificate, tables.certificate_status
        return self._connection.execute(
            select(table, certificate.c.serial, status.c.status)
            .join_from(table, certificate, certificate.c.id == table.c.certificate_id)
            .join(status, (status.c.issuer_id == certificate.c.issuer_id) & (status.c.serial == certificate.c.serial))
            .order_by(table.c.id.desc())
        )
