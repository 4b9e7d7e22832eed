"""Flow: heal what dead runners left, then sign on. Reservations nobody holds are voided, their serials burned."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime
from flows.sign_batches import sign_each, tell_unsigned


@flow(name="sweep-stuck", persist_result=False)
def sweep_stuck(*, dry_run: bool = False, resume: bool = True) -> dict[str, Any]:
    """Void, discard and free; with ``resume`` sign the batches that have no living runner. Returns the counts.

    Raises:
        OverdueError: batches fail or wait for an operator; all others were signed (deployments/RUNBOOK.md).
    """
    report = environment_runtime().maintenance.sweep_stuck(dry_run=dry_run)
    found: dict[str, Any] = {
        "dry_run": dry_run,
        "voided_reservations": report.voided_reservations,
        "burned_serials": report.burned_serials,
        "discarded_uploads": report.discarded_uploads,
        "freed_chunks": report.freed_chunks,
        "resumable": list(report.resumable),
    }
    create_table_artifact(table=[found], key="sweep-stuck", description="what dead runners left")
    _, unsigned = sign_each(report.resumable if resume and not dry_run else ())
    tell_unsigned(unsigned)
    return found
