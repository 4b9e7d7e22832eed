"""What the demonstration asks of openssl and curl, as a partner's software would, shown as somebody would type it."""

import re
import shlex
import subprocess
import time
from pathlib import Path

from flows.output import say
from pki_core.model.errors import InvariantError

_NEWS_SECONDS = 1.5  # every front knows of a revocation within one second
_FOLDER = re.compile(r"(?<![\w:/])/(?:[^/\s]+/)+(?=[\w.-]+$)")  # of a file in an argument, not of an address


def chain_of(home: Path, label: str, directory: Path) -> Path:
    """Write a Sub-CA 2 and the Sub-CA 1 above it into one file, and return that."""
    chain = directory / f"{label}.chain.pem"
    names = (label, label.replace("sub2", "sub1"))
    chain.write_text("".join((home / "ca" / f"{name}.pem").read_text() for name in names))
    return chain


def ask_ocsp(home: Path, label: str, certificate: Path, http: str, expected: str) -> None:
    """Ask about a certificate of the CA ``label`` until the answer is the expected one: good, or revoked.

    Raises:
        InvariantError: it is not, or openssl does not accept it.
    """
    chain = chain_of(home, label, certificate.parent)
    command = ["openssl", "ocsp", "-issuer", str(home / "ca" / f"{label}.pem"), "-cert", str(certificate)]
    command += ["-url", f"{http}/ocsp", "-CAfile", str(home / "ca" / "v2g-root.pem"), "-verify_other", str(chain)]
    say(f"$ {printed(command)}")
    deadline = time.monotonic() + _NEWS_SECONDS
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # on PATH
        told = done.stdout + done.stderr
        # Both: openssl prints the status of an answer whose signature it does not accept, too.
        if "Response verify OK" in told and f"{certificate}: {expected}" in told:
            break
        if time.monotonic() > deadline:
            raise InvariantError(f"OCSP did not say {expected}: {told[:300]}")
        time.sleep(0.2)
    say(f"  Response verify OK, the certificate is {expected}")


def show(command: list[str]) -> None:
    """Run a command, showing it. InvariantError when it fails."""
    say(f"$ {printed(command)}")
    output(command)


def output(command: list[str]) -> str:
    """Run a command and return what it printed. InvariantError when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # on PATH
    if done.returncode:
        raise InvariantError(f"{command[0]} {command[1]} failed: {(done.stderr or done.stdout)[:300]}")
    return done.stdout.strip()


def printed(command: list[str]) -> str:
    """Return a command as somebody would type it beside the files."""
    return shlex.join([_FOLDER.sub("", part) for part in command])
