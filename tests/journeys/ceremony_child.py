"""A ceremony in a process that is killed: ``python -m tests.journeys.ceremony_child PLACE HOME FILE``.

The place is ``key`` (made, nothing about it stored), ``certificate`` (recorded), ``service`` (everything written, not
in service), ``rename`` (in service) or ``transcript`` (one artefact has its name).
"""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

from pki_core.hsm.soft_key import FileKeyStore
from pki_core.runtime import open_runtime
from pki_core.services.ceremonies import Ceremonies
from pki_core.services.ceremony_artefacts import Artefacts


def killed(*_arguments):
    """End as by a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(place, home, file):
    """Arm the place, run the ceremony."""
    generate, rename = FileKeyStore.generate, Path.rename
    if place == "key":
        FileKeyStore.generate = lambda *arguments: (generate(*arguments), killed())
    elif place == "certificate":
        Artefacts.write_certificate = killed
    elif place == "service":
        Ceremonies._put_into_service = killed
    elif place == "rename":
        Path.rename = killed
    elif place == "transcript":
        Path.rename = lambda path, target: killed() if "transcript" in path.name else rename(path, target)
    with closing(open_runtime(Path(home))) as runtime:
        plan = runtime.ceremonies.read(Path(file))
        runtime.ceremonies.run(plan, print, reviewed_sha256=plan.sha256)


if __name__ == "__main__":
    main(*sys.argv[1:])
