"""The result bundle of a batch: results.csv (RFC 4180), results.parquet, certificates.zip and manifest.json.

Cells are written exactly as they are, also those that start with = + - or @. A spreadsheet may take such a cell for a
formula; but every usual cure (an apostrophe, a tab, a space in front) changes the row id a machine is going to join
on, and changes it in one file and not in the other. What protects the person at the spreadsheet: the row ids are that
partner's own, common names are the identifiers a profile admitted, messages are ours. The manifest says it, too.
"""

import csv
import errno
import json
import os
import secrets
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

from pki_core.model.errors import FileUnusableError, InvariantError, UnavailableError
from pki_core.wire.batch_archive_writer import ChainArchiveWriter
from pki_core.wire.batch_entry_names import EntryNames
from pki_core.wire.hashed_file import HashedFile
from pki_core.wire.pem import certificate_pem

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

CSV_NAME: Final = "results.csv"
PARQUET_NAME: Final = "results.parquet"
ARCHIVE_NAME: Final = "certificates.zip"
MANIFEST_NAME: Final = "manifest.json"

_COLUMNS: Final = ("row_id", "verdict", "code", "message", "common_name", "serial", "not_after", "certificate_pem")
_DICTIONARY: Final = ["verdict", "code", "message", "not_after"]  # few values; not the PEM, of which no two are alike
_PIECE: Final = 5000  # rows of a Parquet row group
_SLICE: Final = 250  # rows of text at a time: half a megabyte, which stays in the processor's cache
_NOTICE: Final = "cells of results.csv are verbatim: import them into a spreadsheet as text, or read results.parquet"
# A matter of the machine, which passes; anything else is wrong with the directory that was named.
_OF_THE_MACHINE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
)

Verdict = Literal["issued", "refused"]


class ResultRow(NamedTuple):
    """What became of one row; of a refused one, serial, not_after and certificate are empty."""

    row_id: str
    verdict: Verdict
    code: str
    message: str
    common_name: str
    serial: str  # lower hex, two digits an octet
    not_after: str  # ISO 8601 with Z
    certificate_der: bytes


def bundled_batch(directory: Path) -> str:
    """Return the id of the batch whose bundle a directory holds; "" when it holds none."""
    try:
        manifest = json.loads((directory / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    batch = manifest.get("batch") if isinstance(manifest, dict) else None
    return str(batch.get("batch_id", "")) if isinstance(batch, dict) else ""


class ResultWriter:
    """Writes a bundle as a stream: all of it appears at the end of the ``with`` block, or nothing changes.

    The files take their names in turn, manifest last, and an older manifest goes first: a directory with a manifest
    holds a whole bundle.
    """

    def __init__(self, directory: Path, chain_pem: str, batch: Mapping[str, str | int]) -> None:
        """Prepare to write into ``directory``; ``chain_pem`` follows each certificate, ``batch`` heads the manifest."""
        self._directory = directory
        self._chain_pem = chain_pem
        self._batch = dict(batch)
        self._waiting: list[ResultRow] = []
        self._rows = 0
        self._issued = 0
        self._names = EntryNames()

    def __enter__(self) -> Self:
        import pyarrow as pa  # noqa: PLC0415  # 50 MB that only a flow should pay
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415

        with _translated():
            self._directory.mkdir(parents=True, exist_ok=True)
            for name in (CSV_NAME, PARQUET_NAME, ARCHIVE_NAME, MANIFEST_NAME):
                for left_over in self._directory.glob(f"{name}.*.part"):  # of a run that was killed
                    left_over.unlink(missing_ok=True)
            mark = secrets.token_hex(4)
            self._csv, self._parquet, self._archive = (
                HashedFile(self._directory, name, mark) for name in (CSV_NAME, PARQUET_NAME, ARCHIVE_NAME)
            )
            self._manifest = HashedFile(self._directory, MANIFEST_NAME, mark)
            self._files = (self._csv, self._parquet, self._archive, self._manifest)
            self._chains = ChainArchiveWriter(self._archive, self._directory, self._chain_pem.encode("ascii"))
            self._csv.write((",".join(_COLUMNS) + "\n").encode())
        self._schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in _COLUMNS])
        self._tables = pq.ParquetWriter(
            self._parquet, self._schema, compression="zstd", use_dictionary=_DICTIONARY, write_statistics=["row_id"]
        )
        return self

    def write(self, rows: Sequence[ResultRow]) -> None:
        """Add rows, in the order in which they are to appear."""
        self._waiting += rows
        while len(self._waiting) >= _PIECE:
            piece, self._waiting = self._waiting[:_PIECE], self._waiting[_PIECE:]
            self._write_piece(piece)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            self._chains.close()
            for file in self._files:
                file.discard()

    def _write_piece(self, piece: Sequence[ResultRow]) -> None:
        pems = [_pem_of(row) for row in piece]
        with _translated():
            self._tables.write_table(self._table(piece, pems))
            for start in range(0, len(piece), _SLICE):
                self._write_texts(piece[start : start + _SLICE], pems[start : start + _SLICE])
        self._rows += len(piece)

    def _write_texts(self, rows: Sequence[ResultRow], pems: Sequence[str]) -> None:
        self._csv.write(_csv_text(rows, pems).encode())
        issued = [(row, pem) for row, pem in zip(rows, pems, strict=True) if pem]
        self._chains.add((self._names.name(row.row_id, row.serial), pem.encode()) for row, pem in issued)
        self._issued += len(issued)

    def _table(self, piece: Sequence[ResultRow], pems: Sequence[str]) -> "pa.Table":
        import pyarrow as pa  # noqa: PLC0415  # as in __enter__

        columns = list(zip(*piece, strict=True))[:-1]  # all but the certificate's DER
        return pa.Table.from_arrays([_strings(column) for column in (*columns, pems)], schema=self._schema)

    def _finish(self) -> None:
        if self._waiting:
            self._write_piece(self._waiting)
        with _translated():
            self._tables.close()
            self._chains.finish()
            files = {file.name: file.seal() for file in self._files[:-1]}
            manifest = {
                "batch": self._batch,
                "counts": {"rows": self._rows, "issued": self._issued, "refused": self._rows - self._issued},
                "files": files,
                "notice": _NOTICE,
            }
            self._manifest.write((json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
            self._manifest.seal()
            (self._directory / MANIFEST_NAME).unlink(missing_ok=True)
            for file in self._files:
                file.publish()
            _sync_directory(self._directory)


class _Lines:
    """What a csv.writer writes to; each call is one line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.write = self.lines.append


def _csv_text(piece: Sequence[ResultRow], pems: Sequence[str]) -> str:
    """Return the lines of a piece.

    The csv module looks at each character, 8 us for a PEM block, which needs nothing but quotes around it. Its line
    ends are CR LF and are cut off: only so does it also quote a cell with a lone CR, which readers take for an end.
    """
    sink = _Lines()
    csv.writer(sink, lineterminator="\r\n").writerows(row[:-1] for row in piece)
    return "".join(
        [f'{line[:-2]},"{pem}"\n' if pem else f"{line[:-2]},\n" for line, pem in zip(sink.lines, pems, strict=True)]
    )


def _strings(column: Sequence[str]) -> "pa.StringArray":
    """Return a column of text from its buffers: ``pyarrow.array`` would import pandas, 47 MB for nothing."""
    import pyarrow as pa  # noqa: PLC0415  # as in ResultWriter.__enter__

    encoded = [text.encode() for text in column]
    offsets = array("i", accumulate(map(len, encoded), initial=0))
    return pa.StringArray.from_buffers(len(column), pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded)))


def _pem_of(row: ResultRow) -> str:
    if row.verdict == "refused":
        return ""
    if not row.certificate_der or not row.serial:
        raise InvariantError(f"row {row.row_id} is issued, but has no certificate")
    return certificate_pem(row.certificate_der)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        family = UnavailableError if error.errno in _OF_THE_MACHINE else FileUnusableError
        raise family(f"the result files cannot be written: {error.strerror or error}") from error
