"""Flow: give CAs whose OCSP responder is near its end a new one. Running it twice equals running it once."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime


@flow(name="rotate-responders", persist_result=False)
def rotate_responders(*, dry_run: bool = False) -> dict[str, Any]:
    """Rotate; returns the labels of what was made (dry: would be), kept and skipped."""
    report = environment_runtime().responders.rotate(dry_run=dry_run)
    found = {"made": list(report.made), "kept": list(report.kept), "skipped": list(report.skipped)}
    create_table_artifact(table=[found], key="rotate-responders", description="OCSP responders")
    return found
