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
{imports}
seconds = time.perf_counter() - started
print(json.dumps([seconds, sorted(set(["pandas", "prefect"]) & set(sys.modules))]))
"""
# what any Flask application on a SQL store loads: the part of the import that is not this project's
_LIBRARIES = "import flask, sqlalchemy.dialects.sqlite, sqlalchemy.dialects.postgresql, pydantic, cryptography.x509"


def help_seconds(runs: int) -> list[float]:
    """Return how long whole processes of ``pncpki --help`` took; the first, which fills the file cache, left out."""
    program = str(Path(sys.executable).with_name("pncpki"))
    return [_run([program, "--help"])[0] for _ in range(runs + 1)][1:]


def import_seconds(runs: int) -> tuple[list[float], list[float], list[str]]:
    """Return the seconds of ``import webapp.app``, those of its whole process, and which heavy modules it loaded."""
    answers = _imports("import webapp.app", runs)
    return [seconds for seconds, _, _ in answers], [whole for _, whole, _ in answers], answers[-1][2]


def library_seconds(runs: int) -> list[float]:
    """Return the seconds of importing only the libraries under it: the floor of ``import webapp.app``."""
    return [seconds for seconds, _, _ in _imports(_LIBRARIES, runs)]


def _imports(statement: str, runs: int) -> list[tuple[float, float, list[str]]]:
    """Return a triple a run: seconds of the statement, of the whole process, heavy modules; the first run left out."""
    answers = [_run([sys.executable, "-c", _IMPORT.format(imports=statement)]) for _ in range(runs + 1)][1:]
    found = [(whole, *json.loads(output)) for whole, output in answers]
    return [(seconds, whole, heavy) for whole, seconds, heavy in found]


def _run(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    result = subprocess.run(  # noqa: S603  # our own commands
        command, cwd=ROOT, env=clean_environment({}), capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, result.stdout
