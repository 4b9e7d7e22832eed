"""The demonstration: the main job from nothing, then the online front, with the operator's own commands and openssl."""

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from flows import demo_front
from flows.output import say
from flows.sample_batch import write_sample
from pki_core.model.errors import ConflictError, InvariantError

_MARK = ".pncpki-demo"
_BAD_ROWS = 14
_STEPS = 9
_SHOWN_REFUSALS = 20


def run_demo(directory: Path, rows: int, key_store: str) -> None:
    """Run everything in a directory of its own, made anew.

    Raises:
        ConflictError: the directory holds something that is not an earlier demonstration.
        InvariantError: openssl does not accept what was signed.
    """
    started = time.monotonic()
    directory = directory.resolve()
    _make_room(directory)
    home, upload, results = directory / "home", directory / "sample.csv", directory / "results"
    key_store = key_store or _default_key_store()
    _step(1, "an environment: keys, database, CAs")
    _pncpki(home, "init", "--env", "dev", *(("--key-store", key_store) if key_store else ()))
    _step(2, f"a mobility operator's batch of {rows:,} requests, {_BAD_ROWS} of them wrong")
    write_sample(upload, rows, _BAD_ROWS)
    submitted = json.loads(_pncpki(home, "batch", "submit", str(upload), "--partner", "demo-mo", "--json"))
    batch_id = submitted["batch_id"]
    _step(3, f"signed by the MO Sub-CA 2 through the Prefect flow (batch {batch_id})")
    _pncpki(home, "batch", "sign", batch_id)
    _step(4, "the result bundle")
    _pncpki(home, "batch", "result", batch_id, "--out", str(results))
    _show_refusals(results / "results.csv")
    _step(5, "openssl verifies every certificate up to the V2G root")
    verified = _verify(home, results / "results.csv", directory / "verify")
    if demo_front.is_possible():
        numbers = itertools.count(6)
        demo_front.run_front(home, directory / "front", lambda title: _step(next(numbers), title), _pncpki)
    else:
        say("\ncurl is not installed: the online front is left out")
    took = time.monotonic() - started
    serial = _first_serial(results / "results.csv")
    say(
        f"\nDone in {took:.0f} s: {verified:,} certificates issued and verified.\n\n"
        f"  environment   {home}\n"
        f"  CAs           {home / 'ca'} (each with the transcript of its ceremony)\n"
        f"  upload        {upload}\n"
        f"  results       {results} (results.csv, results.parquet, certificates.zip, manifest.json)\n\n"
        f"Try next:\n"
        f"  export PNCPKI_HOME={home}\n"
        f"  {_program()} batch status {batch_id}\n"
        f"  {_program()} certificate show {serial}\n"
        f"  {_program()} ca list\n"
        f"  {_program()} serve                      # EST on port 8443, OCSP and CRLs on 8080\n"
        f"  {_program()} batch submit YOUR_FILE.csv --partner demo-mo"
    )


def _make_room(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        if not (directory / _MARK).exists():
            raise ConflictError(f"{directory} is not empty and no earlier demonstration; choose another with --dir")
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _MARK).touch()


def _default_key_store() -> str:
    from pki_core.runtime import softhsm_is_installed  # noqa: PLC0415

    if softhsm_is_installed():
        return ""
    say("softhsm2 is not installed: the demonstration uses encrypted key files (dev only) instead of an HSM token")
    return "file"


def _step(number: int, title: str) -> None:
    say(f"\n[{number}/{_STEPS}] {title}")


def _program() -> str:
    """Return how the reader can call the command from where they stand."""
    program = Path(sys.executable).with_name("pncpki")
    try:
        return str(program.relative_to(Path.cwd()))
    except ValueError:
        return str(program)


def _pncpki(home: Path, *arguments: str) -> str:
    """Run one of our commands as an operator would; its text shows, its failure ends the demonstration."""
    command = [sys.executable, "-m", "flows", *arguments]
    shown = ["pncpki", *(argument.replace(str(home.parent) + "/", "demo/") for argument in arguments)]
    say(f"$ {' '.join(shown)}")
    done = subprocess.run(  # noqa: S603  # our own program
        command, env={**os.environ, "PNCPKI_HOME": str(home)}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise InvariantError(f"the command ended with exit code {done.returncode}")
    if "--json" not in arguments:
        say("\n".join(line for line in done.stdout.splitlines() if not line.startswith("next:")))
    return done.stdout


def _show_refusals(table: Path) -> None:
    with table.open(newline="", encoding="utf-8") as file:
        refused = [row for row in csv.DictReader(file) if row["verdict"] == "refused"]
    for row in refused[:_SHOWN_REFUSALS]:
        say(f"  {row['row_id']}  {row['code']:28} {row['message']}")
    say(f"  {len(refused)} rows refused, {len(Counter(row['code'] for row in refused))} different reasons")


def _verify(home: Path, table: Path, directory: Path) -> int:
    directory.mkdir()
    leafs = []
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["verdict"] == "issued":
                leafs.append(directory / f"{row['serial']}.pem")
                leafs[-1].write_text(row["certificate_pem"], encoding="ascii")
    chain = directory / "chain.pem"
    chain.write_text("".join((home / "ca" / f"{label}.pem").read_text() for label in ("mo-sub2", "mo-sub1")))
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(home / "ca" / "v2g-root.pem")]
    command += ["-untrusted", str(chain), *map(str, leafs)]
    say("$ openssl verify -x509_strict -CAfile v2g-root.pem -untrusted chain.pem *.pem")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # on PATH
    accepted = sum(1 for line in done.stdout.splitlines() if line.endswith(": OK"))
    if done.returncode or accepted != len(leafs):
        raise InvariantError(f"openssl accepted {accepted} of {len(leafs)} certificates: {done.stderr[:300]}")
    say(f"{accepted:,} of {len(leafs):,} OK")
    shutil.rmtree(directory)
    return accepted


def _first_serial(table: Path) -> str:
    with table.open(newline="", encoding="utf-8") as file:
        return next(row["serial"] for row in csv.DictReader(file) if row["verdict"] == "issued")
