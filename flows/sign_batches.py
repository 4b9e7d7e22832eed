"""Flow: sign a batch. Parameter: its id. What is open comes from SQL each time, so running again is resuming."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import as_completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.chunk_worker import (
    WorkReport,
    chunks_a_task,
    environment_runtime,
    process_runtime,
    result_of,
    sign_chunks,
    worker_processes,
)
from pki_core.model.errors import (
    HsmPinRejectedError,
    HsmUnavailableError,
    OverdueError,
    PkiError,
    StoreUnavailableError,
    UnavailableError,
    WaitsForOperatorError,
)

# Each thread waits for one worker process; signing itself never shares a process.
_THREADS: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=32)
# What no batch is signed without; a token that refused the PIN locks itself when it is asked again and again.
_NEEDED_BY_ALL = (HsmUnavailableError, HsmPinRejectedError, StoreUnavailableError)


def sign_each(
    batch_ids: Iterable[str], workers: int = 1, at_most: int | None = None
) -> tuple[dict[str, int], list[str]]:
    """Sign several batches; returns how many certificates each of ``at_most`` got, and why others are not signed.

    One that waits for an operator, or fails by a fault of its own or of ours, stops none of those behind it; a token or
    a database that is away stops them all.
    """
    issued: dict[str, int] = {}
    unsigned: list[str] = []
    for batch_id in batch_ids:
        if len(issued) == at_most:
            break
        try:
            issued[batch_id] = sign_batches(batch_id, workers)["issued"]
        except _NEEDED_BY_ALL:
            raise
        except PkiError as error:
            unsigned.append(f"batch {batch_id}: {error}")
    return issued, unsigned


def tell_unsigned(unsigned: Sequence[str]) -> None:
    """Fail with the batches that are not signed; OverdueError."""
    if unsigned:
        raise OverdueError("batches are not signed: " + "; ".join(unsigned))


def _may_retry(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only a dependency that is away is worth another try; refusals are data, and our own faults stop the run."""
    return isinstance(state.data, UnavailableError) and not isinstance(state.data, WaitsForOperatorError)


@flow(name="sign-batches", persist_result=False, task_runner=_THREADS)  # type: ignore[arg-type]  # prefect types its own runner too narrowly
def sign_batches(batch_id: str, workers: int = 1) -> dict[str, int]:
    """Sign every open chunk of a batch; returns what this run did."""
    home = os.environ["PNCPKI_HOME"]
    batches = process_runtime(home).batches
    batches.free_dead_runners(batch_id)
    batches.check_ready(batch_id)
    open_chunks = batches.open_chunks(batch_id)
    at_most = chunks_a_task(open_chunks)
    artifact = create_progress_artifact(progress=0.0, key=f"batch-{batch_id}", description=f"batch {batch_id}")
    report = WorkReport()
    with worker_processes(workers) if workers > 1 else nullcontext() as pool:
        sign = _task(home, batch_id, at_most, pool)
        tasks = max(1, -(-open_chunks // at_most))
        for future in as_completed([sign.submit() for _ in range(tasks)]) if pool else ():
            report += WorkReport(**future.result())
            _show_progress(artifact, batch_id)
        for _ in range(tasks if pool is None else 0):
            report += WorkReport(**sign())
            _show_progress(artifact, batch_id)
    report += sign_chunks(home, batch_id, open_chunks + 1)  # what others gave back meanwhile; moves the batch to done
    return {"chunks": report.chunks, "issued": report.issued, "refused": report.refused}


def _task(home: str, batch_id: str, at_most: int, pool: ProcessPoolExecutor | None) -> Task[[], dict[str, int]]:
    """Return the task of this run. Parameters stay out of Prefect's sight: ids are in the flow, the rest is ours."""

    @task(
        name="sign-chunks",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=3,
        retry_delay_seconds=[1, 5, 30],
        retry_condition_fn=_may_retry,
    )
    def sign_chunks_here_or_there() -> dict[str, int]:
        if pool is None:
            report = sign_chunks(home, batch_id, at_most)
        else:
            report = result_of(pool.submit(sign_chunks, home, batch_id, at_most))
        return {"chunks": report.chunks, "issued": report.issued, "refused": report.refused}

    return sign_chunks_here_or_there


def _show_progress(artifact: Any, batch_id: str) -> None:  # noqa: ANN401  # Prefect types it as a union
    _, counts = environment_runtime().batches.status(batch_id)
    done = counts.issued + counts.refused
    update_progress_artifact(artifact, 100.0 * done / counts.total if counts.total else 100.0)
