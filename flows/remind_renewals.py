"""Flow: contracts and provisioning certificates that end soon are told to whoever renews them, each once."""

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from flows.chunk_worker import environment_runtime


@flow(name="remind-renewals", persist_result=False)
def remind_renewals(days: int = 30, *, dry_run: bool = False) -> dict[str, Any]:
    """Tell what ends within ``days``; returns the counts, and which CAs want a successor."""
    found = asdict(environment_runtime().pools.reminders.run(days=days, dry_run=dry_run))
    for warning in found["warnings"]:
        get_run_logger().warning(warning)
    found["warnings"] = list(found["warnings"])
    create_table_artifact(table=[found], key="remind-renewals", description="what ends soon")
    return found
