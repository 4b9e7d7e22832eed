"""Flow: pick up queued batches, oldest first, and sign each. Running it twice at once is harmless."""

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from flows.sign_batches import sign_each, tell_unsigned


@flow(name="dispatch", persist_result=False)
def dispatch(at_most: int = 10, workers: int = 1, *, dry_run: bool = False) -> dict[str, int]:
    """Sign up to ``at_most`` queued batches; returns how many certificates each got, dry: 0 for each that waits.

    Raises:
        OverdueError: batches fail or wait for an operator; all others were signed (deployments/RUNBOOK.md).
    """
    queued = environment_runtime().maintenance.queued()
    signed, unsigned = (dict.fromkeys(queued[:at_most], 0), []) if dry_run else sign_each(queued, workers, at_most)
    table = [{"batch": batch_id, "issued": issued} for batch_id, issued in signed.items()]
    create_table_artifact(table=table, key="dispatch", description="batches that were queued")
    tell_unsigned(unsigned)
    return signed
