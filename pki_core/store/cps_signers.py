"""Signers of the provisioning service: the certificates whose keys sign contract data."""

from sqlalchemy import Connection, insert, select

from pki_core.model.cps import CpsSignerRecord
from pki_core.model.requests import Issued
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.pool_tables import cps_signer
from pki_core.store.times import from_seconds, to_seconds


class CpsSignerGateway:
    """Rows of ``cps_signer``; none is ever removed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, names: tuple[str, str], issuer_id: int, issued: Issued) -> None:
        """Put a signer into service; ``names`` are its label and its key's. ConflictError when one is taken."""
        self._connection.execute(
            insert(cps_signer).values(
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
        """Return the labels of all signers."""
        return list(self._connection.scalars(select(cps_signer.c.label).order_by(cps_signer.c.id)))

    def all(self) -> list[CpsSignerRecord]:
        """Return every signer and how its certificate stands, the latest first."""
        certificate, status = tables.certificate, tables.certificate_status
        rows = self._connection.execute(
            select(cps_signer, certificate.c.serial, status.c.status)
            .join_from(cps_signer, certificate, certificate.c.id == cps_signer.c.certificate_id)
            .join(status, (status.c.issuer_id == certificate.c.issuer_id) & (status.c.serial == certificate.c.serial))
            .order_by(cps_signer.c.id.desc())
        )
        return [
            CpsSignerRecord(
                label=row.label,
                issuer_id=row.issuer_id,
                key_label=row.key_label,
                serial=row.serial,
                certificate_der=bytes(row.certificate_der),
                not_before=from_seconds(row.not_before),
                not_after=from_seconds(row.not_after),
                state=CertificateState(row.status),
            )
            for row in rows
        ]
