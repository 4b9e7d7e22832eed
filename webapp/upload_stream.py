"""An upload on its way to a file: raw or multipart (RFC 7578), in pieces, under a limit, never whole in memory."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from flask import Request
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser

from pki_core.model.errors import LimitExceededError, MalformedError, UnavailableError

_PIECE = 262_144
_MOST_FIELDS = 524_288  # octets of form fields; werkzeug wants its pieces of the file to fit in, too
_MOST_PARTS = 8
_FREE = 64_000_000  # octets that stay free on the disk
_MULTIPART = "multipart/form-data"
SUFFIXES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/x-ndjson": ".ndjson",
    "application/jsonl": ".jsonl",
    "application/zip": ".zip",
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
_KNOWN = frozenset({".csv", ".tsv", ".txt", ".ndjson", ".jsonl", ".parquet", ".xlsx", ".zip"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What came: its name with its suffix, and the other fields of the form."""

    name: str
    fields: dict[str, str]


class _Counted:
    """The body of a request; more of it than the limit is not read."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._left = limit
        self._limit = limit

    def read(self, size: int = -1) -> bytes:
        """Return some of it."""
        piece = self._stream.read(min(_PIECE, size) if size > 0 else _PIECE)
        self._left -= len(piece)
        if self._left < 0:
            raise _too_large(self._limit)
        return piece


def receive(request: Request, path: Path, limit: int) -> Received:
    """Write the file of a request to a path that does not exist yet.

    Raises:
        LimitExceededError: it is larger than the limit.
        MalformedError: there is no file, or more than one.
        UnavailableError: the disk is full, or the client went away.
    """
    declared = request.content_length or 0
    if declared > limit:
        raise _too_large(limit)
    if shutil.disk_usage(path.parent).free < declared + _FREE:
        raise UnavailableError("there is no room for this file now")
    body = _Counted(request.stream, limit)
    try:
        if request.mimetype == _MULTIPART:
            return _from_form(request, body, path)
        with path.open("xb") as file:
            while piece := body.read():
                file.write(piece)
    except OSError as error:
        raise UnavailableError(f"the upload could not be stored: {type(error).__name__}") from error
    if not path.stat().st_size:
        raise MalformedError("the body is empty: it is the file of requests")
    name = request.args.get("name", "") or f"upload{SUFFIXES.get(request.mimetype, '')}"
    return Received(name=_last_part(name), fields={})


def suffix_of(name: str) -> str:
    """Return the suffix of a file name that says how a batch file is read, "" for others."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in _KNOWN else ""


def _from_form(request: Request, body: _Counted, path: Path) -> Received:
    names: list[str] = []
    opened: list[IO[bytes]] = []

    def open_file(
        total_content_length: int | None,  # noqa: ARG001  # as werkzeug calls it
        content_type: str | None,  # noqa: ARG001
        filename: str | None,
        content_length: int | None = None,  # noqa: ARG001
    ) -> IO[bytes]:
        names.append(filename or "")
        if len(names) > 1:
            raise MalformedError("one request holds one file")
        opened.append(path.open("x+b"))
        return opened[-1]

    parser = FormDataParser(
        stream_factory=open_file, max_form_memory_size=_MOST_FIELDS, max_form_parts=_MOST_PARTS, silent=False
    )
    try:
        _, form, _ = parser.parse(cast("Any", body), _MULTIPART, None, request.mimetype_params)
    except (ValueError, HTTPException) as error:
        raise MalformedError("the form cannot be read") from error
    finally:
        for file in opened:
            file.close()
    if not names or not path.stat().st_size:
        raise MalformedError("the form holds no file")
    return Received(name=_last_part(names[0]), fields=form.to_dict())


def _last_part(name: str) -> str:
    """Return a file name without the folders some clients send along, and without characters nobody can print."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[-200:] or "upload"


def _too_large(limit: int) -> LimitExceededError:
    return LimitExceededError(f"a file has at most {limit} octets")
