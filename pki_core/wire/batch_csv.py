"""Batch tables as CSV (RFC 4180): pandas reads the cells, a checker in front of it answers for the structure.

pandas alone fills short lines with nothing, cuts long first lines, and holds the rest of a file in memory after an
open quote. So the text is checked on its way into pandas: whole records of as many fields as the header has, and for
the rest an error with line and column.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Final, TextIO, cast

from pki_core.model.errors import LimitExceededError, MalformedError
from pki_core.wire.batch_rows import BatchLimits, BatchRow, CsrRows, RowBuilder

_BLOCK: Final = 256 * 1024
_MAX_HEADER: Final = 64 * 1024  # characters; also below the csv module's own limit for a field
_MAX_RECORD: Final = 1024 * 1024  # characters; a request is under 2,000, so this is an open quote or no table
_MAX_COLUMNS: Final = 256
_LINE_END: Final = re.compile("\r\n|\n|\r")
_SEPARATOR_LINE: Final = re.compile('"?sep=.?"?[,;\t]*', re.IGNORECASE)  # Excel reads it, and never shows it
_BLANK_LINES: Final = re.compile("(?:[ \t]*+(?:\r\n|\n|\r))*+")


def read_csv(path: Path, limits: BatchLimits, kind: type[RowBuilder] = CsrRows) -> Iterator[list[BatchRow]]:
    """Yield the rows of a CSV file in pieces."""
    import pandas as pd  # noqa: PLC0415  # 0.4 s and 70 MB that the web process must not pay

    builder = kind(limits)
    with path.open("rb") as stream:
        text = CheckedCsv(stream, limits, kind)
        columns = text.columns
        try:
            frames = pd.read_csv(
                cast("TextIO", text),
                sep=text.delimiter,
                header=None,
                names=range(text.width),
                usecols=list(columns.values()),
                index_col=False,
                dtype=str,
                keep_default_na=False,  # the country NA is no missing value
                na_filter=False,
                chunksize=limits.piece_rows,
            )
            for frame in frames:
                text.start_piece()
                if rows := builder.build({name: frame[at].tolist() for name, at in columns.items()}):
                    yield rows
        except pd.errors.ParserError as error:
            raise MalformedError(f"the table cannot be read: {error}") from error
    builder.finish("line 1: there is a header, but no row follows it")


class CheckedCsv:
    """A text file for pandas to read from, which only ever hands out whole and well-formed records."""

    def __init__(self, stream: BufferedReader, limits: BatchLimits, kind: type[RowBuilder] = CsrRows) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()  # Excel writes a byte order mark
        self._rest = ""  # decoded, but not yet handed out; starts with a record
        self._line = 1  # of the start of the rest
        self._ended = False
        self._piece_budget = limits.piece_rows * (2 * limits.max_csr_octets + 1024)
        self._piece = 0
        header = self._header()
        if _SEPARATOR_LINE.fullmatch(header):
            header = self._header()  # whose own delimiter counts
        self.delimiter, names = _split_header(header, self._line - 1, kind.required[-1])
        self.columns = kind.find(names, f"line {self._line - 1}: ")
        self.width = len(names)
        if self.width > _MAX_COLUMNS:
            raise MalformedError(f"line {self._line - 1}: there are more than {_MAX_COLUMNS} columns")
        patterns = _patterns(self.delimiter, self.width)
        self._field, self._records, self._open_record = patterns

    def __iter__(self) -> Iterator[str]:
        """Yield checked text; pandas asks for it to see that this is a file, and then calls ``read``."""
        return iter(self.read, "")

    def read(self, size: int = -1) -> str:  # noqa: ARG002  # pandas takes whatever it gets
        """Return some checked records, "" at the end of the file."""
        while not self._ended or self._rest:
            self._fill()
            end = self._records.match(self._rest).end()  # type: ignore[union-attr]  # it matches nothing, too
            checked = self._advance(end)
            self._check_rest()
            self._piece += end
            if self._piece > self._piece_budget:
                raise LimitExceededError(f"line {self._line}: the rows before it are too long for a batch of requests")
            if checked:
                return checked
        return ""

    def start_piece(self) -> None:
        """Forget how much text the rows so far had."""
        self._piece = 0

    def _fill(self) -> None:
        if self._ended:
            return
        octets = self._stream.read(_BLOCK)
        if octets.endswith(b"\r") and self._stream.peek(1)[:1] == b"\n":
            octets += self._stream.read(1)  # one line end, not two
        self._ended = not octets
        try:
            text = self._decoder.decode(octets, final=self._ended)
        except UnicodeDecodeError as error:
            good = self._rest + error.object[: error.start].decode()
            place = self._place(good, len(good))
            raise MalformedError(f"{place}: the octet 0x{error.object[error.start]:02x} is not UTF-8") from error
        self._rest += text
        if self._ended and self._rest and self._rest[-1] != "\n":
            self._rest += "\n"  # a last line without an end is a line

    def _header(self) -> str:
        """Cut the first line that is not blank off the rest."""
        while not self._ended:
            self._fill()
            blank = _BLANK_LINES.match(self._rest)
            if blank is not None:
                self._advance(blank.end())
            end = _LINE_END.search(self._rest)
            if (end.start() if end else len(self._rest)) > _MAX_HEADER:
                raise MalformedError(f"line {self._line}: the header is longer than {_MAX_HEADER} characters")
            if end is not None:
                return self._advance(end.end())[: end.start()]
        raise MalformedError("the file is empty")

    def _advance(self, end: int) -> str:
        """Cut whole lines off the rest and return them."""
        passed, self._rest = self._rest[:end], self._rest[end:]
        self._line += _count_line_ends(passed)
        return passed

    def _check_rest(self) -> None:
        if not self._rest:
            return
        if self._ended or not self._open_record.fullmatch(self._rest):
            raise self._fault()
        if len(self._rest) > _MAX_RECORD:
            raise LimitExceededError(
                f"line {self._line}: the row is longer than {_MAX_RECORD} characters; is a quote left open?"
            )

    def _fault(self) -> MalformedError:
        """Say what is wrong with the record at the start of the rest."""
        text, start = self._rest, 0
        for number in range(1, self.width + 1):
            end = self._field.match(text, start).end()  # type: ignore[union-attr]  # it matches nothing, too
            following = text[end : end + 1]
            if following == '"' and start == end:
                return MalformedError(f"{self._place(text, start)}: the quote opened here is never closed")
            if following not in (self.delimiter, "\r", "\n"):
                return MalformedError(f"{self._place(text, end)}: text follows a closing quote")
            if following != self.delimiter:
                place = self._place(text, end)
                return MalformedError(f"{place}: the line ends after field {number} of {self.width}")
            start = end + 1
        return MalformedError(f"{self._place(text, start)}: there is a field too many, the header has {self.width}")

    def _place(self, text: str, position: int) -> str:
        before = text[:position]
        last_end = max(before.rfind("\n"), before.rfind("\r"))
        return f"line {self._line + _count_line_ends(before)}, column {position - last_end}"


def _patterns(delimiter: str, width: int) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a field, of many whole records, and of a record that is cut off somewhere.

    Possessive throughout: no input makes them try twice, and they cost about 1 us a record.
    """
    quoted, bare, end = '"[^"]*+(?:""[^"]*+)*+"', f'(?:[^"{delimiter}\r\n][^{delimiter}\r\n]*+)?+', "(?:\r\n|\n|\r)"
    field = f"(?:{quoted}|{bare})"
    record = f"{field}(?:{delimiter}{field}){{{width - 1}}}{end}"
    blank = f" *+{end}"
    cut_off = f'(?:{field}{delimiter}){{0,{width - 1}}}+(?:{field}|"[^"]*+(?:""[^"]*+)*+)'
    return re.compile(field), re.compile(f"(?:{record}|{blank})*+"), re.compile(cut_off)


def _split_header(header: str, line: int, column: str) -> tuple[str, list[str]]:
    """Find the delimiter, the one that makes the most of the header line, and the column names."""
    best: tuple[bool, int, str, list[str]] = (False, 0, ",", [])
    for delimiter in (",", ";", "\t"):
        with suppress(csv.Error):  # a quoted name followed by another delimiter
            names = next(csv.reader([header], delimiter=delimiter, strict=True))
            has_column = column in (name.strip().lower() for name in names)
            best = max(best, (has_column, len(names), delimiter, names), key=lambda found: found[:2])
    if best[1] <= 1 and '"' in header:
        raise MalformedError(f"line {line}: the quotes in the header do not match")
    return best[2], best[3]


def _count_line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
