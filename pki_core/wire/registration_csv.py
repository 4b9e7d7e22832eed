"""Charging stations to be registered, as CSV (RFC 4180): columns are members of the registration authority's interface.

``evseID`` may hold several, with ``;`` or a space between them. A file is read whole before anything of it counts.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pki_core.model.errors import SHOWN_LIMIT, LimitExceededError, MalformedError
from pki_core.model.registrations import ISO_VERSIONS, EndEntity

MAX_OCTETS: Final = 64 * 1024 * 1024
MAX_ROWS: Final = 500_000
COLUMNS: Final = {  # on the wire -> of the model
    "commonName": "common_name",
    "evseID": "evse_ids",
    "manufacture": "manufacturer",  # as the interface spells it
    "deviceName": "device_name",
    "deviceSWVersion": "software_version",
    "evseSerialNumber": "evse_serial_number",
    "chargeBoxSerialNumber": "charge_box_serial_number",
    "ocppVersion": "ocpp_version",
    "evseISOversion": "iso_version",
}
_NEEDED = "commonName"
_FOLDED = {name.lower(): name for name in COLUMNS}


def read_end_entities(path: Path) -> list[tuple[int, EndEntity]]:
    """Return the charging stations of a file, each with its line.

    Raises:
        MalformedError: says the line.
        LimitExceededError: the file is larger, or has more rows, than is read.
    """
    if path.stat().st_size > MAX_OCTETS:
        raise LimitExceededError(f"a file has at most {MAX_OCTETS} octets")
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            return _read(text)
    except UnicodeDecodeError as error:
        raise MalformedError("the file is not UTF-8 text") from error


def _read(text: Iterable[str]) -> list[tuple[int, EndEntity]]:
    reader = csv.reader(text, strict=True)
    entities: list[tuple[int, EndEntity]] = []
    try:
        columns = _columns(next(reader, []))
        for cells in reader:
            if not cells:
                continue
            if len(entities) == MAX_ROWS:
                raise LimitExceededError(f"a file has at most {MAX_ROWS} rows")
            if len(cells) != len(columns):
                raise MalformedError(f"line {reader.line_num}: {len(cells)} fields instead of {len(columns)}")
            entities.append((reader.line_num, _entity(dict(zip(columns, cells, strict=True)), reader.line_num)))
    except csv.Error as error:
        raise MalformedError(f"line {reader.line_num}: {error}") from error
    if not entities:
        raise MalformedError("there is no row behind the header")
    return entities


def _columns(header: list[str]) -> list[str]:
    columns = [_FOLDED.get(name.strip().lower(), "") for name in header]
    if "" in columns:
        raise MalformedError(f"line 1: {header[columns.index('')][:SHOWN_LIMIT]!r} is none of {', '.join(COLUMNS)}")
    if _NEEDED not in columns or len(set(columns)) != len(columns):
        raise MalformedError(f"line 1: each column stands once, and {_NEEDED} among them")
    return columns


def _entity(cells: dict[str, str], line: int) -> EndEntity:
    values = {COLUMNS[name]: cell.strip() for name, cell in cells.items() if cell.strip()}
    evse_ids = tuple(values.pop("evse_ids", "").replace(";", " ").split())
    if values.get("iso_version", ISO_VERSIONS[0]) not in ISO_VERSIONS:
        raise MalformedError(f"line {line}: evseISOversion is one of {', '.join(ISO_VERSIONS)}")
    if "common_name" not in values:
        raise MalformedError(f"line {line}: {_NEEDED} is empty")
    try:
        return EndEntity(evse_ids=evse_ids, **values)
    except MalformedError as error:
        raise MalformedError(f"line {line}: {error}") from error
