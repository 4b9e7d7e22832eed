"""Flow: sign OCSP responses ahead, where the stored one is missing or past half its life. May run at any time."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime


@flow(name="refresh-ocsp", persist_result=False)
def refresh_ocsp(*, dry_run: bool = False) -> dict[str, Any]:
    """Refresh, or count; returns the counts and the oldest thisUpdate in the store, in seconds since 1970."""
    report = environment_runtime().ocsp_refresh.run(dry_run=dry_run)
    found: dict[str, Any] = {
        "signed": report.signed,
        "kept": report.kept,
        "dropped": report.dropped,
        "unanswered": list(report.unanswered),
        "oldest_this_update": report.oldest_this_update,
    }
    create_table_artifact(table=[found], key="refresh-ocsp", description="OCSP responses signed ahead")
    return found
