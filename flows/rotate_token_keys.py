"""Flow: publish the next key of access tokens when the present one nears its end. Running it twice is harmless."""

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.chunk_worker import environment_runtime


@flow(name="rotate-token-keys", persist_result=False)
def rotate_token_keys() -> dict[str, str]:
    """Return the label of the key that was made, "" when none was due."""
    found = {"made": environment_runtime().access.token_keys.rotate().made}
    create_table_artifact(table=[found], key="rotate-token-keys", description="keys of access tokens")
    return found
