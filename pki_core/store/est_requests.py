"""EST requests that wait for approval (RFC 7030 4.2.3), found again by partner, label, key and subject."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, insert, select, update

from pki_core.model.est import EstRequest, EstRequestState
from pki_core.model.limits import ASKED_NAME_LIMIT
from pki_core.store import tables
from pki_core.store.times import from_seconds, to_seconds


class Sought(NamedTuple):
    """What makes two requests the same one; a client that links signs anew on every connection."""

    partner_id: str
    label: str
    spki_sha256: str
    subject_sha256: str


class EstRequestGateway:
    """Rows of ``est_request``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, number: str, sought: Sought, csr_der: bytes, common_name: str, now: datetime) -> None:
        """Add a request that waits."""
        self._connection.execute(
            insert(tables.est_request).values(
                id=number,
                **sought._asdict(),
                csr_der=csr_der,
                common_name=common_name[:ASKED_NAME_LIMIT],
                state=EstRequestState.PENDING.value,
                asked_at=to_seconds(now),
            )
        )

    def find(self, sought: Sought) -> EstRequest | None:
        """Return the request of this kind that is open, or else the newest; None when there is none."""
        table = tables.est_request.c
        row = self._connection.execute(
            select(tables.est_request)
            .where(
                table.partner_id == sought.partner_id,
                table.label == sought.label,
                table.spki_sha256 == sought.spki_sha256,
                table.subject_sha256 == sought.subject_sha256,
            )
            .order_by(tables.OPEN_EST_REQUEST.desc(), table.asked_at.desc(), table.id.desc())
            .limit(1)
        ).first()
        return None if row is None else _record(row)

    def get(self, number: str) -> EstRequest | None:
        """Return a request by its number."""
        row = self._connection.execute(select(tables.est_request).where(tables.est_request.c.id == number)).first()
        return None if row is None else _record(row)

    def pending(self, limit: int) -> list[EstRequest]:
        """Return requests that wait, the oldest first."""
        rows = self._connection.execute(
            select(tables.est_request)
            .where(tables.est_request.c.state == EstRequestState.PENDING.value)
            .order_by(tables.est_request.c.asked_at, tables.est_request.c.id)
            .limit(limit)
        )
        return [_record(row) for row in rows]

    def count_pending(self, partner_id: str) -> int:
        """Return how many requests of a partner wait."""
        return int(
            self._connection.scalar(
                select(func.count())
                .select_from(tables.est_request)
                .where(
                    tables.est_request.c.partner_id == partner_id,
                    tables.est_request.c.state == EstRequestState.PENDING.value,
                )
            )
            or 0
        )

    def decide(self, number: str, state: EstRequestState, by: str, now: datetime) -> bool:
        """Approve or refuse a request that waits; False when it does not."""
        return (
            self._connection.execute(
                update(tables.est_request)
                .where(tables.est_request.c.id == number, tables.est_request.c.state == EstRequestState.PENDING.value)
                .values(state=state.value, decided_by=by, decided_at=to_seconds(now))
            ).rowcount
            == 1
        )

    def close(self, number: str, certificate_id: int) -> bool:
        """Mark an approved request as issued; False when another call has done so."""
        return (
            self._connection.execute(
                update(tables.est_request)
                .where(tables.est_request.c.id == number, tables.est_request.c.state == EstRequestState.APPROVED.value)
                .values(state=EstRequestState.ISSUED.value, certificate_id=certificate_id)
            ).rowcount
            == 1
        )


def _record(row: Row[Any]) -> EstRequest:
    return EstRequest(
        id=row.id,
        partner_id=row.partner_id,
        label=row.label,
        csr_der=bytes(row.csr_der),
        common_name=row.common_name,
        state=EstRequestState(row.state),
        asked_at=from_seconds(row.asked_at),
        decided_at=None if row.decided_at is None else from_seconds(row.decided_at),
        decided_by=row.decided_by or "",
        certificate_id=row.certificate_id,
    )
