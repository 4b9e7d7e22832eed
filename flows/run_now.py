"""Runs a flow inside a command: against the operator's Prefect server, or one started for the command's length."""

from pathlib import Path
from typing import Any

from flows.output import say
from flows.progress import batch_progress
from pki_core.model.errors import MalformedError
from pki_core.runtime import Runtime

FLOWS = ("dispatch", "sweep_stuck")


def sign_batch(runtime: Runtime, batch_id: str, home: Path, *, workers: int, direct: bool, quiet: bool) -> None:
    """Sign a batch to its end with a progress bar, by the Prefect flow or directly."""
    if direct:
        from flows.chunk_worker import sign_directly  # noqa: PLC0415

        with batch_progress(lambda: runtime.batches.status(batch_id)[1], quiet=quiet):
            sign_directly(str(home.resolve()), batch_id, workers)
        return
    _start_prefect(home, quiet=quiet)
    from flows.sign_batches import sign_batches  # noqa: PLC0415  # 2 s to import

    with batch_progress(lambda: runtime.batches.status(batch_id)[1], quiet=quiet):
        sign_batches(batch_id, workers)


def run_flow(name: str, home: Path, *, dry_run: bool) -> dict[str, Any]:
    """Run a maintenance flow by name.

    Raises:
        MalformedError: there is no such flow.
    """
    if name not in FLOWS:
        raise MalformedError(f"there is no flow {name!r}; there are {', '.join(FLOWS)}")
    _start_prefect(home, quiet=True)
    if name == "dispatch":
        from flows.dispatch import dispatch  # noqa: PLC0415

        return dict(dispatch())
    from flows.sweep_stuck import sweep_stuck  # noqa: PLC0415

    return dict(sweep_stuck(dry_run=dry_run))


def _start_prefect(home: Path, *, quiet: bool) -> None:
    from flows.prefect_here import prepare_prefect  # noqa: PLC0415

    if not prepare_prefect(home) and not quiet:
        say("starting a Prefect server for this command (about 20 s; set PREFECT_API_URL to use a running one)")
    from prefect.client.orchestration import get_client  # noqa: PLC0415  # 2 s to import

    with get_client(sync_client=True) as client:
        client.hello()  # the server is up before the bar starts
