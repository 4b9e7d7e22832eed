"""Flow: pick up queued batches, oldest first, and sign each. Running it twice at once is harmless."""

import os

from prefect import flow

from flows.chunk_worker import process_runtime
from flows.sign_batches import sign_batches


@flow(name="dispatch", persist_result=False)
def dispatch(at_most: int = 10, workers: int = 1) -> dict[str, int]:
    """Sign up to ``at_most`` queued batches; returns how many certificates each got."""
    queued = process_runtime(os.environ["PNCPKI_HOME"]).maintenance.queued()[:at_most]
    return {batch_id: sign_batches(batch_id, workers)["issued"] for batch_id in queued}
