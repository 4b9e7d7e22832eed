"""ZIP archives as uploaded (PKWARE APPNOTE 6.3.10): entry by entry, in constant memory, trusting no size in a header.

The standard library's reader keeps the whole directory as objects (200 MB for 200,000 entries that pass as a 20 MB
file) and its limits are those the headers state. This one walks the directory as a stream and counts what comes out.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from pki_core.model.errors import LimitExceededError, MalformedError
from pki_core.wire.batch_rows import CSR, ROW_ID, BatchLimits, BatchRow, CsrRows, Problem, RowBuilder

MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")  # a first entry, or the end of an empty archive

_SUFFIXES: Final = frozenset({".csr", ".pem", ".der", ".p10"})
_BLOCK: Final = 64 * 1024
_RATIO_FLOOR: Final = 1024 * 1024  # octets that may unpack from nearly nothing

_END: Final = struct.Struct("<4s4xHHIIH")  # 4.3.16 end of central directory record
_END64_LOCATOR: Final = struct.Struct("<4s4xQ4x")  # 4.3.15
_END64: Final = struct.Struct("<4s20x8xQQQ")  # 4.3.14
_DIRECTORY: Final = struct.Struct("<4s4xHH4xIIIHHH8xI")  # 4.3.12 central directory header
_LOCAL: Final = struct.Struct("<4s22xHH")  # 4.3.7 local file header
_MAX_COMMENT: Final = 0xFFFF
_IN_EXTRA: Final = 0xFFFFFFFF  # 4.4.1.4: the value stands in the ZIP64 extra field
_ZIP64_EXTRA: Final = 1
_ENCRYPTED: Final = 1
_UTF8: Final = 1 << 11
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file in an archive, as its directory describes it. The name is a name: nothing is ever written under it."""

    name: str
    encrypted: bool
    method: int
    crc: int
    packed_octets: int
    offset: int

    @property
    def is_skipped(self) -> bool:
        """Is this a directory, or what macOS adds to an archive?"""
        return self.name.endswith("/") or self.name.startswith("__MACOSX/")


class Archive:
    """An open archive, and the account of what it has cost so far."""

    def __init__(self, stream: BinaryIO, limits: BatchLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._size = stream.seek(0, 2)
        self._packed = 0
        self._unpacked = 0
        self._directory, self._directory_end = self._find_directory()

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in the directory's order; it may be walked more than once."""
        at, count = self._directory, 0
        while at < self._directory_end:
            fixed = self._read(at, _DIRECTORY.size)
            magic, flags, method, crc, packed, unpacked, names, extras, comments, offset = _DIRECTORY.unpack(fixed)
            if magic != b"PK\x01\x02":
                raise MalformedError("the archive's directory is damaged")
            variable = self._read(at + _DIRECTORY.size, names + extras + comments)
            at += _DIRECTORY.size + len(variable)
            count += 1
            if count > self._limits.max_archive_entries:
                raise LimitExceededError(f"the archive has more than {self._limits.max_archive_entries} entries")
            packed, offset = _from_extra(variable[names : names + extras], packed, unpacked, offset)
            yield Entry(
                # 4.4.4 bit 11; without it the name is in an old code page, in which every octet is a character
                name=variable[:names].decode("utf-8" if flags & _UTF8 else "cp437", "replace"),
                encrypted=bool(flags & _ENCRYPTED),
                method=method,
                crc=crc,
                packed_octets=packed,
                offset=offset,
            )

    def unpack(self, entry: Entry, keep: int) -> bytes:
        """Unpack an entry to its end, and return its first ``keep`` octets.

        Raises:
            MalformedError: the entry is damaged.
            LimitExceededError: the archive has now unpacked to more than it may.
        """
        kept, crc = bytearray(), 0
        try:
            for block in self._blocks(entry):
                self._unpacked += len(block)
                self._check_limits()
                crc = zlib.crc32(block, crc)
                kept += block[: keep - len(kept)]
        except zlib.error as error:
            raise MalformedError("the entry is damaged") from error
        if crc != entry.crc:
            raise MalformedError("the entry is damaged")
        return bytes(kept)

    def _check_limits(self) -> None:
        limits = self._limits
        if self._unpacked > limits.max_archive_octets:
            raise LimitExceededError(f"the archive unpacks to more than {limits.max_archive_octets} octets")
        if self._unpacked > max(_RATIO_FLOOR, self._packed * limits.max_archive_ratio):
            raise LimitExceededError(f"the archive unpacks to more than {limits.max_archive_ratio} times its size")

    def _blocks(self, entry: Entry) -> Iterator[bytes]:
        if entry.method == _STORED:
            yield from self._packed_blocks(entry)
            return
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        for packed in self._packed_blocks(entry):
            if inflater.eof:
                raise MalformedError("the entry is damaged")
            while packed:
                yield inflater.decompress(packed, _BLOCK)
                packed = inflater.unconsumed_tail  # noqa: PLW2901  # what the block's room was too small for
        yield inflater.flush()
        if not inflater.eof or inflater.unused_data:
            raise MalformedError("the entry is damaged")

    def _packed_blocks(self, entry: Entry) -> Iterator[bytes]:
        magic, names, extras = _LOCAL.unpack(self._read(entry.offset, _LOCAL.size))
        if magic != MAGICS[0]:
            raise MalformedError("the entry is damaged")
        at, left = entry.offset + _LOCAL.size + names + extras, entry.packed_octets
        while left:
            block = self._read(at, min(left, _BLOCK))
            at += len(block)
            left -= len(block)
            self._packed += len(block)
            if self._packed > self._size:  # else a small file could keep us reading for days
                raise LimitExceededError("the entries of the archive overlap")
            yield block

    def _read(self, at: int, octets: int) -> bytes:
        if at + octets > self._size:
            raise MalformedError("the archive is cut short")
        self._stream.seek(at)
        return self._stream.read(octets)

    def _find_directory(self) -> tuple[int, int]:
        """Return where the directory starts and ends."""
        tail_at = max(0, self._size - _END.size - _MAX_COMMENT)
        tail = self._read(tail_at, self._size - tail_at)
        found = tail.rfind(b"PK\x05\x06")
        if found < 0 or found + _END.size > len(tail):
            raise MalformedError("the archive has no directory; is the upload complete?")
        _, _, _, size, start, _ = _END.unpack_from(tail, found)
        end = tail_at + found
        if end >= _END64_LOCATOR.size:
            magic, end64 = _END64_LOCATOR.unpack(self._read(end - _END64_LOCATOR.size, _END64_LOCATOR.size))
            if magic == b"PK\x06\x07":
                end = end64
                magic, _, size, start = _END64.unpack(self._read(end64, _END64.size))
                if magic != b"PK\x06\x06":
                    raise MalformedError("the archive's directory is damaged")
        if start + size != end:
            raise MalformedError("the archive's directory is damaged")
        return start, end


def read_archive(path: Path, limits: BatchLimits, kind: type[RowBuilder] = CsrRows) -> Iterator[list[BatchRow]]:
    """Yield one row for each file in an archive, in pieces; the row id is the file's name in the archive."""
    if not kind.has_archives:
        raise MalformedError("an archive of single files is no table; hand in CSV, NDJSON, Parquet or XLSX")
    builder = kind(limits)
    with path.open("rb") as stream:
        archive = Archive(stream, limits)
        piece: list[BatchRow] = []
        for entry in archive.entries():
            if entry.is_skipped:
                continue
            content = _content(archive, entry, limits)
            if isinstance(content, bytes):
                piece += builder.build({ROW_ID: [entry.name], CSR: [content]})
            else:
                piece.append(builder.refuse(entry.name, content))
            if len(piece) >= limits.piece_rows:
                yield piece
                piece = []
        if piece:
            yield piece
    builder.finish("the archive has no files")


def check_archive(path: Path, limits: BatchLimits) -> None:
    """Unpack everything once, for the limits, before a library that has none of its own opens the file."""
    with path.open("rb") as stream:
        archive = Archive(stream, limits)
        for entry in archive.entries():
            if entry.encrypted or entry.method not in (_STORED, _DEFLATED):
                raise MalformedError("the file is encrypted or packed in an unusual way")
            archive.unpack(entry, 0)


def has_entry(path: Path, name: str, limits: BatchLimits) -> bool:
    """Tell whether an archive has an entry of this name."""
    with path.open("rb") as stream:
        return any(entry.name == name for entry in Archive(stream, limits).entries())


def _content(archive: Archive, entry: Entry, limits: BatchLimits) -> bytes | Problem:
    if PurePosixPath(entry.name).suffix.lower() not in _SUFFIXES:
        return ("row.unknown_file_type", "the file is none of .csr, .pem, .der and .p10")
    if entry.encrypted:
        return ("row.file_encrypted", "the file is encrypted")
    if entry.method not in (_STORED, _DEFLATED):
        return ("row.file_unreadable", f"the file is packed by method {entry.method}; use deflate")
    try:
        return archive.unpack(entry, 8 * limits.max_csr_octets)
    except MalformedError:
        return ("row.file_damaged", "the file in the archive is damaged")


def _from_extra(extra: bytes, packed: int, unpacked: int, offset: int) -> tuple[int, int]:
    """Return packed size and offset, from the ZIP64 field when they stand there (4.5.3)."""
    if _IN_EXTRA not in (packed, unpacked, offset):
        return packed, offset
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64_EXTRA:
            values = iter(struct.unpack_from(f"<{min(size, len(extra) - at - 4) // 8}Q", extra, at + 4))
            next(values, 0) if unpacked == _IN_EXTRA else 0
            packed = next(values, packed) if packed == _IN_EXTRA else packed
            return packed, next(values, offset) if offset == _IN_EXTRA else offset
        at += 4 + size
    return packed, offset
