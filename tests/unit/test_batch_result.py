"""Result bundles: the files agree with each other and with the manifest, and appear all at once or not at all."""

import csv
import errno
import hashlib
import io
import json
import shutil
import ssl
import subprocess
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pki_core.model.errors import FileUnusableError, InvariantError, UnavailableError
from pki_core.wire.batch_archive_writer import ChainArchiveWriter
from pki_core.wire.batch_entry_names import EntryNames
from pki_core.wire.batch_result import ResultRow, ResultWriter
from pki_core.wire.hashed_file import HashedFile
from pki_core.wire.pem import certificate_pem

CHAIN = certificate_pem(b"\x30sub2" * 150) + certificate_pem(b"\x30sub1" * 150)
BATCH = {"id": "b-1", "source_sha256": "ab" * 32, "profile_sha256": "cd" * 32, "rows": 3}
COLUMNS = ["row_id", "verdict", "code", "message", "common_name", "serial", "not_after", "certificate_pem"]
NAMES = {"results.csv", "results.parquet", "certificates.zip", "manifest.json"}


def issued(row_id, number=1, **changed):
    about = {
        "row_id": row_id,
        "verdict": "issued",
        "code": "",
        "message": "",
        "common_name": f"DEABC{number:09d}",
        "serial": f"{number:036x}",
        "not_after": "2028-01-01T00:00:00Z",
        "certificate_der": b"\x30\x82" + number.to_bytes(4, "big") * 170,
    }
    return ResultRow(**{**about, **changed})


def refused(row_id, message="no"):
    return issued(
        row_id,
        verdict="refused",
        code="csr.rejected",
        message=message,
        common_name="",
        serial="",
        not_after="",
        certificate_der=b"",
    )


def write(folder, *pieces, chain=CHAIN, batch=BATCH):
    with ResultWriter(folder, chain, batch) as writer:
        for piece in pieces:
            writer.write(piece)


def expected(row):
    pem = certificate_pem(row.certificate_der) if row.certificate_der else ""
    return [getattr(row, name) for name in COLUMNS[:-1]] + [pem]


def stop_in_the_middle(folder):
    with ResultWriter(folder, CHAIN, BATCH) as writer:
        writer.write([issued(f"r{n}", n) for n in range(6000)])
        assert len(contents(folder)) == 8
        raise ZeroDivisionError


def csv_rows(folder):
    with (folder / "results.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream, strict=True))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_csv_and_parquet_hold_the_same_rows_in_order(tmp_path):
    rows = [issued(f"r{n}", n) if n % 3 else refused(f"r{n}") for n in range(1, 12_002)]
    write(tmp_path, rows[:1], rows[1:7000], [], rows[7000:])
    header, *found = csv_rows(tmp_path)
    assert header == COLUMNS
    assert found == [expected(row) for row in rows]
    with pq.ParquetFile(tmp_path / "results.parquet") as file:
        assert file.schema_arrow.names == COLUMNS
        assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [5000, 5000, 2001]
        column = file.metadata.row_group(0).column(7)
        assert (column.compression, "RLE_DICTIONARY" in column.encodings) == ("ZSTD", False)
        table = file.read()
    assert [list(row.values()) for row in table.to_pylist()] == found


@pytest.mark.parametrize(
    "text", ["=1+1", "+a", "-a", "@a", 'a"b', "a,b", "a\nb", "a\rb", "a\r\nb", " a ", "\u00e9\u4e2d", "NA"]
)
def test_cells_are_written_exactly_as_they_are(tmp_path, text):
    rows = [issued(text, 1, message=text, common_name=text), refused("last", text)]
    write(tmp_path, rows)
    assert csv_rows(tmp_path)[1:] == [expected(row) for row in rows]
    assert [list(row.values()) for row in pq.read_table(tmp_path / "results.parquet").to_pylist()] == csv_rows(
        tmp_path
    )[1:]


def test_lines_end_in_a_line_feed(tmp_path):
    write(tmp_path, [issued("a"), refused("b")])
    content = (tmp_path / "results.csv").read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"b,refused,csr.rejected,no,,,,\n")


def test_each_issued_row_is_a_chain_in_the_archive(tmp_path):
    write(tmp_path, [issued("a", 1), refused("b"), issued("c", 3)])
    with zipfile.ZipFile(tmp_path / "certificates.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.pem", "c.pem"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
        for name, number in (("a.pem", 1), ("c.pem", 3)):
            leaf = certificate_pem(issued("", number).certificate_der)
            assert archive.read(name).decode() == leaf + CHAIN


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_agrees_with_the_archive(tmp_path):
    write(tmp_path, [issued(f"r{n}", n) for n in range(100)])
    done = subprocess.run(["unzip", "-tq", tmp_path / "certificates.zip"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(["unzip", "-p", tmp_path / "certificates.zip", "r7.pem"], capture_output=True, check=True)
    leaf = done.stdout.decode().split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    assert ssl.PEM_cert_to_DER_cert(leaf) == issued("", 7).certificate_der


def test_the_manifest_names_every_file_with_hash_and_size(tmp_path):
    write(tmp_path, [issued("a"), refused("b"), refused("c")])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["batch"] == BATCH
    assert manifest["counts"] == {"rows": 3, "issued": 1, "refused": 2}
    assert set(manifest["files"]) == NAMES - {"manifest.json"}
    for name, about in manifest["files"].items():
        content = (tmp_path / name).read_bytes()
        assert about == {"sha256": hashlib.sha256(content).hexdigest(), "octets": len(content)}


def test_a_bundle_of_nothing_is_a_bundle(tmp_path):
    write(tmp_path / "new" / "folder")
    assert csv_rows(tmp_path / "new" / "folder") == [COLUMNS]
    assert pq.read_table(tmp_path / "new" / "folder" / "results.parquet").num_rows == 0
    with zipfile.ZipFile(tmp_path / "new" / "folder" / "certificates.zip") as archive:
        assert archive.namelist() == []


def test_the_same_rows_make_the_same_octets(tmp_path):
    rows = [issued(f"r {n}", n) for n in range(300)]
    write(tmp_path / "a", rows)
    write(tmp_path / "b", rows[:123], rows[123:])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_nothing_appears_and_nothing_is_lost_when_the_block_raises(tmp_path):
    write(tmp_path, [issued("a")])
    before = contents(tmp_path)
    with pytest.raises(ZeroDivisionError):
        stop_in_the_middle(tmp_path)
    assert contents(tmp_path) == before
    with ResultWriter(tmp_path, CHAIN, BATCH) as writer:
        writer.write([issued("b")])
        assert {name: content for name, content in contents(tmp_path).items() if name in NAMES} == before
    assert set(contents(tmp_path)) == NAMES
    assert csv_rows(tmp_path)[1][0] == "b"


def test_a_failure_while_finishing_leaves_the_earlier_bundle(tmp_path, monkeypatch):
    write(tmp_path, [issued("a")])
    before = contents(tmp_path)

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        write(tmp_path, [issued("b")])
    assert contents(tmp_path) == before


def test_no_manifest_stands_beside_files_it_does_not_describe(tmp_path, monkeypatch):
    write(tmp_path, [issued("a")])

    def cut(_file):
        assert not (tmp_path / "manifest.json").exists()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(HashedFile, "publish", cut)
    with pytest.raises(UnavailableError):
        write(tmp_path, [issued("b")])


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    (tmp_path / "results.csv.00112233.part").write_bytes(b"old")
    (tmp_path / "unrelated.part").write_bytes(b"mine")
    write(tmp_path, [issued("a")])
    assert set(contents(tmp_path)) == {*NAMES, "unrelated.part"}


def test_a_folder_that_cannot_be_one_is_the_fault_of_whoever_named_it(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300), Path("/proc/results")):
        with pytest.raises(FileUnusableError, match="the result files cannot be written"):
            write(folder, [])


def test_a_full_disk_is_unavailable(tmp_path, monkeypatch):
    def full(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(HashedFile, "seal", full)
    with pytest.raises(UnavailableError, match="No space left"):
        write(tmp_path, [issued("a")])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("missing", [{"serial": ""}, {"certificate_der": b""}])
def test_an_issued_row_without_certificate_or_serial_is_our_fault(tmp_path, missing):
    with pytest.raises(InvariantError):
        write(tmp_path, [issued("a", **missing)])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("row_id", "name"),
    [
        ("row-1", "row-1.pem"),
        ("DE.ABC_1", "DE.ABC_1.pem"),
        ("a.pem", "a.pem"),
        ("x/a.csr", "x_a.csr-5e.pem"),
        ("../../etc/passwd", "etc_passwd-5e.pem"),
        ("/abs", "abs-5e.pem"),
        ("C:\\x", "C_x-5e.pem"),
        ("..", "5e.pem"),
        ("\u4e2d", "5e.pem"),
        ("-rf", "rf-5e.pem"),
        (".hidden", "hidden-5e.pem"),
        ("DE*ABC*E1", "DE_ABC_E1-5e.pem"),
        ("nul", "nul-5e.pem"),
        ("Com1.x", "Com1.x-5e.pem"),
        ("a" * 300, "a" * 160 + "-5e.pem"),
    ],
)
def test_an_entry_is_named_by_the_row_as_far_as_that_is_safe(row_id, name):
    assert EntryNames().name(row_id, "5e") == name


def test_no_two_entries_share_a_name_not_even_without_case():
    names = EntryNames()
    ids = ["a", "A", "a", "a.pem", "a/b", "a_b", "a?b", "a_b-04"]
    given = [names.name(row_id, f"{number:02x}") for number, row_id in enumerate(ids)]
    assert given[0] == "a.pem"
    assert given[1] == "A-01.pem"
    assert len({name.lower() for name in given}) == len(ids)


def test_names_stay_readable_in_a_large_batch():
    names = EntryNames()
    longer = sum(names.name(f"r{n}", f"{n:x}") != f"r{n}.pem" for n in range(50_000))
    assert longer < 20


def test_more_entries_than_a_plain_archive_can_count(tmp_path):
    path = tmp_path / "many.zip"
    with path.open("wb") as stream:
        writer = ChainArchiveWriter(stream, tmp_path, b"tail")
        writer.add((f"{n}.pem", b"leaf%d" % n) for n in range(70_000))
        writer.finish()
    assert b"PK\x06\x06" in path.read_bytes()[-200:]
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 70_000
        assert archive.read("69999.pem") == b"leaf69999tail"


def test_an_archive_may_pass_four_gigabytes(tmp_path):
    path, start = tmp_path / "large.zip", (1 << 32) - 100
    with path.open("wb") as stream:  # sparse: the octets before stand for entries
        stream.seek(start)
        writer = ChainArchiveWriter(stream, tmp_path, b"tail", start)
        writer.add((f"{n}.pem", b"leaf%d" % n) for n in range(9))
        writer.finish()
    with zipfile.ZipFile(path) as archive:
        assert max(entry.header_offset for entry in archive.infolist()) > 1 << 32
        assert [archive.read(f"{n}.pem") for n in range(9)] == [b"leaf%dtail" % n for n in range(9)]


def test_an_archive_without_a_common_tail_is_sound_and_a_huge_head_is_refused(tmp_path):
    buffer = io.BytesIO()
    writer = ChainArchiveWriter(buffer, tmp_path, b"")
    writer.add([("a.pem", b""), ("b.pem", b"x" * 65_535)])
    with pytest.raises(InvariantError):
        writer.add([("c.pem", b"x" * 65_536)])
    writer.finish()
    with zipfile.ZipFile(buffer) as archive:
        assert (archive.read("a.pem"), archive.read("b.pem")) == (b"", b"x" * 65_535)
