"""What the tests of founding do in processes of their own: SoftHSM reads one configuration a process.

Run as ``python -m tests.journeys.founding_child FUNCTION ARGUMENT...``; the answer is one JSON object.
"""

import hashlib
import json
import os
import signal
import sys
from contextlib import closing
from pathlib import Path

from pki_core.model.errors import PkiError

_SPAWNS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty"}


def init(record, *arguments):
    """Run ``pncpki init`` and note every process it would start, with arguments and environment."""
    spawned = []
    sys.addaudithook(lambda event, values: spawned.append([event, repr(values)]) if event in _SPAWNS else None)
    from flows.cli import app

    code = app(["init", *arguments], standalone_mode=False)
    Path(record).write_text(json.dumps({"spawned": spawned, "environment": dict(os.environ), "code": code}))


def die(name, *arguments):
    """Run ``pncpki init`` and be killed when a file would get its name."""

    def watch(event, values):
        if event == "os.rename" and Path(os.fspath(values[1])).name == name:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    from flows.cli import app

    app(["init", *arguments], standalone_mode=False)


def attempt(home, *attempts):
    """Try several things in one opened environment; say what became of each."""
    from pki_core.runtime import open_runtime

    results = {}
    with closing(open_runtime(Path(home))) as runtime:
        for one in attempts:
            name, _, argument = one.partition("=")
            try:
                results[one] = _ATTEMPTS[name](runtime, argument)
            except PkiError as error:
                results[one] = f"{type(error).__name__}: {error}"
    print(json.dumps(results))


def _use_key(runtime, label):
    """Bind a CA to its key in the token."""
    return runtime.issuers.get(label).record.label


def _read_plan(runtime, path):
    """Read a ceremony file."""
    return runtime.ceremonies.read(Path(path)).label


def _run_plan(runtime, path):
    """Run a ceremony file without the reviewed hash."""
    ceremonies = runtime.ceremonies
    return [str(artefact) for artefact in ceremonies.run(ceremonies.read(Path(path)), lambda _line: None)]


def _run_reviewed_plan(runtime, path):
    """Run a ceremony file with the hash it has."""
    ceremonies = runtime.ceremonies
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    artefacts = ceremonies.run(ceremonies.read(Path(path)), lambda _line: None, reviewed_sha256=digest)
    return [str(artefact) for artefact in artefacts]


_ATTEMPTS = {"key": _use_key, "read": _read_plan, "run": _run_plan, "reviewed": _run_reviewed_plan}

if __name__ == "__main__":
    {"init": init, "die": die, "attempt": attempt}[sys.argv[1]](*sys.argv[2:])
