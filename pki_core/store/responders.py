"""Delegated OCSP responders (RFC 6960 4.2.2.2) and how they and their CAs stand."""

from sqlalchemy import Connection, insert, select

from pki_core.model.ocsp import CaStanding, ResponderRecord
from pki_core.model.requests import Issued
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.times import to_seconds


class ResponderGateway:
    """Rows of ``responder``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, names: tuple[str, str], issuer_id: int, issued: Issued) -> None:
        """Put a responder into service; ``names`` are its label and its key's. ConflictError when one is taken."""
        self._connection.execute(
            insert(tables.responder).values(
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
        """Return the labels of all responders."""
        return list(self._connection.scalars(select(tables.responder.c.label).order_by(tables.responder.c.id)))

    def all(self) -> list[ResponderRecord]:
        """Return every responder whose certificate is recorded, the latest first."""
        responder, certificate, status = tables.responder, tables.certificate, tables.certificate_status
        rows = self._connection.execute(
            select(responder, certificate.c.serial, status.c.status)
            .join_from(responder, certificate, certificate.c.id == responder.c.certificate_id)
            .join(status, (status.c.issuer_id == certificate.c.issuer_id) & (status.c.serial == certificate.c.serial))
            .order_by(responder.c.id.desc())
        )
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
            for row in rows
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
