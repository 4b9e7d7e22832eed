"""Where a PIN or passphrase comes from: a private file or the environment, read when needed and never kept."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pki_core.model.errors import SettingsError


@dataclass(frozen=True, slots=True)
class PinSource:
    """A place that holds a PIN; the PIN itself is not part of the value, so no repr or log can show it."""

    file: Path | None = None
    environment: str = ""

    @classmethod
    def from_file(cls, path: Path) -> "PinSource":
        """Name a file; SettingsError unless only its owner can read it."""
        source = cls(file=path)
        os.close(_open_private(path))
        return source

    @classmethod
    def from_environment(cls, name: str) -> "PinSource":
        """Name an environment variable."""
        return cls(environment=name)

    def read(self) -> str:
        """Return the PIN. Pass it on inside one expression: a local name would appear in a traceback."""
        text = _read_private(self.file) if self.file is not None else os.environ.get(self.environment, "")
        if not text:
            raise SettingsError(f"there is no PIN in {self._place()}")
        return text

    def __repr__(self) -> str:
        return f"PinSource({self._place()})"

    def _place(self) -> str:
        return f"file {self.file}" if self.file is not None else f"environment variable {self.environment}"


def _open_private(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"PIN file {path}: {error.strerror}") from error
    mode = os.fstat(descriptor).st_mode  # of the open file, not of the name: nobody can swap it in between
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        os.close(descriptor)
        raise SettingsError(f"PIN file {path} is open to its group or to others: chmod 600 it")
    return descriptor


def _read_private(path: Path) -> str:
    with os.fdopen(_open_private(path), "rb") as stream:
        content = stream.read().removesuffix(b"\n")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"PIN file {path} is not UTF-8 text") from None  # the error would quote the PIN
