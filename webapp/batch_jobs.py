"""The heavy parts of batches in processes of their own: loading a file, writing results.

pandas and pyarrow stay out of the web process, a file that eats memory ends its own process and no other, and what was
begun goes on when the client has gone: for a while, and no longer than the front lives. Such a process has a limit of
memory (webapp/job_limits.py), is told by its arguments what to do, and answers with one JSON line.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import Any

from pki_core.model.errors import (
    ConflictError,
    LimitExceededError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    OverloadedError,
    PkiError,
    UnavailableError,
    WorkerLostError,
)
from pki_core.runtime import Runtime, open_runtime
from pki_core.services.uploads import Upload

_ERRORS: tuple[type[PkiError], ...] = (
    ConflictError,
    LimitExceededError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    OverloadedError,
)
_DAY = 86_400
_LONGEST = 1800  # seconds of one job, however patient its client is: a million rows take a few minutes
_OWNER_ONLY = 0o700


class BatchJobs:
    """Runs jobs of one environment and waits for them."""

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self._home = runtime.home
        self._wait = settings.batches.wait_seconds
        self._keep = settings.batches.spool_days * _DAY
        self._at_work = BoundedSemaphore(settings.batches.uploads_at_once)
        # Neither job signs: a process that reads files of strangers need not know the PIN.
        self._environment = {
            name: value for name, value in os.environ.items() if name != settings.key_store.pin_variable
        }

    @contextlib.contextmanager
    def turn(self) -> Iterator["Turn"]:
        """Hold one of the places for uploads; OverloadedError when all are taken.

        A job that goes on behind its request keeps the place until it ends.
        """
        if not self._at_work.acquire(blocking=False):
            raise OverloadedError("other files are being loaded; come back in a moment")
        turn = Turn(self._at_work.release)
        try:
            yield turn
        finally:
            turn.close()

    def new_file(self, suffix: str) -> Path:
        """Return where to write an upload; what earlier ones left a day ago is removed."""
        directory = _directory(self._home / "uploads")
        _remove_old(directory, _DAY)
        return directory / f"{secrets.token_hex(16)}{suffix}"

    def load(self, upload: Upload, turn: "Turn") -> dict[str, Any]:
        """Load a file into the store, then remove it. Returns batch_id, total, new.

        Raises:
            RequestError: as ``Uploads.submit``.
            OverloadedError: it goes on and takes longer than a request may; the same file again finds its batch.
            WorkerLostError: the process died.
        """
        # Joined by "=": a name that begins with a dash is a name all the same.
        named = {
            "file": upload.path,
            "partner": upload.partner_id,
            "profile": upload.profile_name,
            "kind": upload.kind.value,
        }
        arguments = [f"--{name}={value}" for name, value in named.items()]
        turn.file = upload.path
        return self._run("load", [*arguments, f"--name={upload.source_name}"], turn)

    def results(self, batch_id: str) -> Path:
        """Return the directory with the result bundle of a finished batch, which is written at most once.

        Raises:
            ConflictError: rows are still without a verdict.
            OverloadedError: it is still being written.
        """
        spool = _directory(self._home / "spool")
        directory = spool / batch_id
        if not (directory / "manifest.json").is_file():
            _remove_old(spool, self._keep)
            with contextlib.closing(Turn()) as turn:
                self._run("bundle", [f"--batch={batch_id}", f"--out={directory}"], turn)
        with contextlib.suppress(OSError):
            os.utime(directory)  # its days count from the last fetch
        return directory

    def _run(self, act: str, arguments: list[str], turn: "Turn") -> dict[str, Any]:
        command = [sys.executable, "-m", "webapp", act, "--home", str(self._home), "--json", "--lifeline", *arguments]
        lifeline, held = (
            os.pipe()
        )  # nobody writes: the job ends when the end that is held here closes, with us or by us
        turn.held = held
        with os.fdopen(lifeline, "rb") as standard_input:
            job = subprocess.Popen(  # noqa: S603  # our own module; values are single arguments
                command,
                env=self._environment,
                stdin=standard_input,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                umask=0o077,
                start_new_session=True,
            )
        try:
            output, _ = job.communicate(timeout=self._wait)
        except subprocess.TimeoutExpired:
            turn.goes_on = True
            Thread(target=_bury, args=(job, turn), daemon=True).start()
            raise OverloadedError("this takes longer; send the same request again in a while") from None
        return _answer_of(output, job.returncode)


class Turn:
    """What a job holds while it runs, beyond its request if need be: a place, its lifeline, its file."""

    def __init__(self, release: Callable[[], None] = lambda: None) -> None:
        self.goes_on = False
        self.file: Path | None = None
        self.held: int | None = None
        self._release = release

    def close(self) -> None:
        """The request is over."""
        if not self.goes_on:
            self.end()

    def end(self) -> None:
        """The job is over: what it held is free, and nothing is left of its file, however it ended."""
        if self.held is not None:
            os.close(self.held)
        if self.file is not None:
            self.file.unlink(missing_ok=True)
        self._release()


def _bury(job: "subprocess.Popen[bytes]", turn: Turn) -> None:
    """Wait for a job whose client has gone, and end it when it takes too long."""
    try:
        job.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        job.kill()
        job.communicate()
    finally:
        turn.end()


def load_file(home: Path, upload: Upload) -> dict[str, Any]:
    """Load a file and remove it: what the process of ``BatchJobs.load`` does."""
    runtime = open_runtime(home)
    try:
        batch, fresh = runtime.uploads.submit(upload)
    finally:
        runtime.close()
        upload.path.unlink(missing_ok=True)
    return {"batch_id": batch.id, "total": batch.total, "new": fresh}


def write_bundle(home: Path, batch_id: str, out: Path) -> dict[str, Any]:
    """Write a result bundle: what the process of ``BatchJobs.results`` does. Two of them take turns."""
    with out.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "manifest.json").is_file():
            runtime = open_runtime(home)
            try:
                runtime.results.write(batch_id, out)
            finally:
                runtime.close()
    return {"out": str(out)}


def _answer_of(output: bytes, code: int) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise WorkerLostError(f"the process for this file ended with {code}") from None
    if code == 0:
        return answer
    error, message = str(answer.get("error", "")), str(answer.get("message", ""))
    raise _error_of(error, message)


def _error_of(code: str, message: str) -> PkiError:
    for known in _ERRORS:
        if known.code == code:
            return known(message)
    return UnavailableError(f"{code}: {message}")


def _directory(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    path.chmod(_OWNER_ONLY)  # the umask of the server leaves directories nobody can enter
    return path


def _remove_old(directory: Path, seconds: float) -> None:
    """Remove what nobody has touched for so long."""
    end = time.time() - seconds
    for path in directory.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < end:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
