"""The anchor of the audit log: a line of JSON for each checkpoint, in a file outside the store and in the log.

Whoever cuts the store's end off must find and cut every copy of these lines.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pki_core.model.audit import Checkpoint
from pki_core.model.errors import SettingsError

_log = logging.getLogger("pncpki.audit")


class Anchor:
    """One file of lines; those collected from logs may have words before the JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[dict[int, str], list[str]]:
        """Return the hash of each checkpoint by its number, and what is wrong with the file.

        Raises:
            SettingsError: there is a file, and it cannot be opened.
        """
        found: dict[int, str] = {}
        faults: list[str] = []
        for place, line in enumerate(self._lines(), start=1):
            try:
                entry = json.loads(line[line.index("{") :])
                number, digest = int(entry["number"]), str(entry["sha256"])
            except (ValueError, KeyError, TypeError):
                faults.append(f"line {place} of {self._path.name} cannot be read")
                continue
            if found.setdefault(number, digest) != digest:
                faults.append(f"line {place} of {self._path.name} names another checkpoint {number} than one before it")
        return found, faults

    def write(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint's line; it is on the disk when this returns. Raises as ``read``."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._locked() as file:
            whole, begun = _parted(file)
            _put(file, len(whole + begun), (b"\n" if begun else b"") + _line(checkpoint))
        # A warning, since less is written nowhere by default: whoever collects logs elsewhere has a second anchor.
        _log.warning("audit checkpoint %s", _line(checkpoint).decode("ascii").strip())

    def mend(self, checkpoint: Checkpoint) -> None:
        """Finish the last line where it is this checkpoint's and a power cut tore it; leave anything else as it is.

        A torn line has no end of line: a part of what was to be written, and zeros that a file system may put behind.
        Raises as ``read``.
        """
        if not self._path.exists():
            return
        with self._locked() as file:
            whole, begun = _parted(file)
            line = _line(checkpoint)
            if begun and line.startswith(begun.rstrip(b"\0")) and line not in whole.splitlines(keepends=True):
                _put(file, len(whole), line)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        try:
            opened = self._path.open("a+b")
        except OSError as error:
            raise _unopened(self._path, error) from error
        with opened as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # another sealer may be writing; closing gives it back
            yield file

    def _lines(self) -> list[str]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unopened(self._path, error) from error
        return [line for line in text.splitlines() if line.strip()]


def _unopened(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{path} cannot be opened: {type(error).__name__}")


def _line(checkpoint: Checkpoint) -> bytes:
    entry = {
        "number": checkpoint.number,
        "last_id": checkpoint.last_id,
        "sealed_at": checkpoint.sealed_at.isoformat(),
        "sha256": checkpoint.sha256.hex(),
    }
    return json.dumps(entry).encode("ascii") + b"\n"


def _parted(file: BinaryIO) -> tuple[bytes, bytes]:
    """Return the lines that have an end, and what stands behind them."""
    file.seek(0)
    content = file.read()
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _put(file: BinaryIO, place: int, octets: bytes) -> None:
    file.truncate(place)
    file.write(octets)
    file.flush()
    os.fsync(file.fileno())
