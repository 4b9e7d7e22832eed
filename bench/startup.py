"""How long an operator waits for `pncpki --help`, and a web server for its application."""

import json
import subprocess
import sys
import time
from pathlib import Path

from bench.child import ROOT, clean_environment

_IMPORT = """
import json, sys, time
started = time.perf_counter()
import webapp.app
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "heavy": sorted({"pandas", "prefect"} & set(sys.modules))}))
"""


def help_seconds(runs: int) -> list[float]:
    """Return how long whole processes of ``pncpki --help`` took; the first, which fills the file cache, left out."""
    program = str(Path(sys.executable).with_name("pncpki"))
    return [_run([program, "--help"])[0] for _ in range(runs + 1)][1:]


def import_seconds(runs: int) -> tuple[list[float], list[float], list[str]]:
    """Return the seconds of ``import webapp``, those of its whole process, and which heavy modules it loaded."""
    answers = [_run([sys.executable, "-c", _IMPORT]) for _ in range(runs + 1)][1:]
    inside = [json.loads(output) for _, output in answers]
    return [one["seconds"] for one in inside], [seconds for seconds, _ in answers], inside[-1]["heavy"]


def _run(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    result = subprocess.run(  # noqa: S603  # our own commands
        command, cwd=ROOT, env=clean_environment({}), capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, result.stdout
