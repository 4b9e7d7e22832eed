"""A Prefect server for the length of one command: on loopback, in a session of its own, gone when its parent is.

Prefect's built-in one is no use here: Ctrl-C reaches it before the flow has ended, it outlives a killed command, and it
inherits secrets it does not need.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from threading import Thread
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from pki_core.model.errors import OrchestratorUnavailableError

UNTRACKED = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}  # unless the caller says otherwise
_START_SECONDS = 120
_STOP_SECONDS = 10


@contextmanager
def temporary_server(secret_variable: str) -> Iterator[str]:
    """Start a server and give the URL of its API; ``secret_variable`` stays out of its environment.

    Raises:
        OrchestratorUnavailableError: it did not come up in two minutes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != secret_variable}
    server = subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-m", "flows.prefect_server", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait_until_healthy(server, url)
        yield url
    finally:
        server.stdin.close()  # type: ignore[union-attr]  # a pipe, by the call above
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_healthy(server: "subprocess.Popen[bytes]", url: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            with urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310  # our own loopback URL
                if answer.status == HTTPStatus.OK:
                    return
        except (URLError, OSError):
            time.sleep(0.2)
    raise OrchestratorUnavailableError("the temporary Prefect server did not start; --direct signs without it")


def run_server(port: int, host: str = "127.0.0.1") -> None:
    """Serve Prefect's API until a signal."""
    for name, value in UNTRACKED.items():
        os.environ.setdefault(name, value)  # read with the first import of Prefect
    import uvicorn  # noqa: PLC0415  # Prefect's own server; only this process needs it

    _mend_scheduler()
    uvicorn.run("prefect.server.api.server:create_app", factory=True, host=host, port=port, log_level="critical")


def _mend_scheduler() -> None:
    """Let Prefect's scheduler insert runs.

    Prefect 3.8 hands its bulk insert a value for ``FlowRun.state``, which is no column. SQLAlchemy 2.0 passed over it,
    2.1 raises: no schedule of any deployment would ever start a run.
    """
    from prefect.server.database.orm_models import FlowRun  # noqa: PLC0415  # with the server

    state: Any = FlowRun.__mapper__.all_orm_descriptors["state"]
    if getattr(state, "bulk_dml_setter", True) is None:
        state.bulk_dml_setter = lambda _run, _values, _state: None


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # ends when the parent closes the pipe, or dies
    os._exit(0)


if __name__ == "__main__":
    Thread(target=_end_with_parent, daemon=True).start()
    run_server(int(sys.argv[1]))
