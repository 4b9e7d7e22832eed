"""Delegated OCSP responders (RFC 6960 4.2.2.2) and how they and their CAs stand."""

from sqlalchemy import Connection, select

from pki_core.model.ocsp import CaStanding, ResponderRecord
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.delegates import DelegateGateway


class ResponderGateway(DelegateGateway):
    """Rows of ``responder``."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, tables.responder)

    def all(self) -> list[ResponderRecord]:
        """Return every responder whose certificate is recorded, the latest first."""
        return [
            ResponderRecord(
                label=row.label,
                issuer_id=row.issuer_id,
                key_label=row.key_label,
                serial=row.serial,
                certificate_der=bytes(row.certificate_der),
                not_before=row.not_before,
                not_after=row.not_after,
                state=CertificateState(row.status),
            )
            for row in self._latest_first()
        ]

    def standings(self) -> list[CaStanding]:
        """Return how the certificate of every active CA stands with its own issuer."""
        issuer, certificate, status = tables.issuer, tables.certificate, tables.certificate_status
        rows = self._connection.execute(
            select(issuer.c.id, certificate.c.issuer_id, certificate.c.serial, status.c.status)
            .join_from(issuer, certificate, certificate.c.id == issuer.c.certificate_id)
            .join(status, (status.c.issuer_id == certificate.c.issuer_id) & (status.c.serial == certificate.c.serial))
        )
        return [CaStanding(row[0], row[1], row[2], CertificateState(row[3])) for row in rows]
