"""Flow: contracts near their end are made anew, where their operator asked for it."""

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime


@flow(name="renew-contracts", persist_result=False)
def renew_contracts(*, dry_run: bool = False) -> dict[str, int | bool]:
    """Renew what is due; returns the counts."""
    found = environment_runtime().contracts.renewals.run(dry_run=dry_run)._asdict()
    create_table_artifact(table=[found], key="renew-contracts", description="contracts renewed before their end")
    return found
