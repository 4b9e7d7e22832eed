"""What Prefect adds to a batch when its server is already up: the server, and the job that compares."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.child import ROOT, clean_environment

_START_SECONDS = 180
_QUIET = {
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
}


@contextmanager
def running_prefect(directory: Path) -> Iterator[dict[str, str]]:
    """Start a Prefect server on a loopback port; yield the variables that point a process to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = {"PREFECT_HOME": str(directory / "prefect"), **_QUIET}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(  # noqa: S603  # fixed words
        command, cwd=ROOT, env=clean_environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as server:
        try:
            api = f"http://127.0.0.1:{port}/api"
            _wait_until_healthy(server, api)
            yield {**home, "PREFECT_API_URL": api}
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_until_healthy(server: subprocess.Popen[bytes], api: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{api}/health", timeout=2):  # noqa: S310  # loopback
            return
        time.sleep(0.2)
    raise RuntimeError("the Prefect server did not start")


def compare(home: str, files: list[str], warm_up: list[str]) -> list[dict[str, float]]:
    """Sign pairs of batches, one directly and one by the flow, both in this warm process."""
    os.environ["PNCPKI_HOME"] = home
    from bench.work import run_batch, sign_here  # noqa: PLC0415  # after the environment is complete
    from flows.chunk_worker import process_runtime  # noqa: PLC0415
    from flows.sign_batches import sign_batches  # noqa: PLC0415

    def by_flow(_runtime: object, batch_id: str) -> None:
        sign_batches(batch_id, 1)

    runtime = process_runtime(home)
    run_batch(runtime, Path(warm_up[0]), sign_here)
    run_batch(runtime, Path(warm_up[1]), by_flow)
    rounds = []
    for direct_file, flow_file in zip(files[::2], files[1::2], strict=True):
        direct = run_batch(runtime, Path(direct_file), sign_here)
        tasks = _task_runs()
        flow = run_batch(runtime, Path(flow_file), by_flow)
        rounds.append({"direct": direct.sign, "flow": flow.sign, "tasks": _settled_task_runs(tasks) - tasks})
    return rounds


def compare_commands(home: str, files: list[str]) -> dict[str, float]:
    """Time ``pncpki batch sign`` with and without ``--direct``, whole processes, as an operator sees them."""
    from bench.work import submit  # noqa: PLC0415
    from flows.chunk_worker import process_runtime  # noqa: PLC0415

    runtime = process_runtime(home)
    program = str(Path(sys.executable).with_name("pncpki"))
    seconds = {}
    for name, options, file in (("direct", ["--direct"], files[0]), ("flow", [], files[1])):
        command = [program, "batch", "sign", submit(runtime, Path(file)), "--json", "--home", home, *options]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
        seconds[name] = time.perf_counter() - started
    return seconds


def _task_runs() -> int:
    request = urllib.request.Request(  # noqa: S310  # loopback
        f"{os.environ['PREFECT_API_URL']}/task_runs/count",
        data=json.dumps({}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # loopback
        count: Any = json.load(answer)
    return int(count)


def _settled_task_runs(before: int) -> int:
    """Task runs reach the server as events, seconds late: wait until their number stands still."""
    last = -1
    for _ in range(20):
        now = _task_runs()
        if now == last and now > before:
            return now
        last = now
        time.sleep(1)
    return last
