"""Flow: the alarm. Fails, and names everything that is late: sweeps, seals, outbox, OCSP answers, CRLs, roots."""

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from pki_core.services.ages import raise_late


@flow(name="watch-ages", persist_result=False)
def watch_ages() -> dict[str, Any]:
    """Return how many ages were looked at, and the oldest of each kind in the artifact.

    Raises:
        OverdueError: something is late; deployments/RUNBOOK.md has a page for each.
        UnavailableError: the store is away.
    """
    ages = environment_runtime().ages.look()
    table = [asdict(one) for one in sorted(ages, key=lambda one: not one.is_late)]
    create_table_artifact(table=table, key="watch-ages", description="how old what must be young is")
    raise_late(ages)
    return {"looked_at": len(ages), "late": []}
