"""Who may be inside a PKCS#11 module: many callers, or one that starts or stops it (PKCS#11 2.40, 5.4)."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pki_core.model.errors import HsmUnavailableError, SettingsError

_POLL_SECONDS = 0.01


class Gate:
    """Callers of the module come and go; ``alone`` waits until all have left and keeps new ones out.

    C_Finalize while another thread is inside any other call is undefined (PKCS#11 2.40, 5.4): it crashes SoftHSM.
    A thread that is inside must not enter again nor ask to be alone.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._patience = patience_seconds
        self._inside = 0
        self._closed = False

    def enter(self) -> None:
        """Come in; ``leave`` must follow."""
        with self._lock:
            if self._closed:
                self._wait_until_open()
            self._inside += 1

    def leave(self) -> None:
        """Go out."""
        with self._lock:
            self._inside -= 1
            if self._closed and not self._inside:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only caller inside."""
        self.close()
        try:
            yield
        finally:
            self.open()

    def close(self) -> None:
        """Wait until all have left and keep everybody out; ``open`` must follow."""
        with self._lock:
            self._wait_until_open()
            self._closed = True
            if not self._changed.wait_for(lambda: not self._inside, self._patience):
                self._open()
                raise HsmUnavailableError("a call into the token does not return")

    def open(self) -> None:
        """Let callers in again."""
        with self._lock:
            self._open()

    def _open(self) -> None:
        self._closed = False
        self._changed.notify_all()

    def _wait_until_open(self) -> None:
        if not self._changed.wait_for(lambda: not self._closed, self._patience):
            raise HsmUnavailableError("the token is being opened and does not answer")


@contextmanager
def locked(lock_file: Path | None, patience_seconds: float) -> Iterator[None]:
    """Hold the lock file against other processes.

    Two processes that start together see no token in 4 of 100 starts: a login rewrites SoftHSM's token file while
    the other process reads it.
    """
    if lock_file is None:
        yield
        return
    try:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"lock file {lock_file}: {error.strerror}") from error
    try:
        _wait_for_lock(descriptor, lock_file, time.monotonic() + patience_seconds)
        try:
            yield
        finally:
            # Closing is not enough: a child forked meanwhile holds a copy, and only this releases that one as well.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, lock_file: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HsmUnavailableError(f"another process holds the lock file {lock_file}") from None
            time.sleep(_POLL_SECONDS)
        else:
            return
