"""Flow: tell partners what happened. Running it twice at once is harmless: each delivery is claimed by one."""

import os
from dataclasses import asdict

from prefect import flow

from flows.chunk_worker import process_runtime


@flow(name="deliver-webhooks", persist_result=False)
def deliver_webhooks(at_most: int = 2000) -> dict[str, int]:
    """Fan out the outbox and make up to ``at_most`` calls; returns what became of them."""
    return asdict(process_runtime(os.environ["PNCPKI_HOME"]).access.webhook_deliveries.run(at_most))
