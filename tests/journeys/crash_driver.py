"""What runs in processes that die: found, submit, sign, each armed to kill itself or to be killed by its parent.

A fork server that has imported everything, but opened nothing, forks one process a job: tens of milliseconds instead
of a second. The token and the database are opened by the job itself.
"""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

from flows import chunk_worker
from pki_core.model.batches import BatchKind
from pki_core.model.errors import PkiError, UnavailableError
from pki_core.runtime import open_runtime
from pki_core.runtime.founding import Founding, found_environment
from pki_core.services import batches, uploads
from pki_core.settings import DATABASE_VARIABLE
from tests.invariants import check_at_any_time
from tests.journeys.acts import write_rows
from tests.journeys.contract_acts import Garage
from tests.journeys.crash_points import POINTS, interpose, pause_everywhere

JOB_SECONDS = 240
PARTNER, PROFILE = "demo-mo", "contract_leaf"
CHUNK_ROWS = 10
VEHICLES = 24  # of a table of contracts
OVERRIDES = f"""
[issuance]
chunk_rows = {CHUNK_ROWS}
lease_seconds = 60
[certificates]
ed448_hierarchy = false
"""
FILE_KEYS = '[key_store]\nkind = "file"\ntoken_label = "keys"\n'

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "pytest",
        "pandas",
        "alembic.command",
        "psycopg",
        "sqlalchemy.dialects.postgresql.psycopg",
        "pkilint.loader",
        "pkilint.pkix.certificate",
        "pkilint.pkix.extension",
        "pki_core.hsm.pkcs11",
        __name__,
    ]
)


@dataclass(frozen=True)
class Place:
    """A founded environment with a submitted batch."""

    home: Path
    url: str
    batch_id: str = ""


class AheadClock:
    """The machine's clock, some seconds ahead."""

    def __init__(self, seconds=0):
        self.ahead = timedelta(seconds=seconds)

    def now(self):
        return datetime.now(UTC).replace(microsecond=0) + self.ahead  # noqa: TID251  # a clock


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def found(place, overrides, file):
    """Found an environment and submit a file; return the batch's id."""
    runtime = found_environment(Founding(environment="dev", home=place.home, overrides=overrides), lambda _line: None)
    batch_id, _ = hand_in(runtime, file)
    runtime.close()
    return batch_id


def found_with_contracts(place, overrides, _file):
    """Found an environment with vehicles and hand in a table of contracts for them; return the batch's id."""
    founding = Founding(environment="dev", home=place.home, overrides=overrides)
    with closing(found_environment(founding, lambda _line: None)) as runtime:
        pcids = [f"WPNCRASH{number:09d}" for number in range(VEHICLES)]
        Garage(runtime).build_many(pcids)
        table = [(f"DEPNC{number:09d}", pcid, "2026-01-01", "2027-01-01") for number, pcid in enumerate(pcids)]
        table += [("DEPNC000000900", "WPNNOBODY00000001", "2026-01-01", "2027-01-01")]
        table += [("DEPNC000000901", pcids[0], "2020-01-01", "2021-01-01")]
        path = write_rows(place.home / "contracts.csv", table, ("emaid", "pcid", "begins", "ends"))
        upload = uploads.Upload(
            path=path,
            source_name=path.name,
            partner_id=PARTNER,
            profile_name=PROFILE,
            kind=BatchKind.CONTRACT,
        )
        return runtime.uploads.submit(upload)[0].id


def submit(place, file, point="", heal="resume"):
    """Submit a file in pieces of 20 rows and die at a point; return (batch id, whether it is new)."""
    runtime = open_runtime(place.home)
    if heal == "sweep":
        runtime.maintenance.sweep_stuck()
    runtime.uploads._limits = replace(runtime.uploads._limits, piece_rows=20)
    if point:
        interpose(POINTS[point], die)
    return hand_in(runtime, file)


def sweep(place):
    """Sweep what is stuck; return the report."""
    return open_runtime(place.home).maintenance.sweep_stuck()


def log_in_again_and_again(place):
    """Start and log in until somebody kills us."""
    while True:
        runtime = open_runtime(place.home)
        runtime.key_store.algorithms()
        runtime.close()


@dataclass(frozen=True, kw_only=True)
class Orders:
    """How a runner signs, and what becomes of it."""

    heal: str = "resume"  # as ``batch resume`` does, or "sweep"
    point: str = ""  # where to die
    poison: bytes = b""  # the CSR at whose sight to die
    pause: float = 0.0
    seed: int = 0
    patience: int = 0  # how often to go on after a dependency was away
    workers: int = 1


def sign(place, orders):
    """Sign a batch to its end as the commands do; return the codes of the errors that patience overcame."""
    runtime = open_runtime(place.home)
    chunk_worker.process_runtime = lambda _home: runtime
    if orders.point:
        interpose(POINTS[orders.point], die)
    if orders.poison:
        _poison(orders.poison)
    if orders.pause:
        pause_everywhere(orders.pause, orders.seed)
    if orders.heal == "sweep":
        waiting = [*runtime.maintenance.sweep_stuck().resumable, *runtime.maintenance.queued()]
    else:
        runtime.batches.free_dead_runners(place.batch_id)
        waiting = [place.batch_id]
    overcome = []
    while waiting:
        try:
            chunk_worker.sign_directly(str(place.home), waiting[0], orders.workers)
            waiting.pop(0)
        except UnavailableError as error:
            if len(overcome) == orders.patience:
                raise
            overcome.append(error.code)
            time.sleep(1.1)  # a key store rests for a second after the token was away
    runtime.close()
    return overcome


class Job:
    """A function of this module in a process of its own."""

    def __init__(self, function, place, *arguments, **environment):
        self._pipe, answer = _CONTEXT.Pipe(duplex=False)
        if place.url.startswith("postgresql"):
            environment[DATABASE_VARIABLE] = place.url
        self.process = _CONTEXT.Process(target=_work, args=(answer, environment, function, place, *arguments))
        self.process.start()
        answer.close()

    def kill(self):
        """Kill -9 it; return whether it was still at work."""
        self.process.kill()
        return self.ended() == -signal.SIGKILL

    def ended(self):
        """Wait for its end; return the exit code."""
        self.process.join(JOB_SECONDS)
        assert self.process.exitcode is not None, "a job hangs"
        return self.process.exitcode

    def result(self):
        """Wait for what it returns; its errors are raised here."""
        answer = None
        with suppress(EOFError):
            answer = self._pipe.recv() if self._pipe.poll(JOB_SECONDS) else None
        code = self.ended()
        assert answer is not None, f"the job ended with {code}"
        if isinstance(answer, PkiError):
            raise answer
        assert code == 0, answer
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()
        self.process.close()
        self._pipe.close()


@dataclass(frozen=True, kw_only=True)
class Storm:
    """Runners that are killed at random moments, each replaced by another."""

    runners: int
    kills: int
    seed: int
    calm: tuple[float, float] = (0.05, 0.3)  # seconds from one kill to the next
    pause: float = 0.006  # at most, at every point of the journey
    poison: bytes = b""
    disturb: Callable[[], object] = lambda: None  # what else happens at each kill


def harass(place, storm, **environment):
    """Let a storm pass over a batch, then let the last runners finish; return how many died at work."""
    chance, died = random.Random(storm.seed), 0
    with ExitStack() as stack:

        def start():
            orders = Orders(pause=storm.pause, seed=chance.random(), patience=9, poison=storm.poison)
            return stack.enter_context(Job(sign, place, orders, **environment))

        jobs = [start() for _ in range(storm.runners)]
        for _ in range(storm.kills):
            time.sleep(chance.uniform(*storm.calm))
            storm.disturb()
            victim = chance.randrange(storm.runners)
            died += jobs[victim].kill()
            check_at_any_time(place.url)
            jobs[victim] = start()
        for job in jobs:
            job.ended()
    return died


def run(function, place, *arguments, **environment):
    """Run a job to its end and return its result."""
    with Job(function, place, *arguments, **environment) as job:
        return job.result()


def run_until_death(function, place, *arguments):
    """Run a job that kills itself."""
    with Job(function, place, *arguments) as job:
        assert job.ended() == -signal.SIGKILL, "the job lived on"


def _work(pipe, environment, function, *arguments):
    os.environ.pop("SOFTHSM2_CONF", None)  # of the tests' own process
    os.environ.pop(DATABASE_VARIABLE, None)
    os.environ.update(environment)
    try:
        pipe.send(function(*arguments))
    except PkiError as error:
        pipe.send(error)
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


def hand_in(runtime, file):
    """Submit a file; return (batch id, whether it is new)."""
    upload = uploads.Upload(path=file, source_name=file.name, partner_id=PARTNER, profile_name=PROFILE)
    batch, is_new = runtime.uploads.submit(upload)
    return batch.id, is_new


def _poison(csr_der):
    parse = batches.parse_csr

    def parse_or_die(row_id, given_der, expected):
        if given_der == csr_der:
            die()
        return parse(row_id, given_der, expected)

    batches.parse_csr = parse_or_die
