"""Files of a result bundle: under a temporary name until all are whole, hashed while they are written."""

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


class HashedFile(io.RawIOBase):
    """A file under a temporary name, hashed while it is written."""

    def __init__(self, directory: Path, name: str, mark: str) -> None:
        self.name = name
        self._target = directory / name
        self._path = directory / f"{name}.{mark}.part"
        self._stream = self._path.open("xb")
        self._digest = hashlib.sha256()
        self._octets = 0
        self._is_discarded = False

    def writable(self) -> bool:
        """Return True: pyarrow asks."""
        return True

    def tell(self) -> int:
        """Return the length so far."""
        return self._octets

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer, as the base class has it
        """Append some octets; a discarded file takes them and keeps nothing, as pyarrow writes a footer even then."""
        if self._is_discarded:
            return len(data)
        self._digest.update(data)
        self._octets += len(data)
        return self._stream.write(data)

    def seal(self) -> dict[str, str | int]:
        """Put the file on the disk and say what it is."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        return {"sha256": self._digest.hexdigest(), "octets": self._octets}

    def publish(self) -> None:
        """Give the file its name."""
        self._path.replace(self._target)

    def discard(self) -> None:
        """Remove the file unless it has been published."""
        self._is_discarded = True
        self._path.unlink(missing_ok=True)
        with suppress(OSError):  # of a full disk; what it would have held is not wanted any more
            self._stream.close()
