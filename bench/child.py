"""Measures in a process of its own: warm is what the job says is warm, and peak memory is the job's. Run as a program.

python -m bench.child MODULE.FUNCTION ARGUMENTS_AS_JSON RESULT_FILE
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_LEAKING = ("PNCPKI_", "PREFECT_", "SOFTHSM2_CONF", "SHIM_", "PYTHONPATH")  # the caller's own settings stay out


class JobFailedError(Exception):
    """A measuring process did not end well; what it said stands above."""


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a measuring process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEAKING)}
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    return {**kept, **quiet, **more}


def run_job(job: str, environment: Mapping[str, str], **arguments: object) -> Any:  # noqa: ANN401  # JSON
    """Run ``bench.MODULE.FUNCTION`` with arguments in a fresh process and return what it returned."""
    with tempfile.NamedTemporaryFile(prefix="pncpki-bench-", suffix=".json") as file:
        command = [sys.executable, "-m", "bench.child", job, json.dumps(arguments), file.name]
        result = subprocess.run(  # noqa: S603  # ourselves
            command, cwd=ROOT, env=clean_environment(environment), stdin=subprocess.DEVNULL, check=False
        )
        if result.returncode:
            raise JobFailedError(f"{job} ended with exit code {result.returncode}")
        return json.loads(Path(file.name).read_text(encoding="utf-8"))


def main() -> None:
    """Run one job."""
    job, arguments, file = sys.argv[1:]
    module, _, function = job.rpartition(".")
    result = getattr(importlib.import_module(f"bench.{module}"), function)(**json.loads(arguments))
    Path(file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
