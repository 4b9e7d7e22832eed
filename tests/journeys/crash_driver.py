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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from flows import chunk_worker
from pki_core.issuance.issuer import Issuer
from pki_core.model.errors import PkiError, UnavailableError
from pki_core.model.states import BatchState
from pki_core.runtime import open_runtime
from pki_core.runtime.founding import Founding, found_environment
from pki_core.services import batches, uploads
from pki_core.services.enroll import Enrollment
from pki_core.settings import DATABASE_VARIABLE
from pki_core.store.audit import AuditGateway
from pki_core.store.batches import BatchGateway
from pki_core.store.certificates import CertificateGateway
from pki_core.store.chunks import ChunkGateway
from pki_core.store.reservations import ReservationGateway
from tests.invariants import check_at_any_time

JOB_SECONDS = 240
PARTNER, PROFILE = "demo-mo", "contract_leaf"
CHUNK_ROWS = 10
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


@dataclass(frozen=True)
class Point:
    """A moment of the journey: before or after a call that counts."""

    owner: type
    name: str
    when: str
    burns: bool = False  # serials are reserved then and will be void
    nth: int = 1  # time that it is reached
    counts: Callable[[tuple[Any, ...], Any], bool] = lambda _arguments, _result: True


def _finishes(arguments, _result):
    return arguments[2] is BatchState.DONE


def _has_finished(_arguments, result):
    return result is None


def _is_quarantine(arguments, _result):
    return arguments[3][0].action == "row.quarantined"


SIGNING = {
    "before the claim": Point(batches.Batches, "_claim", "before"),
    "before the claim is committed": Point(ChunkGateway, "claim", "after"),
    "after the claim": Point(batches.Batches, "_claim", "after"),
    "before the reservation": Point(Enrollment, "_reserve", "before"),
    "before the reservation is committed": Point(ChunkGateway, "attach", "after"),
    "after the reservation": Point(Enrollment, "_reserve", "after", burns=True),
    "before signing": Point(Issuer, "sign", "before", burns=True),
    "after signing": Point(Issuer, "sign", "after", burns=True),
    "before recording": Point(Enrollment, "_record", "before", burns=True),
    "between closing and recording": Point(ReservationGateway, "close", "after", burns=True),
    "between certificates and verdicts": Point(CertificateGateway, "record", "after", burns=True),
    "before the record is committed": Point(ChunkGateway, "finish", "after", burns=True),
    "after recording": Point(Enrollment, "_record", "after"),
}
FINISHING = {
    "before the batch ends": Point(BatchGateway, "move", "before", counts=_finishes),
    "before the end is committed": Point(BatchGateway, "move", "after", counts=_finishes),
    "after the batch has ended": Point(batches.Batches, "_claim", "after", counts=_has_finished),
}
UPLOADING = {
    "before the batch is there": Point(uploads.Uploads, "_begin", "before"),
    "before the empty batch is committed": Point(BatchGateway, "add", "after"),
    "after the empty batch": Point(uploads.Uploads, "_begin", "after"),
    "between the rows of a piece and their verdicts": Point(BatchGateway, "add_items", "after", nth=2),
    "before the second piece": Point(BatchGateway, "add_items", "before", nth=2),
    "after the last piece": Point(uploads.Uploads, "_load", "after"),
    "between the chunks and the state": Point(ChunkGateway, "add", "after"),
    "before the upload is committed": Point(BatchGateway, "move", "after"),
    "after the upload": Point(uploads.Uploads, "submit", "after"),
}
QUARANTINE = {"before the quarantine is committed": Point(AuditGateway, "append", "after", counts=_is_quarantine)}
POINTS = {name: replace(point, nth=2) for name, point in SIGNING.items()} | FINISHING | UPLOADING | QUARANTINE


class AheadClock:
    """The machine's clock, some seconds ahead."""

    def __init__(self, seconds=0):
        self.ahead = timedelta(seconds=seconds)

    def now(self):
        return datetime.now(UTC).replace(microsecond=0) + self.ahead  # noqa: TID251  # a clock


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def interpose(point, act):
    """Act at the nth time that the point is reached."""
    original, reached = getattr(point.owner, point.name), count(1)

    def interposed(*arguments, **options):
        if point.when == "before" and point.counts(arguments, None) and next(reached) == point.nth:
            act()
        result = original(*arguments, **options)
        if point.when == "after" and point.counts(arguments, result) and next(reached) == point.nth:
            act()
        return result

    setattr(point.owner, point.name, interposed)


@contextmanager
def interposed(point, act):
    """Act when the point is reached, and leave everything as it was."""
    original = getattr(point.owner, point.name)
    interpose(point, act)
    try:
        yield
    finally:
        setattr(point.owner, point.name, original)


def pause_everywhere(seconds, seed):
    """Wait a random moment at every point, so that a kill at a random time may hit each of them."""
    chance = random.Random(seed)
    for point in SIGNING.values():
        original = getattr(point.owner, point.name)

        def slowed(*arguments, _original=original, **options):
            time.sleep(chance.uniform(0, seconds))
            result = _original(*arguments, **options)
            time.sleep(chance.uniform(0, seconds))
            return result

        setattr(point.owner, point.name, slowed)


def found(place, overrides, file):
    """Found an environment and submit a file; return the batch's id."""
    runtime = found_environment(Founding(environment="dev", home=place.home, overrides=overrides), lambda _line: None)
    batch_id, _ = hand_in(runtime, file)
    runtime.close()
    return batch_id


def submit(place, file, point=""):
    """Submit a file in pieces of 20 rows and die at a point; return (batch id, whether it is new)."""
    runtime = open_runtime(place.home)
    runtime.uploads._limits = replace(runtime.uploads._limits, piece_rows=20)
    if point:
        interpose(POINTS[point], die)
    return hand_in(runtime, file)


def sweep(place):
    """Sweep what is stuck; return the report."""
    return open_runtime(place.home).maintenance.sweep_stuck()


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


def harass(place, runners, kills, seed):
    """Kill runners at random moments, each time starting another, until enough died; return how many did."""
    chance, died = random.Random(seed), 0
    with ExitStack() as stack:

        def start():
            orders = Orders(pause=0.004, seed=chance.random(), patience=9)
            return stack.enter_context(Job(sign, place, orders))

        jobs = [start() for _ in range(runners)]
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.3))
            victim = chance.randrange(runners)
            died += jobs[victim].kill()
            check_at_any_time(place.url)
            jobs[victim] = start()
        for job in jobs:
            job.result()
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
