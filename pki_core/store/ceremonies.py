"""Ceremonies that were begun: written before the key is made, so that the same file can go on after a crash."""

from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from pki_core.model.ceremonies import BegunCeremony, CeremonyPlan
from pki_core.model.errors import ConflictError
from pki_core.store.ceremony_tables import ceremony
from pki_core.store.times import to_seconds


class CeremonyGateway:
    """Rows of ``ceremony``; none is ever removed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, plan: CeremonyPlan, now: datetime) -> BegunCeremony:
        """Write that a plan is carried out from now on; ConflictError when its label or its key's is taken."""
        self._connection.execute(
            insert(ceremony).values(
                label=plan.label, file_sha256=plan.sha256, key_label=plan.key_label, begun_at=to_seconds(now)
            )
        )
        return BegunCeremony(plan.sha256, None)

    def find(self, label: str) -> BegunCeremony | None:
        """Return the ceremony of that label, None when none was begun."""
        row = self._connection.execute(select(ceremony).where(ceremony.c.label == label)).first()
        return None if row is None else BegunCeremony(row.file_sha256, row.certificate_id)

    def record_certificate(self, label: str, certificate_id: int) -> None:
        """Give a ceremony its certificate, once; ConflictError when it has one."""
        changed = self._connection.execute(
            update(ceremony)
            .where(ceremony.c.label == label, ceremony.c.certificate_id.is_(None))
            .values(certificate_id=certificate_id)
        ).rowcount
        if changed != 1:
            raise ConflictError(f"another process holds the ceremony of {label!r}, and its certificate is made")
