"""Rows of an uploaded batch: a cell with a PKCS#10 request in any usual spelling becomes DER (RFC 2986, RFC 7468).

A row that cannot be a request at all carries a ``problem`` instead, and stops nobody else. All text that leaves here
can be stored anywhere: no control characters, no lone surrogates, nothing longer than the limits.
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from pki_core.model.characters import CONTROL, without_controls
from pki_core.model.errors import LimitExceededError, MalformedError
from pki_core.model.limits import COMMON_NAME_LIMIT
from pki_core.wire.csr import MAX_CSR_OCTETS
from pki_core.wire.pem import CSR_LABELS, base64_to_der, pem_to_der

ROW_ID: Final = "row_id"
CSR: Final = "csr"
IDENTIFIER: Final = "identifier"

Problem = tuple[str, str]  # stable code, plain sentence

_HEX: Final = re.compile("(?:[0-9A-Fa-f]{2})+")
_BASE64URL: Final = str.maketrans("-_", "+/")
_SEQUENCE: Final = 0x30  # X.690 8.9: what a DER request starts with
_CELL_SLACK: Final = 4096  # armour, text around it and line ends of a request at the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """What one uploaded file may cost; each has its own sentence when it is passed."""

    max_octets: int
    max_rows: int
    max_archive_octets: int  # sum of what the entries of an archive or the columns of a Parquet file unpack to
    max_archive_ratio: int  # unpacked to packed
    max_archive_entries: int
    max_row_id_length: int = 128
    max_identifier_length: int = COMMON_NAME_LIMIT
    max_csr_octets: int = MAX_CSR_OCTETS
    piece_rows: int = 5000

    @property
    def max_cell(self) -> int:
        """What of a cell is looked at, in characters: a request at its limit in any spelling."""
        return 4 * self.max_csr_octets + _CELL_SLACK


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """One row as it was uploaded; with a problem, ``csr_der`` is empty."""

    row_id: str
    csr_der: bytes
    expected_identifier: str
    problem: Problem | None


class RowBuilder:
    """Turns cells into rows and counts them; what the cells mean is known to its subclasses."""

    required: ClassVar[tuple[str, ...]]  # columns that must be there
    optional: ClassVar[tuple[str, ...]]
    octets: ClassVar[frozenset[str]] = frozenset()  # columns that may be of another type than text: octets,
    numbers: ClassVar[frozenset[str]] = frozenset({ROW_ID})  # whole numbers,
    moments: ClassVar[frozenset[str]] = frozenset()  # times and dates
    has_archives: ClassVar[bool] = False  # whether a ZIP of single files is such a batch too

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._count = 0

    @classmethod
    def find(cls, names: Sequence[str], where: str) -> dict[str, int]:
        """Find the columns in a header; ``where`` opens the sentence of a refusal (``line 1: ``)."""
        plain = [name.strip().lower() for name in names]
        cls.refuse_doubles(plain, where)
        for name in cls.required:
            if name not in plain:
                raise MalformedError(f"{where}there is no column '{name}'")
        return {name: plain.index(name) for name in (*cls.required, *cls.optional) if name in plain}

    @classmethod
    def refuse_doubles(cls, plain: Sequence[str], where: str) -> None:
        """Refuse names, plain as ``find`` compares them, of which a column of ours is there twice."""
        for name in (*cls.required, *cls.optional):
            if plain.count(name) > 1:
                raise MalformedError(f"{where}there are two columns '{name}'")

    def build(self, columns: Mapping[str, Sequence[object]]) -> list[BatchRow]:
        """Turn columns of cells into rows."""
        rows = len(columns[self.required[0]])
        self._require_room(rows)
        first = self._count - rows + 1
        cells = zip(*[columns.get(name) or [""] * rows for name in (*self.required, *self.optional)], strict=True)
        return [self._row(number, *row) for number, row in enumerate(cells, first)]

    def refuse(self, row_id: str, problem: Problem) -> BatchRow:
        """Return the row of something that has no cells to look at."""
        self._require_room(1)
        return self._refused(row_id, "", problem)

    def finish(self, nothing: str) -> None:
        """Refuse the file when it held no row; ``nothing`` is the sentence."""
        if not self._count:
            raise MalformedError(nothing)

    def _require_room(self, rows: int) -> None:
        self._count += rows
        if self._count > self._limits.max_rows:
            raise LimitExceededError(f"the file has more than {self._limits.max_rows} rows")

    def _row(self, number: int, *cells: object) -> BatchRow:
        """Turn the cells of a row, in the order of ``required`` and ``optional``, into a row."""
        raise NotImplementedError

    def _id_problem(self, number: int, row_id: str | None) -> Problem | None:
        if row_id is None:
            return ("row.id_not_text", f"the row_id of row {number} is not text")
        if not row_id or row_id.isspace():
            return ("row.id_missing", f"row {number} has no row_id")
        longest = self._limits.max_row_id_length
        if len(row_id) > longest:
            return ("row.id_too_long", f"the row_id of row {number} is longer than {longest} characters")
        if CONTROL.search(row_id):
            return ("row.id_control_character", f"the row_id of row {number} holds a control character")
        return None

    def _identifier_problem(self, identifier: str | None) -> Problem | None:
        if identifier is None:
            return ("row.identifier_not_text", "the identifier is not text")
        longest = self._limits.max_identifier_length
        if len(identifier) > longest:
            return ("row.identifier_too_long", f"the identifier is longer than {longest} characters")
        if CONTROL.search(identifier):
            return ("row.identifier_control_character", "the identifier holds a control character")
        return None

    def _refused(self, row_id: str, identifier: str, problem: Problem | None) -> BatchRow:
        limits = self._limits
        return BatchRow(
            row_id=without_controls(row_id[: limits.max_row_id_length]),
            csr_der=b"",
            expected_identifier=without_controls(identifier[: limits.max_identifier_length]),
            problem=problem,
        )


class CsrRows(RowBuilder):
    """Rows of requests: a name for the row, the request, and perhaps the identifier that is expected in it."""

    required = (ROW_ID, CSR)
    optional = (IDENTIFIER,)
    octets = frozenset({CSR})
    has_archives = True

    def _row(self, number: int, *cells: object) -> BatchRow:
        row_id, csr, identifier = cells
        id_text = row_id if type(row_id) is str else plain_text(row_id)
        identifier_text = identifier.strip() if type(identifier) is str else plain_text(identifier)
        problem = self._text_problem(number, id_text, identifier_text)
        if problem is None and id_text is not None and identifier_text is not None:
            try:
                der = csr_to_der(csr, self._limits.max_csr_octets)
            except LimitExceededError as error:
                problem = ("row.csr_too_large", str(error))
            except MalformedError as error:
                problem = ("row.csr_not_decodable", str(error))
            else:
                if der:
                    return BatchRow(row_id=id_text, csr_der=der, expected_identifier=identifier_text, problem=None)
                problem = ("row.csr_missing", "the csr column is empty")
        return self._refused(id_text or "", identifier_text or "", problem)

    def _text_problem(self, number: int, row_id: str | None, identifier: str | None) -> Problem | None:
        # isprintable is the cheap half of the search for control characters, and enough for nearly all rows
        if row_id and identifier is not None and (row_id + identifier).isprintable():
            limits = self._limits
            fits = len(row_id) <= limits.max_row_id_length and len(identifier) <= limits.max_identifier_length
            if fits and not row_id.isspace():
                return None
        return self._id_problem(number, row_id) or self._identifier_problem(identifier)


def csr_to_der(cell: object, max_octets: int) -> bytes:
    """Return the DER in a cell: PEM with or without armour, base64, base64url, hex or DER; b"" for an empty cell.

    Raises:
        MalformedError: the cell holds none of these.
        LimitExceededError: it is longer than ``max_octets``.
    """
    longest = 4 * max_octets + _CELL_SLACK
    der = _decode_line(cell, longest) or _decode(cell, longest)
    if len(der) > max_octets:
        raise LimitExceededError(f"the csr column holds more than {max_octets} octets of DER")
    if der and der[0] != _SEQUENCE:
        raise MalformedError("the csr column can be decoded, but what it holds is not a PKCS#10 request")
    return der


def _decode_line(cell: object, longest: int) -> bytes:
    """Decode what most files hold, one line of base64, at no further cost; b"" when it is anything else."""
    if type(cell) is not str or cell[:1] != "M" or len(cell) > longest:
        return b""
    try:
        return binascii.a2b_base64(cell, strict_mode=True)
    except ValueError:
        return b""


def _decode(cell: object, longest: int) -> bytes:
    if isinstance(cell, bytes):
        if cell[:1] == b"\x30":  # no text form starts with the digit 0
            return cell
        cell = _ascii_text(cell)
    text = "" if cell is None else cell
    if not isinstance(text, str):
        raise MalformedError("the csr column is not text")
    if len(text) > longest:
        raise LimitExceededError(f"the csr column is longer than {longest} characters")
    if "\\" in text:  # JSON or a shell escaped it once too often
        text = text.replace("\\r", "").replace("\\n", "\n")
    if "-----" in text:
        return pem_to_der(text, CSR_LABELS)
    return _decode_bare("".join(text.split()))


def _decode_bare(text: str) -> bytes:
    """Decode what has no armour. Base64 of a SEQUENCE starts with M, hex of it with 30: they cannot be confused."""
    if text.startswith("30") and _HEX.fullmatch(text):
        return bytes.fromhex(text)
    if "-" in text or "_" in text:
        text = text.translate(_BASE64URL)
    text = text.rstrip("=")  # base64url usually comes without padding, so none is asked for
    try:
        return base64_to_der(text + "=" * (-len(text) % 4))
    except MalformedError as error:
        raise MalformedError("the csr column is neither PEM, base64 nor hex") from error


def _ascii_text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8-sig")  # editors on Windows put a byte order mark before PEM
    except UnicodeDecodeError as error:
        raise MalformedError("the csr column is neither PEM, base64 nor hex") from error


def plain_text(cell: object) -> str | None:
    """Return a cell that is not a string as text; None when its text would be a guess (1.0, TRUE, a date, a list)."""
    if cell is None:
        return ""
    if type(cell) is int:  # bool is not meant
        return str(cell)
    return cell.strip() if isinstance(cell, str) else None
