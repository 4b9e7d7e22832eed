"""Reservations: serials drawn and to-be-signed bytes stored before a key is touched.

A reservation belongs to one runner for the time of its lease. Whoever takes it over voids it: its serials are burned,
its to-be-signed bytes are dropped, and nothing is ever signed under it again.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, Update, bindparam, delete, insert, select, update
from sqlalchemy.sql.dml import ReturningDelete

from pki_core.model.errors import InvariantError, LeaseExpiredError, LeaseLostError, OvertakenError
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.bulk import insert_rows, is_in_list, list_of
from pki_core.store.compromised_keys import is_any_compromised
from pki_core.store.driver import run
from pki_core.store.engine import is_postgres
from pki_core.store.issuers import is_fallen
from pki_core.store.times import to_seconds

POSITIONS = 4096  # certificate id = reservation number * POSITIONS + position

_STATUS_COLUMNS = ("issuer_id", "serial", "certificate_id", "status", "not_after")

# Built once: for the one certificate of an EST request, building a statement takes longer than running it.
_OPENED = ("issuer_id", "profile_id", "runner", "created_at", "lease_until")
# Joined into the statement: whatever a process remembers of its CAs, a revoked one gets no reservation.
_OPEN = (
    insert(tables.reservation)
    .from_select(
        _OPENED,
        select(*(bindparam(name, type_=tables.reservation.c[name].type) for name in _OPENED)).where(
            ~is_fallen(bindparam("issuer_id", type_=tables.reservation.c.issuer_id.type))
        ),
    )
    .returning(tables.reservation.c.number)
)
_INTENT = insert(tables.intent)
_TAKE_SERIALS = (
    delete(tables.intent).where(tables.intent.c.reservation == bindparam("held")).returning(tables.intent.c.serials)
)


class ReservationGateway:
    """Rows of ``reservation`` and ``intent``, and the reserved rows of ``certificate_status``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self, issuer_id: int, profile_id: int, runner: str, times: tuple[datetime, datetime]) -> int | None:
        """Open a reservation for a runner and return its number; ``times`` is (now, end of the lease).

        None: the issuer, or a CA above it, is revoked or on hold.
        """
        values = {
            "issuer_id": issuer_id,
            "profile_id": profile_id,
            "runner": runner,
            "created_at": to_seconds(times[0]),
            "lease_until": to_seconds(times[1]),
        }
        opened = run(self._connection, _OPEN, values).fetchall()
        return int(opened[0][0]) if opened else None

    def reserve(self, number: int, issuer_id: int, intents: Sequence[tuple[str, bytes, datetime]]) -> None:
        """Store (serial, TBS DER, not_after) for each certificate; a serial drawn before raises ConflictError."""
        if len(intents) > POSITIONS:
            raise InvariantError(f"a reservation holds at most {POSITIONS} certificates")
        first = number * POSITIONS
        insert_rows(
            self._connection,
            tables.certificate_status,
            _STATUS_COLUMNS,
            [
                (issuer_id, serial, first + position, CertificateState.RESERVED.value, to_seconds(not_after))
                for position, (serial, _, not_after) in enumerate(intents)
            ],
        )
        run(
            self._connection,
            _INTENT,
            {
                "reservation": number,
                "serials": " ".join([serial for serial, _, _ in intents]),
                "tbs_der": b"".join([tbs_der for _, tbs_der, _ in intents]),
            },
        )

    def renew(self, number: int, runner: str, times: tuple[datetime, datetime]) -> None:
        """Hold a reservation on under a lease that has not run out; ``times`` is (now, the new end).

        Raises:
            LeaseLostError: it is no longer this runner's, or its lease ran out.
        """
        held = tables.reservation.c
        renewed = self._connection.execute(
            update(tables.reservation)
            .where(held.number == number, held.runner == runner, held.lease_until > to_seconds(times[0]))
            .values(lease_until=to_seconds(times[1]))
        ).rowcount
        if renewed != 1:
            raise self.loss(number, runner, times[0])

    def close(self, number: int, runner: str, now: datetime, keys: Sequence[str]) -> list[str]:
        """Turn a reservation's serials good, drop it, and return them in their order.

        ``keys`` are the public keys that are being recorded, one for each certificate.

        Raises:
            LeaseLostError: it is no longer this runner's, or its lease ran out.
            OvertakenError: a key was reported meanwhile, or the issuer or a CA above it revoked or put on hold.
            InvariantError: it holds another number of certificates than are being recorded.
        """
        held = {
            "held": number,
            "holder": runner,
            "now": to_seconds(now),
            "keys": list_of(self._connection, keys),
        }
        closed = run(self._connection, _closing(postgres=is_postgres(self._connection)), held).fetchall()
        if not closed:
            raise self.loss(number, runner, now)
        serials = self._settle(number, closed[0][0], CertificateState.GOOD)
        if len(serials) != len(keys):
            raise InvariantError(f"reservation {number} does not hold the {len(keys)} certificates that were signed")
        return serials

    def void(self, number: int) -> int:
        """Burn the serials of a reservation and drop it; returns how many. Nothing happens when it is gone."""
        issuer_id = self._connection.execute(
            delete(tables.reservation)
            .where(tables.reservation.c.number == number)
            .returning(tables.reservation.c.issuer_id)
        ).scalar()
        return 0 if issuer_id is None else len(self._settle(number, issuer_id, CertificateState.VOID))

    def expired(self, now: datetime, limit: int) -> list[tuple[int, str]]:
        """Return (number, runner) of reservations whose lease ran out."""
        rows = self._connection.execute(
            select(tables.reservation.c.number, tables.reservation.c.runner)
            .where(tables.reservation.c.lease_until <= to_seconds(now))
            .order_by(tables.reservation.c.number)
            .limit(limit)
        )
        return [(row.number, row.runner) for row in rows]

    def held(self) -> list[tuple[int, str]]:
        """Return (number, runner) of every open reservation."""
        rows = self._connection.execute(
            select(tables.reservation.c.number, tables.reservation.c.runner).order_by(tables.reservation.c.number)
        )
        return [(row.number, row.runner) for row in rows]

    def loss(self, number: int, runner: str, now: datetime) -> LeaseLostError | OvertakenError:
        """Return why a reservation cannot be closed or held on."""
        held = tables.reservation.c
        lease_until = self._connection.scalar(
            select(held.lease_until).where(held.number == number, held.runner == runner)
        )
        if lease_until is None:
            return LeaseLostError(f"reservation {number} is no longer held by this runner")
        if lease_until > to_seconds(now):
            return OvertakenError(
                f"a key of reservation {number} was reported as compromised, or its CA revoked, while it was signed"
            )
        return LeaseExpiredError(f"the lease of reservation {number} ran out before everything was signed")

    def _settle(self, number: int, issuer_id: int, state: CertificateState) -> list[str]:
        taken = run(self._connection, _TAKE_SERIALS, {"held": number}).fetchall()
        serials: list[str] = taken[0][0].split() if taken else []
        settled = run(
            self._connection,
            _settling(postgres=is_postgres(self._connection)),
            {
                "of_issuer": issuer_id,
                "listed": list_of(self._connection, serials),
                "was": CertificateState.RESERVED.value,
                "becomes": state.value,
            },
        ).rowcount
        if settled != len(serials):
            raise InvariantError(f"reservation {number} holds {len(serials)} intents but {settled} reserved serials")
        return serials


@lru_cache(maxsize=2)
def _closing(*, postgres: bool) -> ReturningDelete[tuple[int]]:
    """Built once, see above. What ``_OPEN`` and the look for compromised keys asked is asked again: it may be hours."""
    held = tables.reservation.c
    return (
        delete(tables.reservation)
        .where(
            held.number == bindparam("held"),
            held.runner == bindparam("holder"),
            held.lease_until > bindparam("now"),
            ~is_fallen(held.issuer_id),
            ~is_any_compromised(bindparam("keys"), postgres=postgres),
        )
        .returning(held.issuer_id)
    )


@lru_cache(maxsize=2)
def _settling(*, postgres: bool) -> Update:
    """Built once, see above."""
    status = tables.certificate_status
    return (
        update(status)
        .where(
            status.c.issuer_id == bindparam("of_issuer"),
            is_in_list(status.c.serial, bindparam("listed"), postgres=postgres),
            status.c.status == bindparam("was"),
        )
        .values(status=bindparam("becomes"))
    )
