"""The tests' own databases: fresh, migrated, and gone when the tests are gone."""

import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from pki_core.model.errors import SettingsError
from pki_core.store.schema import is_current, migrate

ROOT = Path(__file__).parents[2]
HOLD_A_SERVER = """
import time
from tests.postgres import running_server
with running_server() as url:
    print(url, flush=True)
    time.sleep(600)
"""


def can_connect(url):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False


@pytest.mark.parametrize("_time", ["first", "second"])
def test_every_test_gets_a_migrated_database_that_no_other_test_has_touched(database_url, _time):
    engine = create_engine(database_url, poolclass=NullPool)
    assert is_current(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE left_behind (x INTEGER)"))  # fails the second time where it is shared


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_our_own_server_ends_with_the_tests_however_they_end(how):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_SERVER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as holder:
        url = holder.stdout.readline().strip()
        folder = Path(url.partition("host=")[2]).parent
        assert can_connect(url)
        assert folder.name.startswith("pncpki-postgres-")
        holder.send_signal(how)
    deadline = time.monotonic() + 60
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()
    assert not can_connect(url)


def test_a_database_of_another_encoding_is_refused_in_one_sentence(postgres_url):
    admin = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    name = f"ascii_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
        try:
            with pytest.raises(SettingsError, match="the database is encoded in SQL_ASCII; make one with"):
                migrate(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
