"""PostgreSQL for the benchmarks: the tests' server, but as safe as a real one: on the disk, fsync on. Run as a program.

It watches its standard input and goes, its data with it, when the benchmark ends in any way.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests import postgres

_SETTINGS = """
fsync = on
synchronous_commit = on
full_page_writes = on
max_connections = 50
shared_buffers = 256MB
max_wal_size = 2GB
"""


@contextmanager
def running_server() -> Iterator[str]:
    """Start a server, yield its URL, and see it gone at the end."""
    command = [sys.executable, "-m", "bench.postgres_server"]
    with subprocess.Popen(  # noqa: S603  # ourselves
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as keeper:
        if keeper.stdin is None or keeper.stdout is None:
            raise RuntimeError("no pipes to the PostgreSQL keeper")
        alarm = threading.Timer(postgres.START_SECONDS, keeper.terminate)
        alarm.start()
        url = keeper.stdout.readline().strip()
        alarm.cancel()
        if not url:
            raise RuntimeError("PostgreSQL did not start: see above")
        try:
            yield url
        finally:
            keeper.stdin.close()


def main() -> None:
    """Keep a server with settings of its own in a folder on the disk."""
    postgres.SETTINGS = _SETTINGS
    postgres.fastest_folder = lambda: None
    postgres.main()


if __name__ == "__main__":
    main()
