"""Runs a flow inside a command."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.output import say
from flows.prefect_here import prefect_at_hand
from flows.progress import batch_progress
from flows.schedules import FLOWS
from pki_core.model.errors import MalformedError
from pki_core.runtime import Runtime

NOT_DRY = frozenset({"rotate_token_keys", "seal_audit", "watch_ages"})  # the others can report only
_SIGN = "pncpki batch sign ID"
_BY_COMMAND = {  # flows that need more than their name
    "sign_batches": f"`{_SIGN}`",
    "issue_contracts": f"`pncpki batch submit FILE --kind contract --partner NAME` and then `{_SIGN}`",
}


def sign_batch(runtime: Runtime, batch_id: str, home: Path, *, workers: int, direct: bool, quiet: bool) -> None:
    """Sign a batch to its end with a progress bar, by the Prefect flow or directly."""
    if direct:
        from flows.chunk_worker import sign_directly  # noqa: PLC0415

        with batch_progress(lambda: runtime.batches.status(batch_id)[1], quiet=quiet):
            sign_directly(str(home.resolve()), batch_id, workers)
        return
    if not quiet and not os.environ.get("PREFECT_API_URL"):
        say("starting a Prefect server for this command (about 15 s; set PREFECT_API_URL to use a running one)")
    with prefect_at_hand(home, runtime.settings.key_store.pin_variable):
        from flows.sign_batches import sign_batches  # noqa: PLC0415  # 2 s to import

        with batch_progress(lambda: runtime.batches.status(batch_id)[1], quiet=quiet):
            sign_batches(batch_id, workers)


def run_flow(name: str, runtime: Runtime, *, dry_run: bool) -> dict[str, Any]:
    """Run a maintenance flow by name.

    Raises:
        MalformedError: there is no such flow.
    """
    if name in _BY_COMMAND:
        raise MalformedError(f"{name} is run by {_BY_COMMAND[name]}")
    if name not in FLOWS:
        raise MalformedError(f"there is no flow {name!r}; there are {', '.join(FLOWS)}")
    if dry_run and name in NOT_DRY:
        raise MalformedError(f"{name} has no dry run")
    with prefect_at_hand(runtime.home, runtime.settings.key_store.pin_variable):
        flow = getattr(import_module(f"flows.{name}"), name)  # Prefect takes 2 s to import
        return dict(flow(dry_run=True) if dry_run else flow())
