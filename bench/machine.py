"""What a run measures with: compiled C programs, one environment on SQLite and one on PostgreSQL, files of CSRs."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.child import ROOT, run_job

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
_PAGES, _FLUSHES = 20, 320
_HEADERS = Path("/usr/include/p11-kit-1")


class NotMeasurableError(Exception):
    """Something this machine needs for the benchmark is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One environment and the variables its processes need."""

    database: str
    home: str
    variables: dict[str, str]

    def run(self, job: str, **arguments: object) -> object:
        """Run a job in a process that sees this environment."""
        return run_job(job, self.variables, home=self.home, **arguments)


@dataclass
class Machine:
    """Everything is made at its first use and gone at the end of the run."""

    directory: Path
    stack: ExitStack
    say: Callable[[str], None]
    speed: tuple[float, float] | None = None  # of its token and of nginx; bench/speed.py measures it once a run
    _next_row: int = 1
    _places: dict[str, Place] = field(default_factory=dict)

    @cached_property
    def raw_program(self) -> str:
        """The signing loop in C."""
        return self._compile("raw_pkcs11.c", "raw_pkcs11", "-ldl", "-lpthread")

    @cached_property
    def slow_module(self) -> str:
        """The PKCS#11 module that takes longer for each signature."""
        return self._compile("slow_token.c", "slow_token.so", "-shared", "-fPIC", "-ldl")

    @property
    def places(self) -> list[Place]:
        """The environment on each database."""
        return [self.place(SQLITE), self.place(POSTGRES)]

    def place(self, database: str) -> Place:
        """Return the environment on a database, founded at its first use."""
        if database not in self._places:
            variables = {} if database == SQLITE else {"PNCPKI_DATABASE_URL": self._postgres()}
            home = str(self.directory / f"home-{database.lower()}")
            run_job("founding.found", variables, home=home)
            self._places[database] = Place(database=database, home=home, variables=variables)
        return self._places[database]

    def file(self, rows: int, *, edition_20: bool = False) -> str:
        """Return a new file of good CSRs; no two files hold the same request."""
        return self.files(1, rows, edition_20=edition_20)[0]

    def files(self, count: int, rows: int, *, edition_20: bool = False) -> list[str]:
        """Return several new files."""
        paths = [str(self.directory / f"rows-{self._next_row + number * rows}.csv") for number in range(count)]
        run_job("founding.write_files", {}, files=paths, rows=rows, first=self._next_row, edition_20=edition_20)
        self._next_row += count * rows
        return paths

    def flush_seconds(self) -> list[float]:
        """Return how long the disk takes to keep one page for good, a few hundred times; a commit is one of these."""
        page, taken = b"x" * 8192, []
        with (self.directory / "flushed").open("wb", buffering=0) as file:
            for number in range(_FLUSHES):
                file.seek(number % _PAGES * len(page))
                file.write(page)
                begun = time.perf_counter()
                os.fdatasync(file.fileno())
                taken.append(time.perf_counter() - begun)
        return sorted(taken[_PAGES:])  # before, the file still grew

    def _postgres(self) -> str:
        url = os.environ.get("TEST_DATABASE_URL", "")
        if not url:
            from bench.postgres_server import running_server  # noqa: PLC0415  # loads the PostgreSQL driver

            url = self.stack.enter_context(running_server())
        made = str(run_job("founding.create_database", {}, url=url))
        self.stack.callback(run_job, "founding.drop_database", {}, url=made)
        return made

    def _compile(self, source: str, target: str, *options: str) -> str:
        compiler = shutil.which("cc")
        if compiler is None or not (_HEADERS / "p11-kit" / "pkcs11.h").is_file():
            raise NotMeasurableError("bench/*.c cannot be compiled: apt-get install gcc libp11-kit-dev")
        built = str(self.directory / target)
        command = [compiler, "-O2", f"-I{_HEADERS}", "-o", built, str(ROOT / "bench" / source), *options]
        subprocess.run(command, check=True)  # noqa: S603  # fixed words and our own paths
        return built


@contextmanager
def prepared_machine(say: Callable[[str], None]) -> Iterator[Machine]:
    """Yield a machine in a temporary directory on the disk."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pncpki-bench-", ignore_cleanup_errors=True))
        yield Machine(directory=Path(directory), stack=stack, say=say)
