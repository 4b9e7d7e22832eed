"""The two writes of an issuance: the reservation before the key is touched, the record after it.

A batch writes sets, table by table. For the few certificates of an EST call each trip to PostgreSQL costs more than
the rows it carries: there each of the two writes is one statement, with the same counts looked at before the commit.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Integer, literal_column
from sqlalchemy.dialects import postgresql

from pki_core.model.errors import InvariantError
from pki_core.model.states import CertificateState
from pki_core.store.audit import AuditEntry, AuditGateway
from pki_core.store.certificates import CertificateGateway
from pki_core.store.compromised_keys import CompromisedKeyGateway
from pki_core.store.driver import run_text
from pki_core.store.engine import is_postgres
from pki_core.store.issuers import is_fallen
from pki_core.store.reservations import POSITIONS, ReservationGateway
from pki_core.store.times import to_seconds

_FEW = 5  # up to here one statement for all tables is quicker than one for each
_STREAM, _ACTION = "issuance", "certificate.issued"
_RESERVED, _GOOD = CertificateState.RESERVED.value, CertificateState.GOOD.value
# In the words of the server; in other words than the driver's, so that the parameter in it is left alone.
_FALLEN = is_fallen(literal_column("%(issuer_id)s::integer", Integer)).compile(
    dialect=postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
    compile_kwargs={"literal_binds": True},
)


def _sound(count: int) -> str:
    """Return the condition that the issuer stands and none of the keys is compromised, as of the statement's start."""
    keys = ", ".join(f"%(k{place})s" for place in range(count))
    return f"NOT {_FALLEN} AND NOT EXISTS (SELECT 1 FROM compromised_key WHERE spki_sha256 IN ({keys}))"  # noqa: S608  # our own words


@lru_cache(maxsize=_FEW)
def _reserving(count: int) -> str:
    """Return the statement for a number of certificates.

    Of what writes in a WITH clause all happens, once, on one snapshot (PostgreSQL 7.8.4). Rows are written out, not
    given as arrays, whose length the server can only guess: it would plan each call anew, longer than it works on it.
    """
    drawn = ", ".join(f"({place}, %(s{place})s::text, %(e{place})s::bigint)" for place in range(count))
    return f"""
WITH opened AS (
    INSERT INTO reservation (issuer_id, profile_id, runner, created_at, lease_until)
    SELECT %(issuer_id)s::integer, %(profile_id)s::integer, %(runner)s, %(now)s::bigint, %(lease_until)s::bigint
    WHERE {_sound(count)}
    RETURNING number
), drawn AS (
    INSERT INTO certificate_status (issuer_id, serial, certificate_id, status, not_after)
    SELECT %(issuer_id)s::integer, one.serial, opened.number * {POSITIONS} + one.place, {_RESERVED}, one.not_after
    FROM opened, (VALUES {drawn}) AS one (place, serial, not_after)
    RETURNING 1
), meant AS (
    INSERT INTO intent (reservation, serials, tbs_der)
    SELECT number, %(serials)s, %(tbs_der)b FROM opened RETURNING 1
)
SELECT number, (SELECT count(*) FROM drawn) AS certificate_status, (SELECT count(*) FROM meant) AS intent FROM opened
"""  # noqa: S608  # our own words and numbers


@lru_cache(maxsize=_FEW)
def _recording(count: int) -> str:
    """Return the statement for a number of certificates.

    All hangs on ``closed``: a reservation that is lost changes nothing, and one that somebody is voiding is waited for
    before anything of it is touched. What was asked when it was made is asked again: a key may have been reported, or
    the issuer revoked, while the token signed.
    """
    signed = ", ".join(
        f"({place}, %(s{place})s::text, %(n{place})s::text, %(b{place})s::bigint, %(e{place})s::bigint,"
        f" %(d{place})b::bytea, %(h{place})b::bytea)"
        for place in range(count)
    )
    serials = ", ".join(f"%(s{place})s" for place in range(count))
    return f"""
WITH closed AS (
    DELETE FROM reservation
    WHERE number = %(number)s::bigint AND runner = %(runner)s AND lease_until > %(now)s::bigint AND {_sound(count)}
    RETURNING issuer_id
), taken AS (
    DELETE FROM intent USING closed WHERE reservation = %(number)s::bigint RETURNING serials
), settled AS (
    UPDATE certificate_status AS status SET status = {_GOOD} FROM closed
    WHERE status.issuer_id = closed.issuer_id AND status.serial IN ({serials}) AND status.status = {_RESERVED}
    RETURNING 1
), signed AS (
    SELECT one.*, %(number)s::bigint * {POSITIONS} + one.place AS id
    FROM closed, (VALUES {signed}) AS one (place, serial, common_name, not_before, not_after, der, digest)
), recorded AS (
    INSERT INTO certificate
        (id, issuer_id, serial, profile_id, partner_id, common_name, not_before, not_after, issued_at)
    SELECT id, %(issuer_id)s::integer, serial, %(profile_id)s::integer, %(partner_id)s::text, common_name,
        not_before, not_after, %(now)s::bigint
    FROM signed RETURNING 1
), kept AS (
    INSERT INTO certificate_der (id, not_after, der) SELECT id, not_after, der FROM signed RETURNING 1
), told AS (
    INSERT INTO audit (stream, at, actor, action, issuer_id, serial, profile_id, certificate_sha256)
    SELECT '{_STREAM}', %(now)s::bigint, %(actor)s::text, '{_ACTION}', %(issuer_id)s::integer, serial,
        %(profile_id)s::integer, digest
    FROM signed ORDER BY place RETURNING 1
)
SELECT (SELECT serials FROM taken) AS serials, (SELECT count(*) FROM settled) AS certificate_status,
    (SELECT count(*) FROM recorded) AS certificate, (SELECT count(*) FROM kept) AS certificate_der,
    (SELECT count(*) FROM told) AS audit
FROM closed
"""  # noqa: S608  # our own words and numbers


class Issuance(NamedTuple):
    """What all certificates of one reservation have in common."""

    issuer_id: int
    profile_id: int
    partner_id: str | None
    actor: str
    runner: str


class Signed(NamedTuple):
    """One certificate as it is recorded, beside its DER."""

    serial: str
    common_name: str
    not_before: datetime
    not_after: datetime
    certificate_der: bytes
    sha256: bytes
    key: str  # as ``compromised_key`` names it


class IssuanceGateway:
    """The rows that an issuance writes, of all tables together."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reservations = ReservationGateway(connection)

    def reserve(
        self,
        issuance: Issuance,
        intents: Sequence[tuple[str, bytes, datetime]],
        times: tuple[datetime, datetime],
        keys: Sequence[str],
    ) -> int | None:
        """Reserve (serial, TBS DER, not_after) for a runner; return its number. ``times``: (now, end of the lease).

        ``keys`` are their public keys, as ``compromised_key`` names them. None: one of these stands there, or the
        issuer, or a CA above it, is revoked or on hold.

        Raises:
            ConflictError: a serial was drawn before.
            InvariantError: the database dropped a row.
        """
        if not self._is_one_statement(intents):
            if CompromisedKeyGateway(self._connection).among(keys):
                return None
            number = self._reservations.open(issuance.issuer_id, issuance.profile_id, issuance.runner, times)
            if number is not None:
                self._reservations.reserve(number, issuance.issuer_id, intents)
            return number
        values: dict[str, Any] = {
            **issuance._asdict(),
            "now": to_seconds(times[0]),
            "lease_until": to_seconds(times[1]),
            "serials": " ".join([serial for serial, _, _ in intents]),
            "tbs_der": b"".join([tbs_der for _, tbs_der, _ in intents]),
        }
        for place, (serial, _, not_after) in enumerate(intents):
            values[f"s{place}"], values[f"e{place}"], values[f"k{place}"] = serial, to_seconds(not_after), keys[place]
        row = run_text(self._connection, _reserving(len(intents)), values).fetchone()
        if row is None:
            return None
        number, drawn, meant = row
        _check_counts({"certificate_status": drawn, "intent": meant * len(intents)}, len(intents))
        return int(number)

    def record(self, number: int, issuance: Issuance, signed: Sequence[Signed], now: datetime) -> None:
        """Close a reservation, and record what was signed under it with its line of the audit log.

        Raises:
            LeaseLostError: it is no longer this runner's, or its lease ran out.
            OvertakenError: a key was reported meanwhile, or the issuer or a CA above it revoked or put on hold.
            InvariantError: it holds other certificates than those signed, or the database dropped a row.
        """
        if not self._is_one_statement(signed):
            self._record_sets(number, issuance, signed, now)
            return
        values: dict[str, Any] = {**issuance._asdict(), "number": number, "now": to_seconds(now)}
        for place, (serial, name, begins, ends, certificate_der, digest, key) in enumerate(signed):
            values[f"s{place}"], values[f"n{place}"], values[f"k{place}"] = serial, name, key
            values[f"b{place}"], values[f"e{place}"] = to_seconds(begins), to_seconds(ends)
            values[f"d{place}"], values[f"h{place}"] = certificate_der, digest
        row = run_text(self._connection, _recording(len(signed)), values).fetchone()
        if row is None:
            raise self._reservations.loss(number, issuance.runner, now)
        serials, settled, recorded, kept, told = row
        if serials != " ".join([one.serial for one in signed]):
            raise _other_certificates(number, len(signed))
        counts = {"certificate_status": settled, "certificate": recorded, "certificate_der": kept, "audit": told}
        _check_counts(counts, len(signed))

    def _record_sets(self, number: int, issuance: Issuance, signed: Sequence[Signed], now: datetime) -> None:
        seconds, first = to_seconds(now), number * POSITIONS
        issuer_id, profile_id, partner_id, actor, _ = issuance
        rows, ders, entries = [], [], []
        for certificate_id, (serial, name, begins, ends, certificate_der, digest, _) in enumerate(signed, start=first):
            not_before, not_after = to_seconds(begins), to_seconds(ends)
            rows.append(
                (certificate_id, issuer_id, serial, profile_id, partner_id, name, not_before, not_after, seconds)
            )
            ders.append((certificate_id, not_after, certificate_der))
            entries.append(AuditEntry(actor, _ACTION, issuer_id, serial, profile_id, digest))
        closed = self._reservations.close(number, issuance.runner, now, [one.key for one in signed])
        if closed != [one.serial for one in signed]:
            raise _other_certificates(number, len(signed))
        CertificateGateway(self._connection).record(rows, ders)
        AuditGateway(self._connection).append(_STREAM, now, entries)

    def _is_one_statement(self, rows: Sequence[object]) -> bool:
        return len(rows) <= _FEW and is_postgres(self._connection)


def _other_certificates(number: int, count: int) -> InvariantError:
    return InvariantError(f"reservation {number} does not hold the {count} certificates that were signed")


def _check_counts(found: dict[str, int], given: int) -> None:
    for table, taken in found.items():
        if taken != given:
            raise InvariantError(f"{table} took {taken} rows of {given}")
