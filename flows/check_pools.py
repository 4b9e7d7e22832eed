"""Flow: revoked certificates leave the pools; ours by the store, those of others by what their CAs answer."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from flows.pool_report import as_row


@flow(name="check-pools", persist_result=False)
def check_pools(*, dry_run: bool = False) -> dict[str, Any]:
    """Check; returns the counts."""
    found = as_row(environment_runtime().pools.check.run(dry_run=dry_run))
    create_table_artifact(table=[found], key="check-pools", description="revoked certificates in the pools")
    return found
