"""One environment in a measuring process: opens it, warms it up, and times submit, sign and result of batch files."""

import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.chunk_worker import WorkReport, sign_chunks, worker_processes
from pki_core.model.batches import BatchCounts
from pki_core.runtime import Runtime
from pki_core.services.runners import runner_token
from pki_core.services.uploads import Upload
from pki_core.settings import load_settings

PARTNER = "demo-mo"
PROFILE = "contract_leaf"
PROFILE_20 = "contract_leaf_20"
_ATTEMPTS_TO_WARM = 20

Sign = Callable[[Runtime, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What the phases of one batch took, in seconds of wall clock and of this process's CPU."""

    rows: int
    submit: float
    sign: float
    result: float
    sign_cpu: float
    total_cpu: float

    @property
    def total(self) -> float:
        """The whole batch, from file to result bundle."""
        return self.submit + self.sign + self.result


def open_behind(home: str, module: str, sessions: int) -> Runtime:
    """Return a runtime that reaches the same token through another PKCS#11 module, with more sessions."""
    settings = load_settings(Path(home))
    key_store = settings.key_store.model_copy(update={"module": module, "sessions": sessions})
    return Runtime(Path(home), settings.model_copy(update={"key_store": key_store}))


def sign_here(runtime: Runtime, batch_id: str) -> None:
    """Sign a batch in this process, one thread, chunk after chunk."""
    runner = runner_token()
    while runtime.batches.sign_next_chunk(batch_id, runner) is not None:
        pass


def sign_in(pool: ProcessPoolExecutor, workers: int) -> Sign:
    """Return a way to sign a batch in the processes of a pool, as ``sign_directly`` does in a pool of its own."""

    def sign(runtime: Runtime, batch_id: str) -> None:
        def start() -> Future[WorkReport]:
            return pool.submit(sign_chunks, str(runtime.home), batch_id, 1)

        running = {start() for _ in range(workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {start() for future in done if future.result().chunks}

    return sign


@contextmanager
def signing(runtime: Runtime, workers: int, warm_up: Path, profile: str = PROFILE) -> Iterator[Sign]:
    """Yield a warm way to sign: modules imported, database and token open, one small batch signed by each process."""
    if workers == 1:
        run_batch(runtime, warm_up, sign_here, profile)
        yield sign_here
        return
    with worker_processes(workers) as pool:
        batch_id = submit(runtime, warm_up, profile)
        warm: set[int] = set()
        for _ in range(_ATTEMPTS_TO_WARM):
            warm.update(pool.map(_warm_up, [str(runtime.home)] * workers, [batch_id] * workers))
            if len(warm) == workers:
                break
        sign = sign_in(pool, workers)
        sign(runtime, batch_id)
        yield sign


def _warm_up(home: str, batch_id: str) -> int:
    sign_chunks(home, batch_id, 1)
    time.sleep(0.2)  # long enough for the other process to take the other call
    return os.getpid()


def submit(runtime: Runtime, file: Path, profile: str = PROFILE) -> str:
    """Load a file; returns the batch's id."""
    upload = Upload(path=file, source_name=file.name, partner_id=PARTNER, profile_name=profile)
    batch, fresh = runtime.uploads.submit(upload)
    if not fresh:
        raise RuntimeError(f"{file.name} was measured before in this environment: nothing would be loaded")
    return batch.id


def write_result(runtime: Runtime, batch_id: str) -> BatchCounts:
    """Write the result bundle to a temporary directory and remove it."""
    directory = tempfile.mkdtemp(prefix="pncpki-bench-result-")
    try:
        return runtime.results.write(batch_id, Path(directory))
    finally:
        shutil.rmtree(directory)


def run_batch(runtime: Runtime, file: Path, sign: Sign, profile: str = PROFILE) -> Times:
    """Submit, sign and write one batch; every row must have become a certificate."""
    start, cpu_at_start = time.perf_counter(), cpu_seconds()
    batch_id = submit(runtime, file, profile)
    submitted, cpu_before = time.perf_counter(), cpu_seconds()
    sign(runtime, batch_id)
    signed, cpu_after = time.perf_counter(), cpu_seconds()
    counts = write_result(runtime, batch_id)
    end = time.perf_counter()
    if counts.issued != counts.total:
        raise RuntimeError(f"{file.name}: {counts.issued} certificates for {counts.total} good rows")
    return Times(
        rows=counts.total,
        submit=submitted - start,
        sign=signed - submitted,
        result=end - signed,
        sign_cpu=cpu_after - cpu_before,
        total_cpu=cpu_seconds() - cpu_at_start,
    )


def cpu_seconds() -> float:
    """Return the CPU this process has used, all threads, in user mode and in the kernel."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_megabytes() -> float:
    """Return the largest resident size of this process so far.

    ``ru_maxrss`` would do on an exec'd process alone; after vfork it starts with the parent's peak.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
