"""Batch tables as XLSX (ISO/IEC 29500), first sheet.

Not flat in memory: the format keeps all text of a workbook in one part, which must be read before the first row. So a
workbook has a limit of its own, and anything larger belongs into CSV or Parquet.
"""

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final
from zipfile import BadZipFile

from pki_core.model.errors import MalformedError
from pki_core.wire.batch_archive import check_archive
from pki_core.wire.batch_rows import BatchLimits, BatchRow, CsrRows, RowBuilder

MARK: Final = "[Content_Types].xml"  # ISO/IEC 29500-2 7.3.7: what tells a workbook from any other archive

_MAX_OCTETS: Final = 128 * 1024 * 1024  # unpacked: 130,000 requests as PEM, read within 200 MB
_MAX_COLUMNS: Final = 256
_MAX_ROW: Final = 1_048_576  # Excel's last row; a file may claim any other, and openpyxl fills the gap with rows

Row = tuple[object, ...]

# What openpyxl lets through when the XML is not what it expects; it has no error of its own for most of it
_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BadZipFile,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,  # xml.etree's ParseError
    TypeError,
    ValueError,
    zlib.error,
)


def read_sheet(path: Path, limits: BatchLimits, kind: type[RowBuilder] = CsrRows) -> Iterator[list[BatchRow]]:
    """Yield the rows of a workbook's first sheet in pieces."""
    check_archive(path, replace(limits, max_archive_octets=min(limits.max_archive_octets, _MAX_OCTETS)))
    builder = kind(limits)
    with path.open("rb") as stream:
        header, rows = _open(stream)
        columns = kind.find(header, "row 1: ")
        width, read = len(header), 1
        while piece := _next_rows(rows, limits.piece_rows):
            read += len(piece)
            if read > _MAX_ROW:
                raise MalformedError(f"the sheet has rows after row {_MAX_ROW}")
            filled = [row + (None,) * (width - len(row)) for row in piece if any(cell is not None for cell in row)]
            if filled:
                yield builder.build({name: [row[at] for row in filled] for name, at in columns.items()})
    builder.finish("row 1: there is a header, but no row follows it")


def _open(stream: BinaryIO) -> tuple[list[str], Iterator[Row]]:
    """Return the header's names and the rows below it."""
    import openpyxl  # type: ignore[import-untyped]  # noqa: PLC0415  # as pandas: only a flow should pay

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which hold no requests
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
            sheet = workbook.worksheets[0]
            sheet.reset_dimensions()  # the stated size of a sheet may be anything
            first = next(sheet.iter_rows(max_row=1, max_col=_MAX_COLUMNS, values_only=True), ())
    except _ERRORS as error:
        raise MalformedError("the workbook cannot be read; is it an .xlsx file without a password?") from error
    header = [str(cell) if cell is not None else "" for cell in first]
    rows = sheet.iter_rows(min_row=2, max_col=len(header) or 1, values_only=True)
    return header, rows


def _next_rows(rows: Iterator[Row], count: int) -> list[Row]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(islice(rows, count))
    except _ERRORS as error:
        raise MalformedError("a row of the workbook's first sheet cannot be read") from error
