"""Flow: an operator's table of contracts in, contract data in the CCP for every good row, a verdict for every row.

The table becomes a batch and goes the way of all batches (sign_batches): the same file again goes on where it was.
"""

from pathlib import Path

from prefect import flow

from flows.chunk_worker import environment_runtime
from flows.sign_batches import sign_batches
from pki_core.model.batches import BatchKind
from pki_core.services.uploads import Upload


@flow(name="issue-contracts", persist_result=False)
def issue_contracts(file: str, partner: str, profile: str = "contract_leaf", workers: int = 1) -> dict[str, str | int]:
    """Load a table and make its contracts; returns the batch's id and counts."""
    runtime = environment_runtime()
    path = Path(file)
    batch, _ = runtime.uploads.submit(
        Upload(path=path, source_name=path.name, partner_id=partner, profile_name=profile, kind=BatchKind.CONTRACT)
    )
    sign_batches(batch.id, workers)
    _, counts = runtime.batches.status(batch.id)
    return {"batch_id": batch.id, "issued": counts.issued, "refused": counts.refused, "pending": counts.pending}
