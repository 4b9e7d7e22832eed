"""Job: puts synthetic certificates into a store, set-wise, as if they had been issued long ago."""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select, text

from bench.work import PARTNER, PROFILE
from pki_core.issuance.issuer import RANDOM_OCTETS
from pki_core.model.states import CertificateState
from pki_core.settings import load_settings
from pki_core.store import batch_tables, tables
from pki_core.store.bulk import insert_rows
from pki_core.store.certificates import CERTIFICATE_COLUMNS
from pki_core.store.engine import is_postgres, open_engine
from pki_core.store.reservations import POSITIONS

_PIECE = 50_000
_DER_OCTETS = 700
_STATUS = ("issuer_id", "serial", "certificate_id", "status", "not_after")
_AUDIT = ("stream", "at", "actor", "action", "issuer_id", "serial", "profile_id", "certificate_sha256")
_VALIDITY_SECONDS = 2 * 365 * 86_400
_DISTINCT_OCTETS = 64


def fill(home: str, count: int) -> float:
    """Insert certificates of the contract issuer below the next reservation's numbers; return seconds taken."""
    engine = open_engine(load_settings(Path(home)).database_url)
    started = time.perf_counter()
    with engine.begin() as connection:
        issuer_id, profile_id = _owner(connection)
        first = _next_reservation(connection) * POSITIONS
        _advance_reservations(connection, (first + count) // POSITIONS + 1)
    for start in range(0, count, _PIECE):
        with engine.begin() as connection:
            _insert(connection, issuer_id, profile_id, range(first + start, first + min(start + _PIECE, count)))
    settle(engine)
    engine.dispose()
    return time.perf_counter() - started


def _owner(connection: Connection) -> tuple[int, int]:
    """Return issuer and profile of the newest contract batch; the warm-up batch made sure there is one."""
    batch = batch_tables.batch.c
    row = connection.execute(
        select(batch.issuer_id, batch.profile_id)
        .where(batch.profile_name == PROFILE)
        .order_by(batch.number.desc())
        .limit(1)
    ).one()
    return int(row.issuer_id), int(row.profile_id)


def _next_reservation(connection: Connection) -> int:
    last = connection.scalar(select(func.max(tables.certificate.c.id))) or 0
    return int(last) // POSITIONS + 2


def _advance_reservations(connection: Connection, number: int) -> None:
    """Let the next reservation come behind the synthetic rows: keys on the issuing path grow at their end."""
    if is_postgres(connection):
        connection.execute(text("SELECT setval(pg_get_serial_sequence('reservation', 'number'), :n)"), {"n": number})
    else:
        connection.execute(text("UPDATE sqlite_sequence SET seq = :n WHERE name = 'reservation'"), {"n": number})


def _insert(connection: Connection, issuer_id: int, profile_id: int, ids: range) -> None:
    now = int(time.time())
    not_after = now + _VALIDITY_SECONDS
    serials = list(_serials(len(ids)))
    tail = os.urandom(_DER_OCTETS - _DISTINCT_OCTETS)
    status = [
        (issuer_id, serial, number, CertificateState.GOOD.value, not_after)
        for serial, number in zip(serials, ids, strict=True)
    ]
    # The shape of the tree does not depend on the order inside a transaction, the time to build it does.
    insert_rows(connection, tables.certificate_status, _STATUS, sorted(status))
    insert_rows(
        connection,
        tables.certificate,
        CERTIFICATE_COLUMNS,
        [
            (number, issuer_id, serial, profile_id, PARTNER, f"DEPNCC{number % 10**8:08d}0", now, not_after, now)
            for serial, number in zip(serials, ids, strict=True)
        ],
    )
    insert_rows(
        connection,
        tables.certificate_der,
        ("id", "not_after", "der"),
        [(number, not_after, os.urandom(_DISTINCT_OCTETS) + tail) for number in ids],
    )
    digest = os.urandom(32)
    insert_rows(
        connection,
        tables.audit,
        _AUDIT,
        [("issuance", now, PARTNER, "certificate.issued", issuer_id, serial, profile_id, digest) for serial in serials],
    )


def _serials(count: int) -> Iterator[str]:
    octets = secrets.token_bytes(count * RANDOM_OCTETS)
    return ("01" + octets[at : at + RANDOM_OCTETS].hex() for at in range(0, len(octets), RANDOM_OCTETS))


def settle(engine: Engine) -> None:
    """Bring the store to the state of a quiet day: log written back, PostgreSQL's statistics taken."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if is_postgres(connection):
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
    if engine.dialect.name == "sqlite":
        driver = engine.raw_connection()
        driver.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        driver.close()
