"""Signers of the provisioning service: the certificates whose keys sign contract data."""

from sqlalchemy import Connection, select

from pki_core.model.cps import CpsSignerRecord
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.delegates import DelegateGateway
from pki_core.store.pool_tables import cps_signer
from pki_core.store.times import from_seconds


class CpsSignerGateway(DelegateGateway):
    """Rows of ``cps_signer``."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, cps_signer)

    def all(self) -> list[CpsSignerRecord]:
        """Return every signer and how its certificate stands, the latest first."""
        return [
            CpsSignerRecord(
                id=row.id,
                label=row.label,
                issuer_id=row.issuer_id,
                key_label=row.key_label,
                serial=row.serial,
                certificate_der=bytes(row.certificate_der),
                not_before=from_seconds(row.not_before),
                not_after=from_seconds(row.not_after),
                state=CertificateState(row.status),
            )
            for row in self._latest_first()
        ]

    def fallen(self) -> frozenset[bytes]:
        """Return the DER certificates of signers that are revoked themselves, or below a revoked CA."""
        certificate, status, issuer = tables.certificate, tables.certificate_status, tables.issuer
        is_revoked = status.c.status == CertificateState.REVOKED.value
        where = (status.c.issuer_id == certificate.c.issuer_id) & (status.c.serial == certificate.c.serial)
        revoked = set(
            self._connection.scalars(
                select(issuer.c.id)
                .join_from(issuer, certificate, certificate.c.id == issuer.c.certificate_id)
                .join(status, where)
                .where(is_revoked)
            )
        )
        if revoked:  # rare: the others do not pay for it
            parents: dict[int, int | None] = {
                row[0]: row[1] for row in self._connection.execute(select(issuer.c.id, issuer.c.parent_id))
            }
            revoked |= {one for one in parents if not revoked.isdisjoint(_above(parents, one))}
        rows = self._connection.execute(
            select(cps_signer.c.certificate_der)
            .join_from(cps_signer, certificate, certificate.c.id == cps_signer.c.certificate_id)
            .join(status, where)
            .where(is_revoked | cps_signer.c.issuer_id.in_(revoked))
        )
        return frozenset(bytes(row[0]) for row in rows)


def _above(parents: dict[int, int | None], number: int) -> list[int]:
    """Return the CAs above one, the nearest first."""
    found: list[int] = []
    above = parents[number]
    while above is not None:
        found.append(above)
        above = parents[above]
    return found
