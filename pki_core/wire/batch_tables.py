"""Batch tables as NDJSON (one RFC 8259 object a line) and Apache Parquet."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from pki_core.model.errors import LimitExceededError, MalformedError
from pki_core.wire.batch_rows import BatchLimits, BatchRow, CsrRows, RowBuilder

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

_MAX_LINE: Final = 1024 * 1024  # octets of one JSON object
_PIECE_OCTETS: Final = 32 * 1024 * 1024  # long lines make shorter pieces
_MAX_MESSAGE: Final = 200
_NO_ROW: Final = "the file has no row"


class _Members(list[tuple[str, Any]]):
    """The members of a JSON object as they stand: a dictionary would keep the last of two with one name."""


def read_ndjson(path: Path, limits: BatchLimits, kind: type[RowBuilder] = CsrRows) -> Iterator[list[BatchRow]]:
    """Yield the rows of a file with one JSON object a line, in pieces.

    The json module, not pandas: both take 2.5 us a row, but pandas turns a lone surrogate into "", a column of numbers
    with a gap into floats, and cannot say where an error is.
    """
    builder = kind(limits)
    names = (*kind.required, *kind.optional)
    with path.open("rb") as stream:
        lines = _json_objects(stream, kind)
        found_before: set[str] = set()
        while objects := _json_piece(lines, limits.piece_rows):
            if not found_before:  # a table of something else is refused whole, as in every other format
                found_before.update(*objects)
                kind.find(list(found_before), "")
            yield builder.build({name: [found.get(name) for found in objects] for name in names})
    builder.finish("the file is empty")


def _json_piece(lines: Iterator[tuple[int, dict[str, Any]]], longest: int) -> list[dict[str, Any]]:
    objects, size = [], 0
    for octets, found in lines:
        objects.append(found)
        size += octets
        if len(objects) >= longest or size >= _PIECE_OCTETS:
            break
    return objects


def _json_objects(stream: BinaryIO, kind: type[RowBuilder]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's length and object, with the keys in lower case."""
    number = 0
    while octets := stream.readline(_MAX_LINE + 1):
        number += 1
        if len(octets) > _MAX_LINE:
            raise LimitExceededError(f"line {number}: the line is longer than {_MAX_LINE} octets")
        try:
            text = octets.decode("utf-8-sig" if number == 1 else "utf-8")
            found = json.loads(text, object_pairs_hook=_Members) if not text.isspace() else None
        except UnicodeDecodeError as error:
            column = len(octets[: error.start].decode()) + 1
            octet = octets[error.start]
            raise MalformedError(f"line {number}, column {column}: the octet 0x{octet:02x} is not UTF-8") from error
        except json.JSONDecodeError as error:
            raise MalformedError(f"line {number}, column {error.pos + 1}: {error.msg}") from error
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits; 1,000 brackets
            raise MalformedError(f"line {number}, column 1: the JSON text is not for reading") from error
        if found is not None:
            if not isinstance(found, _Members):
                raise MalformedError(f"line {number}, column 1: the line is not a JSON object")
            names = [name.strip().lower() for name, _ in found]
            row = dict(zip(names, (value for _, value in found), strict=True))
            if len(row) < len(names):
                kind.refuse_doubles(names, f"line {number}: ")
            yield len(octets), row


def read_parquet(path: Path, limits: BatchLimits, kind: type[RowBuilder] = CsrRows) -> Iterator[list[BatchRow]]:
    """Yield the rows of a Parquet file in pieces.

    The sizes in the footer are all there is to go by before a page is unpacked. They are checked, but a file may lie:
    the memory limit of the process that reads is the second line. Where rows share long values, text is read as a
    dictionary and stays one: such a value is held once, and one that is too long is cut before any row gets it.
    """
    import pyarrow as pa  # noqa: PLC0415  # as pandas: 50 MB that only a flow should pay
    import pyarrow.parquet as pq  # noqa: PLC0415

    builder = kind(limits)
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        if not metadata.num_rows:  # pandas gives columns without a value types of its own
            kind.find(schema.names, "")
            builder.finish(_NO_ROW)
        columns = _parquet_columns(schema, kind)
        rows = _rows_at_once(metadata, limits)
        names = list(columns.values())
        texts = [name for name in names if _is_text(schema.field(name).type) or _is_octets(schema.field(name).type)]
        # buffer_size: read pages as they come, not whole column chunks
        usual = partial(pq.ParquetFile, path, buffer_size=256 * 1024, pre_buffer=False)
        with usual() as plain, usual(read_dictionary=texts) as folded:
            for group in range(metadata.num_row_groups):
                file = folded if _unfolds(folded, group, texts, rows) else plain
                for batch in file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
                    batch.validate(full=True)  # the reader believes the file about UTF-8
                    cells = {name: _cells(batch.column(spelt), limits.max_cell) for name, spelt in columns.items()}
                    if found := builder.build(cells):
                        yield found
    except pa.ArrowMemoryError:
        raise  # of a process with a limit: nothing is wrong with the file but its size
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MalformedError(f"the Parquet file cannot be read: {_one_line(str(error))}") from error
    builder.finish(_NO_ROW)


def _unfolds(folded: "pq.ParquetFile", group: int, texts: list[str], rows: int) -> bool:
    """Tell whether the values that rows of a row group share would be large when each row had its own.

    They stand before its first row. Read as a dictionary it would collect the others, too, so not every one is.
    """
    import pyarrow.compute as pc  # type: ignore[import-untyped]  # noqa: PLC0415

    for batch in folded.iter_batches(1, row_groups=[group], columns=texts, use_threads=False):
        lengths = [pc.max(pc.binary_length(column.dictionary)).as_py() or 0 for column in batch.columns]
        return max(lengths, default=0) * rows > _PIECE_OCTETS
    return False


def _parquet_columns(schema: "pa.Schema", rows: type[RowBuilder]) -> dict[str, str]:
    """Return our columns with their names as the file spells them."""
    import pyarrow as pa  # noqa: PLC0415

    columns = rows.find(schema.names, "")
    for name, at in columns.items():
        kind = schema.types[at]
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_text, is_octets = _is_text(kind), name in rows.octets and _is_octets(kind)
        is_number = name in rows.numbers and pa.types.is_integer(kind)  # as in a sheet or NDJSON
        is_moment = name in rows.moments and (pa.types.is_timestamp(kind) or pa.types.is_date(kind))
        if not (is_text or is_octets or is_number or is_moment):
            raise MalformedError(f"the column '{schema.names[at].strip()}' is of type {_one_line(str(kind))}, not text")
    return {name: schema.names[at] for name, at in columns.items()}


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_octets(kind: "pa.DataType") -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _rows_at_once(metadata: "pq.FileMetaData", limits: BatchLimits) -> int:
    """Return how many rows a piece has: long rows make shorter pieces. A file beyond the limits is refused."""
    if metadata.num_rows > limits.max_rows:
        raise LimitExceededError(f"the file has more than {limits.max_rows} rows")
    unpacked: int = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    if unpacked > limits.max_archive_octets:
        raise LimitExceededError(f"the file unpacks to more than {limits.max_archive_octets} octets")
    shorter: int = _PIECE_OCTETS * metadata.num_rows // max(unpacked, 1)
    return max(1, min(limits.piece_rows, shorter))


def _one_line(message: str) -> str:
    """Return what a library says about a file's inside, which may quote the file, as something one can print."""
    first = message.partition("\n")[0][:_MAX_MESSAGE]
    return "".join(character if character.isprintable() else "?" for character in first)


def _cells(column: "pa.Array", longest: int) -> list[object]:
    """Return the values of a column, None where there is none; rows that share a text share one object."""
    import pyarrow as pa  # noqa: PLC0415

    if not pa.types.is_dictionary(column.type):
        series: pd.Series[Any] = column.to_pandas(integer_object_nulls=True)  # else a gap turns numbers into floats
        return (series.astype(object).where(series.notna(), None) if series.hasnans else series).tolist()
    used = column.indices.unique()
    values = column.dictionary.take(used)
    cells = dict(zip(used.to_pylist(), _cut(values, longest).to_pylist(), strict=True))
    return [cells[at] for at in column.indices.to_pylist()]


def _cut(values: "pa.Array", longest: int) -> "pa.Array":
    """Cut texts to one character, octets to one octet, more than a cell may have: enough to be refused for it."""
    import pyarrow.compute as pc  # noqa: PLC0415

    kind = values.type
    if not (_is_text(kind) or _is_octets(kind)) or (pc.max(pc.binary_length(values)).as_py() or 0) <= longest:
        return values
    return (
        pc.utf8_slice_codeunits(values, 0, longest + 1) if _is_text(kind) else pc.binary_slice(values, 0, longest + 1)
    )
