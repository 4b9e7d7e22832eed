"""Signers of the provisioning service: the certificates whose keys sign contract data."""

from sqlalchemy import Connection, or_, select

from pki_core.model.cps import CpsSignerRecord
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.delegates import DelegateGateway
from pki_core.store.issuers import is_fallen
from pki_core.store.pool_tables import cps_signer
from pki_core.store.times import from_seconds

_certificate, _status = tables.certificate, tables.certificate_status
_IS_STATUS = (_status.c.issuer_id == _certificate.c.issuer_id) & (_status.c.serial == _certificate.c.serial)
_FALLEN = (  # built once: every answer to a vehicle asks
    select(cps_signer.c.certificate_der)
    .join_from(cps_signer, _certificate, _certificate.c.id == cps_signer.c.certificate_id)
    .join(_status, _IS_STATUS)
    .where(or_(_status.c.status != CertificateState.GOOD.value, is_fallen(cps_signer.c.issuer_id)))
)


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
        """Return the DER certificates of signers that are revoked or on hold themselves, or below such a CA."""
        return frozenset(bytes(der) for der in self._connection.scalars(_FALLEN))
