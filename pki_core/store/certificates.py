"""Certificates: the record of each one and its DER, apart; looked up by serial through the status table."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, false, func, or_, select

from pki_core.model.certificates import CertificateRecord
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.bulk import insert_rows
from pki_core.store.issuers import is_fallen
from pki_core.store.times import from_seconds

# One row of each table for a recorded certificate, as plain tuples: this is the hot path.
CERTIFICATE_COLUMNS = (
    "id",
    "issuer_id",
    "serial",
    "profile_id",
    "partner_id",
    "common_name",
    "not_before",
    "not_after",
    "issued_at",
)
_DER_COLUMNS = ("id", "not_after", "der")

CertificateRow = tuple[int, int, str, int, str | None, str, int, int, int]
DerRow = tuple[int, int, bytes]

_certificate, _status = tables.certificate.c, tables.certificate_status.c
_IN_FORCE = (  # built once, as in ``issuers``
    select(_certificate.id)
    .join(
        tables.certificate_status,
        (_status.issuer_id == _certificate.issuer_id) & (_status.serial == _certificate.serial),
    )
    .where(
        _certificate.id == bindparam("wanted"),
        _status.status == CertificateState.GOOD.value,
        ~is_fallen(_certificate.issuer_id),
    )
)


class CertificateGateway:
    """Rows of ``certificate``, ``certificate_der`` and ``certificate_status``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record(self, certificates: Sequence[CertificateRow], ders: Sequence[DerRow]) -> None:
        """Insert recorded certificates; their serials become good when the reservation is closed."""
        insert_rows(self._connection, tables.certificate, CERTIFICATE_COLUMNS, certificates)
        insert_rows(self._connection, tables.certificate_der, _DER_COLUMNS, ders)

    def find(self, serial: str) -> list[CertificateRecord]:
        """Return the certificates with a serial, one for each issuer that used it (in practice at most one)."""
        issuer_ids = self._connection.scalars(select(tables.issuer.c.id)).all()
        rows = self._connection.execute(
            _select_record().where(
                tables.certificate_status.c.issuer_id.in_(issuer_ids), tables.certificate_status.c.serial == serial
            )
        )
        return [_record(row) for row in rows]

    def number_of(self, issuer_label: str, serial: str) -> int:
        """Return the number of a certificate that is known to be there."""
        status = tables.certificate_status.c
        statement = (
            select(status.certificate_id)
            .join_from(tables.certificate_status, tables.issuer, tables.issuer.c.id == status.issuer_id)
            .where(tables.issuer.c.label == issuer_label, status.serial == serial)
        )
        return int(self._connection.execute(statement).scalar_one())

    def of_id(self, certificate_id: int) -> CertificateRecord | None:
        """Return a certificate by its number, None when there is none."""
        row = self._connection.execute(_select_record().where(tables.certificate.c.id == certificate_id)).first()
        return None if row is None else _record(row)

    def is_in_force(self, certificate_id: int) -> bool:
        """Tell whether a certificate is good, and the CAs above it."""
        return self._connection.scalar(_IN_FORCE, {"wanted": certificate_id}) is not None

    def are_good(self, serials: Sequence[tuple[int, str]]) -> bool:
        """Tell whether every (issuer id, serial) is good."""
        distinct = sorted(set(serials))
        values = {
            f"{name}{number}": value
            for number, pair in enumerate(distinct)
            for name, value in zip("is", pair, strict=True)
        }
        good = self._connection.execute(counting_good(len(distinct)), values).scalar_one()
        return int(good) == len(distinct)

    def count(self) -> int:
        """Return how many certificates are recorded; for reports, it reads the whole index."""
        return self._connection.scalar(select(func.count()).select_from(tables.certificate)) or 0

    def ders(self, piece: int) -> Iterator[list[bytes]]:
        """Yield the DER of every certificate in pieces, by keyset."""
        last = -1
        while True:
            rows = self._connection.execute(
                select(tables.certificate_der.c.id, tables.certificate_der.c.der)
                .where(tables.certificate_der.c.id > last)
                .order_by(tables.certificate_der.c.id)
                .limit(piece)
            ).all()
            if not rows:
                return
            last = rows[-1].id
            yield [bytes(row.der) for row in rows]


def _select_record() -> Select[tuple[object, ...]]:
    status, certificate, der = tables.certificate_status, tables.certificate, tables.certificate_der
    return (
        select(
            certificate,
            status.c.status,
            status.c.revoked_at,
            status.c.reason,
            der.c.der,
            tables.issuer.c.label,
            tables.profile.c.name,
            tables.profile.c.hash,
        )
        .join_from(status, certificate, certificate.c.id == status.c.certificate_id)
        .join(der, (der.c.id == certificate.c.id) & (der.c.not_after == certificate.c.not_after))
        .join(tables.issuer, tables.issuer.c.id == certificate.c.issuer_id)
        .join(tables.profile, tables.profile.c.id == certificate.c.profile_id)
    )


def _record(row: Row[Any]) -> CertificateRecord:
    return CertificateRecord(
        serial=row.serial,
        issuer_label=row.label,
        common_name=row.common_name,
        partner_id=row.partner_id,
        profile_name=row.name,
        profile_hash=row.hash,
        state=CertificateState(row.status),
        not_before=from_seconds(row.not_before),
        not_after=from_seconds(row.not_after),
        issued_at=from_seconds(row.issued_at),
        revoked_at=None if row.revoked_at is None else from_seconds(row.revoked_at),
        reason=row.reason,
        certificate_der=bytes(row.der),
    )


@lru_cache(maxsize=16)
def counting_good(count: int) -> Select[int]:
    """Return the count of good ones among (``i0``, ``s0``), ... of issuer and serial; built once for each number."""
    status = tables.certificate_status.c
    keys = [
        (status.issuer_id == bindparam(f"i{one}")) & (status.serial == bindparam(f"s{one}")) for one in range(count)
    ]
    return (
        select(func.count())
        .select_from(tables.certificate_status)
        .where(or_(false(), *keys), status.status == CertificateState.GOOD.value)
    )
