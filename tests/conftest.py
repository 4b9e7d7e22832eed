"""Fixtures for every test: a fresh, migrated database on SQLite or PostgreSQL, made in milliseconds."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest

OUR_OWN = frozenset({"PNCPKI_VECTORS", "PNCPKI_ISO15118_PYTHON"})  # what tests are told from outside


def pytest_configure(config):  # noqa: ARG001  # as pytest calls it
    """Drop what an operator set in his shell: his database, his environment's home, his PIN are none of ours."""
    drop_operators_variables(os.environ)


def drop_operators_variables(variables):
    for name in [one for one in variables if one.startswith("PNCPKI_") and one not in OUR_OWN]:
        del variables[name]


def migrate(url):
    from pki_core.store.schema import migrate  # tests without a database do not load SQLAlchemy

    migrate(url)


@pytest.fixture(scope="session")
def postgres_url():
    """The server's own database: TEST_DATABASE_URL, or a PostgreSQL started for this session."""
    from tests.postgres import running_server

    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with running_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_databases(postgres_url):
    from tests.postgres import PostgresDatabases

    databases = PostgresDatabases(postgres_url, migrate)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("migrated") / "template.db"
    migrate(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all of it in the one file that is copied
    return file


@pytest.fixture
def sqlite_database_url(migrated_sqlite_file, tmp_path):
    """A fresh, migrated SQLite database."""
    shutil.copyfile(migrated_sqlite_file, tmp_path / "pncpki.db")
    return f"sqlite:///{tmp_path / 'pncpki.db'}"


@pytest.fixture
def postgres_database_url(postgres_databases):
    """A fresh, migrated PostgreSQL database. The test using it carries the marker postgres."""
    url = postgres_databases.create()
    yield url
    postgres_databases.drop(url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request):
    """A fresh, migrated database; the test runs once on SQLite and once on PostgreSQL."""
    return request.getfixturevalue(f"{request.param}_database_url")
