"""Opens the database: SQLite in WAL mode for one machine, PostgreSQL for everything larger."""

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from pki_core.model.errors import SettingsError

FORGETTABLE = "pncpki_forgettable"  # a commit that may be lost at a power cut, whole
_SYNCHRONOUS = "pncpki_synchronous"
_USED_AT = "pncpki_used_at"
_FRESH_SECONDS = 1.0

_BUSY_SECONDS = 30
_LOOK_AGAIN_SECONDS = 0.0005
_BUSY = f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}"
_CACHE, _READ_CACHE, _SMALL_CACHE = 32_768, 4096, 2048  # KiB
_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # NORMAL loses the last commits at a power cut; a CA may not
    "PRAGMA foreign_keys=ON",
    _BUSY,
    f"PRAGMA cache_size=-{_CACHE}",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA wal_autocheckpoint=8000",  # 32 MB: pages of the serials' index are written back once, not for each chunk
)
# The connection that was given back last knows the newest pages and has its statements prepared; in turn, each would
# read again what the others wrote: 15 reads of the file an enrolment instead of 2.
_REUSE_THE_LAST = True
# A dead host must not keep its row locks: the server notices within half a minute.
_POSTGRES_OPTIONS = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
    "connect_timeout": 10,
    "options": "-c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
}


def open_engine(url: str, *, read_only: bool = False) -> Engine:
    """Return an engine for ``sqlite:///FILE`` or ``postgresql://...``; nothing is connected yet.

    Connections of a ``read_only`` one to SQLite refuse to write; on PostgreSQL each transaction says so for itself.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError("the database URL cannot be read") from error  # the URL itself may hold a password
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        driver = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(driver, connect_args=_POSTGRES_OPTIONS, pool_use_lifo=_REUSE_THE_LAST)
        event.listen(engine, "connect", _on_postgres_connect, insert=True)  # before SQLAlchemy's own questions
        event.listen(engine, "begin", _on_postgres_begin)
        _ask_rested_connections(engine)
        return engine
    if backend != "sqlite":
        raise SettingsError(f"the database must be SQLite or PostgreSQL, not {backend}")
    engine = create_engine(parsed, pool_use_lifo=_REUSE_THE_LAST)
    event.listen(engine, "connect", _on_sqlite_connect)
    if read_only:
        event.listen(engine, "connect", _on_sqlite_connect_to_read)
    event.listen(engine, "begin", _on_sqlite_begin_to_read if read_only else _on_sqlite_begin)
    return engine


@contextmanager
def small_cache(connection: Connection) -> Iterator[None]:
    """Let SQLite keep little of what a block reads or writes once, from end to end."""
    if connection.dialect.name != "sqlite":
        yield
        return
    usual = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql(f"PRAGMA cache_size=-{_SMALL_CACHE}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA cache_size={usual}")


def is_postgres(connection: Connection) -> bool:
    """Tell whether a connection speaks to PostgreSQL."""
    return connection.dialect.name == "postgresql"


def _on_postgres_connect(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":  # SQL_ASCII keeps any octets as text, and gives them back as such
        raise SettingsError(
            f"the database is encoded in {encoding}; make one with: createdb --encoding UTF8 -T template0"
        )


def _on_sqlite_connect(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the begin event below opens transactions, not the driver
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _on_sqlite_connect_to_read(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    # Forgotten at every commit of a writer, and the system keeps the file's pages: a large one only holds memory.
    cursor.execute(f"PRAGMA cache_size=-{_READ_CACHE}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    wanted = "NORMAL" if connection.get_execution_options().get(FORGETTABLE) else "FULL"
    # Remembered with the driver's connection, which is what it is set on: asking again costs what a look-up costs.
    if connection.info.get(_SYNCHRONOUS, "FULL") != wanted:
        connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
        connection.info[_SYNCHRONOUS] = wanted
    # IMMEDIATE: a writer waits for the lock at its start, where waiting works, and never at an upgrade.
    driver = connection.connection.driver_connection
    if driver is None or not _begin_writing(driver):
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # says what is wrong


def _begin_writing(driver: sqlite3.Connection) -> bool:
    """Wait for the writer's lock, as long as SQLite would; False when that was in vain.

    SQLite looks again after 1, 2, 5, 10, ... 100 ms: with a writer in another process, who holds the lock for a
    millisecond at a time, most of these are slept too long, and now and then one is overtaken for a second.
    """
    give_up = time.monotonic() + _BUSY_SECONDS
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    return False
            else:
                return True
            time.sleep(_LOOK_AGAIN_SECONDS)
    finally:
        driver.execute(_BUSY)


def _on_sqlite_begin_to_read(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _ask_rested_connections(engine: Engine) -> None:
    """Ask connections that were at rest whether they live: they may have died unheard.

    One that was in use a moment ago is not asked: of the trips to the server that an enrolment makes, every fourth
    would be that question.
    """
    dialect = engine.dialect

    def at_checkin(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT] = time.monotonic()

    def at_checkout(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        if time.monotonic() - record.info.get(_USED_AT, -math.inf) < _FRESH_SECONDS:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # the pool takes another one

    event.listen(engine, "checkin", at_checkin)
    event.listen(engine, "checkout", at_checkout)


def _on_postgres_begin(connection: Connection) -> None:
    if connection.get_execution_options().get(FORGETTABLE):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
