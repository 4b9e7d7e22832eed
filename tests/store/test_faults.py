"""Faults of the database: the error says what is wrong with it, and nothing of hosts, accounts or rows."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from pki_core.model.errors import StoreUnavailableError
from pki_core.store import engine
from pki_core.store.faults import words_for
from pki_core.store.schema import is_current, migrate
from pki_core.store.unit_of_work import Store
from tests.builders import NOW, PARTNER


def fault_of(store, act):
    """What the store says when something goes wrong in a transaction."""
    with closing(store), pytest.raises(StoreUnavailableError) as raised, store.transaction() as work:
        act(work)
    return str(raised.value)


def add_partner(work):
    work.partners.add(PARTNER, NOW)


def run(statement):
    return lambda work: work.partners._connection.exec_driver_sql(statement)


def test_a_full_disk_is_called_so(sqlite_database_url):
    store = Store(sqlite_database_url)
    event.listen(store._engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1"))

    def fill(work):
        run("CREATE TABLE large (octets BLOB)")(work)
        run("INSERT INTO large VALUES (zeroblob(10000000))")(work)

    assert fault_of(store, fill) == "the disk of the database is full (SQLITE_FULL)"


def test_a_database_that_may_not_be_written_is_called_so(sqlite_database_url):
    store = Store(sqlite_database_url)
    event.listen(store._engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only = ON"))
    assert "read-only (SQLITE_READONLY)" in fault_of(store, add_partner)


def test_a_file_that_cannot_be_opened_is_called_so(tmp_path):
    said = fault_of(Store(f"sqlite:///{tmp_path / 'missing' / 'store.db'}"), add_partner)
    assert said.startswith("the database file cannot be opened")
    assert str(tmp_path) not in said


def test_a_file_that_is_no_database_is_called_so(tmp_path):
    file = tmp_path / "store.db"
    file.write_bytes(b"something else entirely" * 100)
    assert fault_of(Store(f"sqlite:///{file}"), add_partner) == "the database file is not a database (SQLITE_NOTADB)"
    with pytest.raises(StoreUnavailableError, match="not a database"):
        is_current(f"sqlite:///{file}")
    with pytest.raises(StoreUnavailableError, match=r"could not be brought up to date: .* not a database"):
        migrate(f"sqlite:///{file}")


def test_a_lock_that_is_held_for_too_long_is_called_so(sqlite_database_url, monkeypatch):
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0.01)
    monkeypatch.setattr(engine, "_BUSY", "PRAGMA busy_timeout=10")
    with closing(sqlite3.connect(make_url(sqlite_database_url).database)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert "holds the database's lock" in fault_of(Store(sqlite_database_url), add_partner)


def failing(state):
    return f"DO $$ BEGIN RAISE EXCEPTION 'secret' USING ERRCODE = '{state}'; END $$"


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (failing("53100"), "the disk of the database server is full (SQLSTATE 53100)"),
        (failing("57P03"), "the database server is starting or stopping (SQLSTATE 57P03)"),
        (failing("08006"), "the connection to the database server is lost or cannot be made (SQLSTATE 08006)"),
        (failing("53999"), "the database server lacks resources (SQLSTATE 53999)"),
        (
            "SELECT pg_terminate_backend(pg_backend_pid())",
            "the database server ended the connection or was shut down (SQLSTATE 57P01)",
        ),
        ("SELECT * FROM nowhere", "the database has no schema of this version: pncpki migrate (SQLSTATE 42P01)"),
    ],
)
def test_postgresql_says_what_is_wrong_by_its_state(postgres_database_url, statement, said):
    assert fault_of(Store(postgres_database_url), run(statement)) == said


@pytest.mark.postgres
def test_a_standby_is_called_so(postgres_database_url):
    with (
        closing(Store(postgres_database_url)) as store,
        pytest.raises(StoreUnavailableError, match=r"read-only \(SQLSTATE 25006\)"),
        store.reading() as work,
    ):
        add_partner(work)


@pytest.mark.postgres
def test_a_full_disk_is_called_so_while_rows_are_copied(postgres_database_url):
    store = Store(postgres_database_url)

    def copy(work):
        body = "BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END"
        run(f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")(work)
        run("CREATE TRIGGER r BEFORE INSERT ON certificate_status FOR EACH ROW EXECUTE FUNCTION refuse()")(work)
        work.reservations.reserve(1, 1, [(f"{serial:02x}", b"", NOW) for serial in range(9)])

    assert "disk of the database server is full" in fault_of(store, copy)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"database": "nowhere"}, "there is no such database on the server"),
        ({"host": "127.0.0.1", "port": 1}, "the connection to the database server is lost or cannot be made"),
    ],
)
def test_a_server_that_cannot_be_reached_is_called_so_and_not_named(postgres_database_url, changes, said):
    parsed = make_url(postgres_database_url).set(**changes)
    if "port" in changes:
        parsed = parsed.set(query={})  # of a socket
    assert fault_of(Store(parsed.render_as_string(hide_password=False)), add_partner) == said


def test_what_is_in_no_list_is_called_by_its_kind():
    assert words_for(KeyError("secret")) == "the database did not answer: KeyError"
