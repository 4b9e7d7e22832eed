"""Flow: contract data whose signer is revoked, has ended or ends soon is signed anew by the newest one."""

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.logging import get_run_logger

from flows.chunk_worker import environment_runtime


@flow(name="resign-contracts", persist_result=False)
def resign_contracts(*, dry_run: bool = False) -> dict[str, int | bool]:
    """Sign anew what is due; returns the counts."""
    found = environment_runtime().contracts.resigning.run(dry_run=dry_run)._asdict()
    if found["waiting"]:
        get_run_logger().warning("%d answers wait for a newer signer: hold the ceremony", found["waiting"])
    if found["refused"]:
        get_run_logger().warning("%d stored answers do not verify and were left alone", found["refused"])
    create_table_artifact(table=[found], key="resign-contracts", description="contract data signed anew")
    return found
