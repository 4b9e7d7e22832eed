"""Flow: what has ended leaves the pools, with all that hangs on it; roots near their end are warned of."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from flows.pool_report import as_row


@flow(name="sweep-expired", persist_result=False)
def sweep_expired(*, dry_run: bool = False) -> dict[str, Any]:
    """Sweep PCP, CCP and RCP; returns the counts."""
    found = as_row(environment_runtime().pools.expiry.sweep(dry_run=dry_run))
    create_table_artifact(table=[found], key="sweep-expired", description="what had ended in the pools")
    return found
