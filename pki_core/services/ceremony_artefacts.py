"""The files of a ceremony: certificate and transcript, unfinished until the certificate is in service."""

import os
from pathlib import Path

from pki_core.model.errors import CeremonyError, InvariantError
from pki_core.wire.pem import certificate_pem, pem_to_der

_UNFINISHED = ".unfinished"


class Artefacts:
    """Certificate and transcript of one label in a directory."""

    def __init__(self, directory: Path, label: str) -> None:
        self._directory = directory
        self.certificate = directory / f"{label}.pem"
        self.transcript = directory / f"{label}.transcript.txt"

    @property
    def all(self) -> list[Path]:
        """The finished files, the transcript last."""
        return [self.certificate, self.transcript]

    @property
    def are_finished(self) -> bool:
        """Whether both are there and nothing waits for its last name."""
        return all(path.exists() and not _unfinished(path).exists() for path in self.all)

    @property
    def can_be_finished(self) -> bool:
        """Whether both are there and at least one waits for its last name."""
        are_there = all(path.exists() or _unfinished(path).exists() for path in self.all)
        return are_there and not self.are_finished

    def refuse_present(self) -> None:
        """Raise CeremonyError when one of the finished files is there."""
        for path in self.all:
            if path.exists():
                raise CeremonyError(f"{path} exists: a ceremony overwrites nothing")

    def write_certificate(self, certificate_der: bytes) -> None:
        """Write the certificate, unfinished."""
        self._directory.mkdir(parents=True, exist_ok=True)
        _write(_unfinished(self.certificate), certificate_pem(certificate_der))

    def refuse_other(self, certificate_der: bytes) -> None:
        """Raise InvariantError when the certificate's file, read back, does not hold exactly these bytes."""
        path = _unfinished(self.certificate)
        path = path if path.exists() else self.certificate
        if pem_to_der(path.read_text(encoding="ascii"), ("CERTIFICATE",)) != certificate_der:
            raise InvariantError(f"{path} does not hold the certificate that was issued")

    def write_transcript(self, lines: list[str]) -> None:
        """Write the transcript, unfinished."""
        _write(_unfinished(self.transcript), "\n".join([*lines, ""]))

    def finish(self) -> list[Path]:
        """Give what is unfinished its last name; returns both files."""
        for path in self.all:
            if _unfinished(path).exists():
                _unfinished(path).rename(path)
        return self.all


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}{_UNFINISHED}")


def _write(path: Path, text: str) -> None:
    """Write to the disk: what is in service must have its transcript after a power cut, too."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
