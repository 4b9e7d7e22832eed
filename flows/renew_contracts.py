"""Flow: contracts near their end are made anew, where their operator asked for it; fails when some have to wait."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from pki_core.model.errors import OverdueError


@flow(name="renew-contracts", persist_result=False)
def renew_contracts(*, dry_run: bool = False) -> dict[str, Any]:
    """Renew what is due; returns the counts.

    Raises:
        OverdueError: contracts wait for an operator; all others were renewed (deployments/RUNBOOK.md).
    """
    found = environment_runtime().contracts.renewals.run(dry_run=dry_run)._asdict()
    create_table_artifact(table=[found], key="renew-contracts", description="contracts renewed before their end")
    if found["failures"]:
        raise OverdueError("contracts are not renewed: " + "; ".join(found["failures"]))
    return found
