"""Flow: tell partners what happened. Running it twice at once is harmless: each delivery is claimed by one."""

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime


@flow(name="deliver-webhooks", persist_result=False)
def deliver_webhooks(at_most: int = 2000, *, dry_run: bool = False) -> dict[str, Any]:
    """Fan out the outbox and make up to ``at_most`` calls; returns what became of them, dry: what waits."""
    deliveries = environment_runtime().access.webhook_deliveries
    found = asdict(deliveries.look() if dry_run else deliveries.run(at_most))
    create_table_artifact(table=[found], key="deliver-webhooks", description="events told to partners")
    return found
