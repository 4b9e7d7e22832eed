"""Flow: contracts whose vehicle has no live provisioning certificate, or one with another key, leave the CCP."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from flows.pool_report import as_row


@flow(name="clean-ccp", persist_result=False)
def clean_ccp(*, dry_run: bool = False) -> dict[str, Any]:
    """Clean; returns the counts."""
    found = as_row(environment_runtime().pools.ccp_cleanup.run(dry_run=dry_run))
    create_table_artifact(table=[found], key="clean-ccp", description="contracts without their vehicle's certificate")
    return found
