"""Jobs: whole batches in warm processes, each beside the raw operations of the same minute; sizes, memory, latency."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.raw import RawOperations
from bench.work import (
    cpu_seconds,
    open_behind,
    peak_megabytes,
    run_batch,
    sign_here,
    signing,
    submit,
    write_result,
)
from flows.chunk_worker import process_runtime


def measure(home: str, files: list[str], warm_up: str, way: dict[str, Any], program: str) -> list[dict[str, Any]]:
    """Return, for each file, what its batch took and what the raw operations took just before and after it."""
    runtime = process_runtime(home)
    profile = way["profile"]
    raw = RawOperations(runtime, program, profile, way["raw_seconds"])
    rounds = []
    with signing(runtime, way["workers"], Path(warm_up), profile) as sign:
        after = raw.measure()
        for file in files:
            before, times, after = after, run_batch(runtime, Path(file), sign, profile), raw.measure()
            costs = before.mean(after)  # a machine that slows down meanwhile slows both
            rounds.append({"times": asdict(times), "total": times.total, "raw": asdict(costs), "floor": costs.floor})
    return rounds


def measure_behind(home: str, files: list[str], warm_up: str, module: str, sessions: int) -> list[dict[str, Any]]:
    """Return what batches take when the token is reached through another PKCS#11 module."""
    runtime = open_behind(home, module, sessions)
    run_batch(runtime, Path(warm_up), sign_here)
    return [asdict(run_batch(runtime, Path(file), sign_here)) for file in files]


def submit_one(home: str, warm_up: str, file: str) -> dict[str, Any]:
    """Submit a small file to warm up, then the file that counts; the value is both batch ids."""
    runtime = process_runtime(home)
    first = submit(runtime, Path(warm_up))
    measured = _measured(lambda: submit(runtime, Path(file)))
    return {**measured, "value": [first, measured["value"]]}


def sign_one(home: str, batch_ids: list[str]) -> dict[str, Any]:
    """Sign a small batch to warm up, then the batch that counts."""
    runtime = process_runtime(home)
    sign_here(runtime, batch_ids[0])
    return _measured(lambda: sign_here(runtime, batch_ids[1]))


def result_one(home: str, batch_ids: list[str]) -> dict[str, Any]:
    """Write the result of a small batch to warm up, then that of the batch that counts."""
    runtime = process_runtime(home)
    write_result(runtime, batch_ids[0])
    return _measured(lambda: write_result(runtime, batch_ids[1]).issued)


def _measured(work: Callable[[], object]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    value = work()
    return {
        "value": value,
        "seconds": time.perf_counter() - wall,
        "cpu": cpu_seconds() - cpu,
        "peak": peak_megabytes(),
    }
