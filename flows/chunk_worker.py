"""What one runner does with a batch, free of Prefect: signs open chunks, here or in spawned processes."""

import gc
import math
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import TypeVar

from pki_core.model.errors import WorkerLostError
from pki_core.runtime import Runtime, open_runtime
from pki_core.services.runners import running

T = TypeVar("T")

_COLLECT_AFTER = 50_000  # new objects; a chunk of 1,000 rows makes about as many
MAX_TASKS = 50  # a task costs Prefect 8 ms and a page of its database; a batch is never more of them


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkReport:
    """What a runner did."""

    chunks: int = 0
    issued: int = 0
    refused: int = 0

    def __add__(self, other: "WorkReport") -> "WorkReport":
        return WorkReport(
            chunks=self.chunks + other.chunks,
            issued=self.issued + other.issued,
            refused=self.refused + other.refused,
        )


def sign_chunks(home: str, batch_id: str, at_most: int) -> WorkReport:
    """Sign up to ``at_most`` open chunks of a batch in this process."""
    batches = process_runtime(home).batches
    report = WorkReport()
    with running() as runner:
        for _ in range(at_most):
            chunk = batches.sign_next_chunk(batch_id, runner)
            if chunk is None:
                break
            report += WorkReport(chunks=1, issued=chunk.issued, refused=chunk.refused)
    return report


def chunks_a_task(open_chunks: int) -> int:
    """Return how many chunks one task takes so that a batch stays below ``MAX_TASKS``."""
    return max(1, math.ceil(open_chunks / (MAX_TASKS - 2)))


def sign_directly(home: str, batch_id: str, workers: int) -> WorkReport:
    """Sign a batch to its end without Prefect."""
    if workers == 1:
        return _until_nothing_is_open(lambda: sign_chunks(home, batch_id, 1))
    process_runtime(home).batches.check_ready(batch_id)  # a wrong PIN is found out once, not by each worker
    report = WorkReport()
    with worker_processes(workers) as pool:
        running: set[Future[WorkReport]] = {pool.submit(sign_chunks, home, batch_id, 1) for _ in range(workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                one = result_of(future)
                report += one
                if one.chunks:
                    running.add(pool.submit(sign_chunks, home, batch_id, 1))
    return report


@contextmanager
def worker_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start spawned processes: never forked, a token's state does not survive a fork."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        with _interrupts_ignored():
            for future in [pool.submit(os.getpid) for _ in range(count)]:
                result_of(future)
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what runs is finished: a chunk takes a second
            raise


def result_of(future: Future[T]) -> T:
    """Return what a worker process did; WorkerLostError when it died."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkerLostError("a worker process died; resume the batch to go on") from error


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that start now ignore Ctrl-C: it is the parent that stops them, between two chunks."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """Leave when the command that started this process is killed: a pool's workers would wait for it for ever."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # as sudden as the parent's end; what was reserved is voided by the next run

    Thread(target=watch, daemon=True).start()


@lru_cache(maxsize=1)
def process_runtime(home: str) -> Runtime:
    """Return this process's runtime; opened once, kept for all its chunks."""
    runtime = open_runtime(Path(home))
    # Modules and caches stay for the life of the process: without this, the collector walks all of them again and
    # again while rows come and go, a twentieth of the time of a certificate.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    return runtime


def environment_runtime() -> Runtime:
    """Return this process's runtime of the environment in ``PNCPKI_HOME``, which a flow runs in."""
    return process_runtime(os.environ["PNCPKI_HOME"])


def _until_nothing_is_open(step: Callable[[], WorkReport]) -> WorkReport:
    report = WorkReport()
    while True:
        one = step()
        if not one.chunks:
            return report
        report += one
