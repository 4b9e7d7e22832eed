"""The anchor of the audit log: a line of JSON for each checkpoint, in a file outside the store and in the log.

Whoever cuts the store's end off must find and cut every copy of these lines.
"""

import json
import logging
from pathlib import Path

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
        """Add a checkpoint's line."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        entry = {
            "number": checkpoint.number,
            "last_id": checkpoint.last_id,
            "sealed_at": checkpoint.sealed_at.isoformat(),
            "sha256": checkpoint.sha256.hex(),
        }
        line = json.dumps(entry)
        with self._path.open("a", encoding="ascii") as file:
            file.write(line + "\n")
        # A warning, since less is written nowhere by default: whoever collects logs elsewhere has a second anchor.
        _log.warning("audit checkpoint %s", line)

    def _lines(self) -> list[str]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be read: {type(error).__name__}") from error
        return [line for line in text.splitlines() if line.strip()]
