"""Prefect inside one of our own commands: against the operator's server, or one started for the command's length."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.prefect_server import UNTRACKED, temporary_server
from pki_core.model.errors import OrchestratorUnavailableError

_HERE = {
    **UNTRACKED,
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # the default is pickle
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # a flow's failure is told once, by the command
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
}


@contextmanager
def prefect_at_hand(home: Path, pin_variable: str) -> Iterator[None]:
    """Make Prefect usable for the length of a block; import nothing of it before.

    A temporary server keeps its history in the environment's directory; the truth is in our store.

    Raises:
        OrchestratorUnavailableError: no server answers.
    """
    for name, value in _HERE.items():
        os.environ.setdefault(name, value)
    os.environ["PNCPKI_HOME"] = str(home.resolve())
    if os.environ.get("PREFECT_API_URL"):
        _check_server()
        yield
        return
    os.environ.setdefault("PREFECT_HOME", str(home.resolve() / "prefect"))
    with temporary_server(pin_variable) as url:
        os.environ["PREFECT_API_URL"] = url
        try:
            yield
        finally:
            del os.environ["PREFECT_API_URL"]


def _check_server() -> None:
    import httpx  # noqa: PLC0415  # Prefect's own HTTP client

    url = os.environ["PREFECT_API_URL"]
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=10)
    except httpx.HTTPError as error:
        message = f"the Prefect server at {url} does not answer; --direct signs without it"
        raise OrchestratorUnavailableError(message) from error
