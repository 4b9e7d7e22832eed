"""The schema: migrations go up, down and up again, and end where the tables of the code are, on both databases."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

from pki_core.model.errors import SettingsError, StoreUnavailableError
from pki_core.store import pool_tables
from pki_core.store.engine import open_engine
from pki_core.store.schema import NEWEST, alembic_config, is_current, migrate
from tests.store.connections import connected

METADATA = pool_tables.contract.metadata  # of all tables
PARTITION = re.compile(r"certificate_der_(\d{4}|other)")

ROOT = Path(__file__).parents[2]


def run(url, act, revision):
    config = alembic_config()
    with connected(url) as connection:
        config.attributes["connection"] = connection
        act(config, revision)


def tables_of(connection):
    return {name for name in inspect(connection).get_table_names() if not PARTITION.fullmatch(name)}


def shape_of(connection):
    """Everything about the tables that the database tells: Alembic's comparison leaves out checks and keys."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], bool(column.get("identity")))
                for column in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign keys": sorted(
                (key["name"], tuple(key["constrained_columns"]), key["referred_table"])
                for key in inspector.get_foreign_keys(table)
            ),
            "unique": sorted(
                (key["name"], tuple(key["column_names"])) for key in inspector.get_unique_constraints(table)
            ),
            "checks": sorted(
                (check["name"], check["sqltext"].strip("()")) for check in inspector.get_check_constraints(table)
            ),
            "indexes": sorted(
                (index["name"], tuple(index["column_names"]), index["unique"]) for index in inspector.get_indexes(table)
            ),
        }
        for table in tables_of(connection) - {"alembic_version"}
    }


@pytest.fixture
def empty_url(database_url):
    """A database without anything."""
    run(database_url, command.downgrade, "base")
    return database_url


def test_there_is_one_newest_revision_and_the_code_knows_it():
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [NEWEST]


def test_migrations_go_up_down_and_up_again(database_url):
    with connected(database_url) as connection:
        before = shape_of(connection)
    run(database_url, command.downgrade, "base")
    with connected(database_url) as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    assert not is_current(database_url)
    migrate(database_url)
    assert is_current(database_url)
    with connected(database_url) as connection:
        assert shape_of(connection) == before


def test_migrating_a_current_database_changes_nothing(database_url):
    with connected(database_url) as connection:
        before = shape_of(connection)
        connection.execute(text("INSERT INTO partner (id, created_at) VALUES ('kept', 1)"))
    migrate(database_url)
    with connected(database_url) as connection:
        assert shape_of(connection) == before
        assert connection.scalar(text("SELECT id FROM partner")) == "kept"


def test_the_migrations_end_where_the_tables_of_the_code_are(database_url):
    def ours(item, name, kind, _reflected, _compare_to):
        return not (kind == "table" and PARTITION.fullmatch(name)) and not PARTITION.fullmatch(
            getattr(getattr(item, "table", None), "name", "")
        )

    with connected(database_url) as connection:
        options = {"compare_type": True, "include_object": ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []


def test_the_migrations_make_the_very_tables_the_code_would_make(database_url):
    with connected(database_url) as connection:
        migrated = shape_of(connection)
    run(database_url, command.downgrade, "base")
    with connected(database_url) as connection:
        METADATA.create_all(connection)
    with connected(database_url) as connection:
        assert shape_of(connection) == migrated
    assert set(migrated) == set(METADATA.tables)


def test_tables_of_sqlite_are_stored_as_the_code_says(sqlite_database_url):
    with connected(sqlite_database_url) as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        statements = {row.name: row.sql.upper() for row in rows}
    for name, table in METADATA.tables.items():
        options = table.dialect_options["sqlite"]
        assert ("WITHOUT ROWID" in statements[name]) is (options["with_rowid"] is False), name
        assert ("AUTOINCREMENT" in statements[name]) is bool(options["autoincrement"]), name


@pytest.mark.postgres
def test_certificates_lie_in_one_partition_a_year(postgres_database_url):
    years = {2026: 1_767_225_600, 2045: 2_366_841_600, 2200: 7_258_118_400}  # first second of each
    with connected(postgres_database_url) as connection:
        for number, seconds in enumerate(years.values()):
            for not_after in (seconds, seconds - 1):
                connection.execute(
                    text("INSERT INTO certificate_der (id, not_after, der) VALUES (:id, :not_after, '')"),
                    {"id": number, "not_after": not_after},
                )
        rows = connection.execute(
            text("SELECT tableoid::regclass::text AS place FROM certificate_der ORDER BY not_after")
        )
        assert [row.place for row in rows] == [
            "certificate_der_2025",
            "certificate_der_2026",
            "certificate_der_2044",
            "certificate_der_2045",
            "certificate_der_other",
            "certificate_der_other",
        ]
        fill = connection.scalar(text("SELECT reloptions::text FROM pg_class WHERE relname = 'certificate_status'"))
        assert "fillfactor=60" in fill


@pytest.mark.postgres
def test_contract_data_stays_in_its_row_on_postgresql(postgres_database_url):
    with connected(postgres_database_url) as connection:
        connection.execute(text("ALTER TABLE contract_data DROP CONSTRAINT fk_contract_data_emaid_contract"))
        connection.execute(
            text("INSERT INTO contract_data (emaid, signed_data) VALUES ('DEABCC12345678', :octets)"),
            {"octets": os.urandom(6000)},
        )
        aside = connection.scalar(
            text("SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'contract_data'")
        )
        assert aside == 0


def test_an_empty_database_is_not_current(empty_url):
    assert not is_current(empty_url)


def test_a_database_of_another_version_is_not_current(database_url):
    with connected(database_url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not is_current(database_url)


def test_a_migration_that_fails_leaves_nothing_behind(empty_url):
    with connected(empty_url) as connection:
        connection.execute(text("CREATE TABLE responder (x INTEGER)"))  # the last one of the first revision
    with pytest.raises(StoreUnavailableError, match="schema could not be brought up to date"):
        migrate(empty_url)
    with connected(empty_url) as connection:
        assert tables_of(connection) == {"alembic_version", "responder"}


@pytest.mark.slow
def test_two_processes_may_migrate_at_once(empty_url):
    command_line = [sys.executable, "-c", "import sys; from pki_core.store.schema import migrate; migrate(sys.argv[1])"]
    processes = [
        subprocess.Popen([*command_line, empty_url], cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert "" in errors
    for error in errors:  # the slower one may be told to come again
        assert not error or "StoreUnavailableError" in error.splitlines()[-1]
    assert is_current(empty_url)


def test_a_database_that_is_away_is_unavailable(tmp_path):
    url = f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}"
    with pytest.raises(StoreUnavailableError):
        migrate(url)
    with pytest.raises(StoreUnavailableError):
        is_current(url)


@pytest.mark.parametrize("url", ["mysql://db.example/pki", "oracle://db.example/pki"])
def test_other_databases_are_refused(url):
    with pytest.raises(SettingsError, match="SQLite or PostgreSQL"):
        open_engine(url)


def test_a_url_that_cannot_be_read_is_refused_without_its_password():
    with pytest.raises(SettingsError) as caught:
        open_engine("postgresql:/user:hunter2@db")
    assert "hunter2" not in str(caught.value)


def test_sqlite_survives_power_cuts_and_keeps_its_references(sqlite_database_url):
    with connected(sqlite_database_url) as connection:
        pragmas = {
            name: connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_database_has_room_for_one_stamp_only(database_url):
    stamp = text("INSERT INTO environment VALUES (2, 'dev', 'x', 'x', 'x', 'x', 1)")
    with connected(database_url) as connection, pytest.raises(IntegrityError):
        connection.execute(stamp)


def test_the_intents_of_open_reservations_survive_the_migration_to_one_row_each(empty_url):
    run(empty_url, command.upgrade, "0001")
    with connected(empty_url) as connection:
        for position, serial in enumerate(("01aa", "01bb", "01cc")):
            connection.execute(
                text("INSERT INTO intent (certificate_id, serial, tbs_der) VALUES (:id, :serial, :tbs_der)"),
                {"id": 7 * 4096 + position, "serial": serial, "tbs_der": bytes((0x30, 1, position))},
            )
    migrate(empty_url)
    with connected(empty_url) as connection:
        row = connection.execute(text("SELECT reservation, serials, tbs_der FROM intent")).one()
    assert (row.reservation, row.serials) == (7, "01aa 01bb 01cc")
    assert bytes(row.tbs_der) == b"\x30\x01\x00\x30\x01\x01\x30\x01\x02"


def test_message_definitions_that_contradict_a_key_become_those_of_the_key(database_url):
    run(database_url, command.downgrade, "0012")
    vehicles = {"P256AS20": ("secp256r1", 20), "P521AS2": ("secp521r1", 2), "ED448AS2": ("ed448", 2)}
    vehicles |= {"P256": ("secp256r1", 2), "P521AS20": ("secp521r1", 20), "P521AS22": ("secp521r1", 22)}
    with connected(database_url) as connection:
        for pcid, (algorithm, namespace) in vehicles.items():
            connection.execute(
                text(
                    "INSERT INTO provisioning_certificate (pcid, algorithm, pcid_as_sent, namespace, chain_id,"
                    " certificate_id, key_sha256, valid_to, added_at, checked_at)"
                    " VALUES (:pcid, :algorithm, :pcid, :namespace, 1, 1, :hash, 1, 1, 1)"
                ),
                {"pcid": pcid, "algorithm": algorithm, "namespace": namespace, "hash": b"h"},
            )
    migrate(database_url)
    with connected(database_url) as connection:
        rows = connection.execute(text("SELECT pcid, namespace FROM provisioning_certificate"))
        found = {row.pcid: row.namespace for row in rows}
    assert found == {"P256AS20": 2, "P521AS2": 22, "ED448AS2": 22, "P256": 2, "P521AS20": 20, "P521AS22": 22}


def test_of_requests_that_were_kept_twice_the_migration_leaves_the_approved_one_or_else_the_oldest(database_url):
    run(database_url, command.downgrade, "0016")
    kept = [  # id, key, state, asked_at
        ("a1", "waits twice", "pending", 2),
        ("a2", "waits twice", "pending", 1),
        ("b1", "approved and waits", "pending", 1),
        ("b2", "approved and waits", "approved", 2),
        ("c1", "approved and refused", "approved", 1),
        ("c2", "approved and refused", "refused", 1),
        ("d1", "waits and refused", "refused", 1),
        ("d2", "waits and refused", "pending", 1),
        ("e1", "issued, then asked again", "issued", 1),
        ("e2", "issued, then asked again", "pending", 2),
        ("f1", "refused", "refused", 1),
        ("g1", "waits", "pending", 1),
    ]
    with connected(database_url) as connection:
        connection.execute(text("INSERT INTO partner (id, created_at) VALUES ('one', 1)"))
        for number, key, state, asked_at in kept:
            connection.execute(
                text(
                    "INSERT INTO est_request (id, partner_id, label, subject_sha256, spki_sha256, csr_der, common_name,"
                    " state, asked_at) VALUES (:id, 'one', 'cpo', 's', :key, :csr, 'n', :state, :at)"
                ),
                {"id": number, "key": key, "csr": b"csr", "state": state, "at": asked_at},
            )
    migrate(database_url)
    with connected(database_url) as connection:
        left = set(connection.scalars(text("SELECT id FROM est_request")))
    assert left == {"a2", "b2", "c1", "d2", "e1", "e2", "f1", "g1"}
