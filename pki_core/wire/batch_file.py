"""Uploaded batch files: finds out what a file is, and reads it in bounded pieces (formats: batch_csv and its siblings).

Whoever reads a batch must be ready to throw away the pieces so far: a file is refused whole when its line 90,000 is no
line of a table, while a row that is merely no request is a row with a ``problem``.
"""

import codecs
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pki_core.model.errors import LimitExceededError, MalformedError
from pki_core.wire.batch_archive import MAGICS, has_entry, read_archive
from pki_core.wire.batch_csv import read_csv
from pki_core.wire.batch_rows import BatchLimits, BatchRow, CsrRows, RowBuilder
from pki_core.wire.batch_sheet import MARK, read_sheet
from pki_core.wire.batch_tables import read_ndjson, read_parquet

__all__ = ["BatchLimits", "BatchRow", "RowBuilder", "file_digest", "read_batch"]

Reader = Callable[[Path, BatchLimits, type[RowBuilder]], Iterator[list[BatchRow]]]

_PARQUET: Final = b"PAR1"
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BY_SUFFIX: Final[dict[str, Reader]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".ndjson": read_ndjson,
    ".jsonl": read_ndjson,
}
_BY_CONTENT: Final = frozenset({".zip", ".xlsx", ".parquet"})  # found by their first octets, or not at all


def read_batch(path: Path, limits: BatchLimits, kind: type[RowBuilder] = CsrRows) -> Iterator[list[BatchRow]]:
    """Yield the rows of a batch file in pieces of at most ``limits.piece_rows``; ``kind`` is what its rows are.

    What can be said about the file without reading it is said at the call, the rest while the pieces are drawn. Row
    ids are passed on as they came, also those that occur twice.

    Raises:
        MalformedError: the file is not what it should be; the sentence names line and column where there are any.
        LimitExceededError: the file is larger than a limit; the sentence names it.
    """
    octets = path.stat().st_size
    if not octets:
        raise MalformedError("the file is empty")
    if octets > limits.max_octets:
        raise LimitExceededError(f"the file has {octets} octets, more than the {limits.max_octets} allowed")
    return _reader(path, limits)(path, limits, kind)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in lower hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reader(path: Path, limits: BatchLimits) -> Reader:
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic == _PARQUET:
        return read_parquet
    if magic in MAGICS:
        return read_sheet if has_entry(path, MARK, limits) else read_archive
    suffix = path.suffix.lower()
    if suffix in _BY_CONTENT:
        raise MalformedError(f"the file is named {suffix}, but its content is something else")
    if magic.startswith(_UTF_16):
        raise MalformedError("the file is UTF-16 text (Excel's 'Unicode Text'): save it as 'CSV UTF-8'")
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    raise MalformedError("the file is none of .csv, .ndjson, .jsonl, .parquet, .xlsx and .zip")
