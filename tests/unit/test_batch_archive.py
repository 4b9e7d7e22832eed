"""ZIP batches: one row a file, and no header is believed about what unpacking will cost."""

import base64
import io
import os
import struct
import zipfile
import zlib

import pytest

from pki_core.model.errors import LimitExceededError, MalformedError
from pki_core.wire.batch_file import BatchLimits, BatchRow, read_batch
from pki_core.wire.pem import certificate_pem

LIMITS = {
    "max_octets": 20_000_000,
    "max_rows": 1000,
    "max_archive_octets": 3_000_000,
    "max_archive_ratio": 100,
    "max_archive_entries": 1000,
}
DER = b"\x30\x82\x01\x00" + bytes(range(256))
PEM = certificate_pem(DER).replace("CERTIFICATE", "CERTIFICATE REQUEST").encode()


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return bytearray(buffer.getvalue())


def read(folder, content, **changed):
    path = folder / "batch.zip"
    path.write_bytes(content)
    return [found for piece in read_batch(path, BatchLimits(**{**LIMITS, **changed})) for found in piece]


def refusal(folder, content, error=MalformedError, **changed):
    with pytest.raises(error) as caught:
        read(folder, content, **changed)
    return str(caught.value)


def good(row_id):
    return BatchRow(row_id=row_id, csr_der=DER, expected_identifier="", problem=None)


def codes(rows):
    return [(found.row_id, found.problem and found.problem[0]) for found in rows]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_each_file_is_a_row_named_by_its_path(tmp_path, method):
    files = [
        ("a.der", DER),
        ("b.PEM", PEM),
        ("deep/er/c.csr", b"\xef\xbb\xbf" + PEM),
        ("../../d.p10", base64.encodebytes(DER)),
        ("\u00fcml\u00e4ut.csr", DER.hex()),
        ("a b.csr", DER),
    ]
    assert read(tmp_path, zipped(files, method)) == [good(name) for name, _ in files]
    assert {path.name for path in tmp_path.iterdir()} == {"batch.zip"}


def test_directories_and_what_macos_adds_are_no_rows(tmp_path):
    files = [("x/", b""), ("__MACOSX/x/._a.csr", b"rubbish"), ("x/a.csr", DER)]
    assert read(tmp_path, zipped(files)) == [good("x/a.csr")]
    assert refusal(tmp_path, zipped(files[:2])) == "the archive has no files"
    assert refusal(tmp_path, zipped([])) == "the archive has no files"


def test_files_that_are_no_requests_are_bad_rows(tmp_path):
    files = [
        ("a.txt", DER),
        ("b.zip", bytes(zipped([("a.csr", DER)]))),
        ("c.csr", b""),
        ("d.pem", b"\xff\xfe"),
        ("e.csr", os.urandom(20_000)),
        ("f\x01.csr", DER),
        ("g" * 200 + ".csr", DER),
        ("h.csr", DER),
    ]
    assert codes(read(tmp_path, zipped(files))) == [
        ("a.txt", "row.unknown_file_type"),
        ("b.zip", "row.unknown_file_type"),
        ("c.csr", "row.csr_missing"),
        ("d.pem", "row.csr_not_decodable"),
        ("e.csr", "row.csr_too_large" if files[4][1][0] == 0x30 else "row.csr_not_decodable"),
        ("f\ufffd.csr", "row.id_control_character"),
        ("g" * 128, "row.id_too_long"),
        ("h.csr", None),
    ]


def test_two_files_of_one_name_are_two_rows(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped([("a.csr", DER), ("a.csr", DER)])
    assert read(tmp_path, content) == [good("a.csr"), good("a.csr")]


def patched(content, name, local, central):
    """Overwrite fields of one entry: (offset in the header, octets) pairs for its local and its central header."""
    at_local = content.index(name) - 30
    at_central = content.index(name, at_local + 30 + len(name)) - 46
    for start, changes in ((at_local, local), (at_central, central)):
        for offset, octets in changes:
            content[start + offset : start + offset + len(octets)] = octets
    return content


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([(8, b"\x01\x00")], "row.file_encrypted"),
        ([(10, b"\x0c\x00")], "row.file_unreadable"),  # bzip2
        ([(10, b"\x00\x00")], "row.file_damaged"),  # deflated data passed off as stored
        ([(16, b"\0\0\0\0")], "row.file_damaged"),  # checksum
        ([(20, b"\x09\0\0\0")], "row.file_damaged"),  # cut short
        ([(42, b"\x01\0\0\0")], "row.file_damaged"),  # no local header there
        ([(42, b"\xf0\xff\xff\x7f")], "row.file_damaged"),  # beyond the end
    ],
)
def test_a_file_that_cannot_be_unpacked_is_a_bad_row(tmp_path, changes, code):
    content = patched(zipped([("a.csr", DER), ("b.csr", PEM), ("c.csr", DER)]), b"b.csr", [], changes)
    assert codes(read(tmp_path, content)) == [("a.csr", None), ("b.csr", code), ("c.csr", None)]


def test_unpacking_stops_at_the_limit_whatever_the_headers_say(tmp_path):
    small = struct.pack("<I", 10)
    bomb = zipped([("a.csr", os.urandom(1000) * 4000)])  # not so well packed that the ratio would speak first
    lying = patched(bomb, b"a.csr", [(22, small)], [(24, small)])
    assert refusal(tmp_path, lying, LimitExceededError, max_archive_ratio=10_000) == (
        "the archive unpacks to more than 3000000 octets"
    )
    many = zipped([(f"{n}.csr", bytes(200_000)) for n in range(20)])
    assert refusal(tmp_path, many, LimitExceededError, max_archive_ratio=10_000) == (
        "the archive unpacks to more than 3000000 octets"
    )
    assert refusal(tmp_path, many, LimitExceededError) == "the archive unpacks to more than 100 times its size"


def test_a_well_packed_small_archive_is_no_bomb(tmp_path):
    assert codes(read(tmp_path, zipped([("a.csr", b"\n" * 500_000)]))) == [("a.csr", "row.csr_too_large")]


@pytest.mark.parametrize("octets", [65_535, 65_536, 65_537, 65_700, 131_073])
def test_a_file_may_unpack_to_any_length_around_a_block(tmp_path, octets):
    rows = read(tmp_path, zipped([("a.csr", bytes(octets))]))
    assert codes(rows) == [("a.csr", "row.csr_too_large")]


def test_names_without_the_utf8_flag_are_in_the_old_code_page(tmp_path):
    content = zipped([("u.csr", DER)]).replace(b"u.csr", b"\x81.csr")
    assert read(tmp_path, content) == [good("\u00fc.csr")]


def test_rows_and_entries_have_their_limits(tmp_path):
    content = zipped([(f"{n}.csr", DER) for n in range(11)])
    assert len(read(tmp_path, content, max_rows=11, max_archive_entries=11)) == 11
    assert refusal(tmp_path, content, LimitExceededError, max_rows=10) == "the file has more than 10 rows"
    sentence = "the archive has more than 10 entries"
    assert refusal(tmp_path, content, LimitExceededError, max_archive_entries=10) == sentence


def test_entries_that_share_their_octets_are_refused(tmp_path):
    content = zipped([("a.csr", os.urandom(100_000))], zipfile.ZIP_STORED)
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = bytes(content[start:end])
    content[start:end] = entry * 9
    struct.pack_into("<HHI", content, len(content) - 14, 9, 9, 9 * len(entry))
    assert refusal(tmp_path, content, LimitExceededError) == "the entries of the archive overlap"


def test_a_deflate_stream_that_goes_on_after_its_end_is_damage(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(DER) + packer.flush() + bytes(200_000)
    content = zipped([("a.csr", packed)], zipfile.ZIP_STORED)
    changes = struct.pack("<H", 8), struct.pack("<I", zlib.crc32(DER))
    content = patched(content, b"a.csr", [], [(10, changes[0]), (16, changes[1])])
    assert codes(read(tmp_path, content)) == [("a.csr", "row.file_damaged")]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content[:-30],
        lambda content: content[:100],
        lambda content: content[:4],
        lambda content: content[: content.index(b"PK\x01\x02")] + content[-22:],
        lambda content: content.replace(b"PK\x01\x02", b"PK\x01\x03"),
        lambda content: b"PK\x03\x04" + content,
        lambda content: content[:-6] + b"\x01" + content[-5:],
        lambda content: content[:-10] + struct.pack("<I", 50) + content[-6:],  # the directory is 51 octets long
    ],
)
def test_an_archive_with_a_damaged_directory_is_refused_whole(tmp_path, spoil):
    assert "archive" in refusal(tmp_path, spoil(zipped([("a.csr", DER)])))


def test_zip64_fields_are_read(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("a.csr", "b.csr"):
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(DER)
    content = bytearray(buffer.getvalue())
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    directory = bytes(content[start:end])
    offset = struct.unpack_from("<I", directory, 42)[0]
    full = b"\xff" * 4
    extra = struct.pack("<HHHHQQQ", 0x5455, 0, 1, 24, len(DER), len(DER), offset)
    first = directory[:20] + full * 2 + directory[28:30] + struct.pack("<H", len(extra)) + directory[32:42] + full
    directory = first + b"a.csr" + extra + directory[51:]
    at64 = start + len(directory)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, len(directory), start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at64, 1)
    last = b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2)
    content = bytes(content[:start]) + directory + end64 + locator + last
    assert zipfile.ZipFile(io.BytesIO(content)).read("a.csr") == DER
    assert read(tmp_path, content) == [good("a.csr"), good("b.csr")]
    damaged = content.replace(b"PK\x06\x06", b"PK\x06\x05")
    assert refusal(tmp_path, damaged) == "the archive's directory is damaged"
