"""Settings for Prefect inside one of our own commands. Import this before Prefect is imported."""

import os
from pathlib import Path

_HERE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the default of 20 is not enough on two cores
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # the default is pickle
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def prepare_prefect(home: Path) -> bool:
    """Point Prefect at the environment; returns whether a server of the operator's is used.

    Without ``PREFECT_API_URL`` Prefect starts a server of its own for the length of the command. It keeps history
    in the environment's directory; the truth is in our store.
    """
    for name, value in _HERE.items():
        os.environ.setdefault(name, value)
    os.environ["PNCPKI_HOME"] = str(home.resolve())
    if os.environ.get("PREFECT_API_URL"):
        return True
    os.environ.setdefault("PREFECT_HOME", str(home.resolve() / "prefect"))
    return False
