"""Batch files for any input: octets become rows or a refusal and nothing else, and text comes back as it went in."""

import csv
import io
import json
import time
import zipfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pki_core.model.errors import LimitExceededError, MalformedError
from pki_core.wire.batch_csv import CheckedCsv
from pki_core.wire.batch_entry_names import EntryNames
from pki_core.wire.batch_file import BatchLimits, BatchRow, read_batch
from pki_core.wire.batch_rows import csr_to_der
from pki_core.wire.pem import CSR_LABELS, certificate_pem, pem_to_der

LIMITS = BatchLimits(
    max_octets=100_000,
    max_rows=100,
    max_archive_octets=200_000,
    max_archive_ratio=50,
    max_archive_entries=50,
    max_csr_octets=500,
    piece_rows=3,
)
PATIENCE = 10  # seconds for a file of 100 kB on a busy machine; what hangs takes for ever
DER = b"\x30\x82\x01\x00" + bytes(range(256))
COLUMNS = ("row_id", "csr", "identifier")
ROWS = [(f"r{n}", certificate_pem(DER).replace("CERTIFICATE", CSR_LABELS[n % 2]), "DEABC1") for n in range(5)]

# no lone surrogates: they are not UTF-8, and so in no CSV file
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
structure = st.text(alphabet='",;\t\r\n a\u00e9\x00', max_size=60)


def csv_octets():
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *ROWS])
    return text.getvalue().encode()


def ndjson_octets():
    return "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in ROWS).encode()


def parquet_octets():
    sink = io.BytesIO()
    pq.write_table(pa.table([pa.array(column) for column in zip(*ROWS, strict=True)], names=list(COLUMNS)), sink)
    return sink.getvalue()


def xlsx_octets():
    sink, workbook = io.BytesIO(), openpyxl.Workbook()
    for row in [COLUMNS, *ROWS]:
        workbook.active.append(row)
    workbook.save(sink)
    return sink.getvalue()


def zip_octets():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for row_id, pem, _ in ROWS:
            archive.writestr(f"{row_id}.csr", pem)
    return sink.getvalue()


FORMATS = {
    ".csv": csv_octets(),
    ".ndjson": ndjson_octets(),
    ".parquet": parquet_octets(),
    ".xlsx": xlsx_octets(),
    ".zip": zip_octets(),
}
each_format = pytest.mark.parametrize("suffix", FORMATS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("batches")


def rows_or_refusal(folder, suffix, octets):
    """Read a file, check what must hold for every file, and return the rows; None when it is refused."""
    path = folder / f"any{suffix}"
    path.write_bytes(octets)
    start = time.monotonic()
    try:
        pieces = list(read_batch(path, LIMITS))
    except (MalformedError, LimitExceededError) as refusal:
        assert str(refusal).isprintable()  # noqa: PT017  # most inputs are not refused
        return None
    finally:
        assert time.monotonic() - start < PATIENCE
    assert all(1 <= len(piece) <= LIMITS.piece_rows for piece in pieces)
    rows = [row for piece in pieces for row in piece]
    assert 1 <= len(rows) <= LIMITS.max_rows
    for row in rows:
        assert_row_is_sound(row)
    return rows


def assert_row_is_sound(row):
    assert isinstance(row, BatchRow)
    assert len(row.row_id) <= LIMITS.max_row_id_length
    assert len(row.expected_identifier) <= LIMITS.max_row_id_length
    assert not {*map(chr, range(32)), "\x7f", "\u2028"} & {*row.row_id, *row.expected_identifier}
    (row.row_id + row.expected_identifier).encode()
    if row.problem is None:
        assert row.row_id
        assert row.csr_der[:1] == b"\x30"
        assert len(row.csr_der) <= LIMITS.max_csr_octets
    else:
        code, sentence = row.problem
        assert code.startswith("row.")
        assert sentence.isprintable()
        assert row.csr_der == b""


@st.composite
def damaged(draw, octets):
    """Octets with a few places overwritten, cut out, doubled or filled."""
    content = bytearray(octets)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 40))
        content[at : at + length] = draw(
            st.one_of(
                st.binary(max_size=8), st.just(bytes(content[at : at + length]) * 2), st.just(b"\n"), st.just(b'"')
            )
        )
    return bytes(content)


@each_format
def test_the_undamaged_files_give_their_rows(folder, suffix):
    assert [row.csr_der for row in rows_or_refusal(folder, suffix, FORMATS[suffix])] == [DER] * len(ROWS)


@each_format
@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_any_octets_are_rows_or_a_refusal(folder, suffix, data):
    magic = data.draw(st.sampled_from([b"", FORMATS[suffix][:4], FORMATS[suffix][:60]]))
    rows_or_refusal(folder, suffix, magic + data.draw(st.binary(max_size=2000)))


@each_format
@given(data=st.data())
@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_are_rows_or_a_refusal(folder, suffix, data):
    rows_or_refusal(folder, suffix, data.draw(damaged(FORMATS[suffix])))


@given(text=structure, csr=structure)
@settings(deadline=None)
def test_any_text_in_a_cell_is_at_most_a_bad_row(folder, text, csr):
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([COLUMNS, (text, csr, text), ("good", DER.hex(), "")])
    rows = rows_or_refusal(folder, ".csv", sink.getvalue().encode())
    assert len(rows) == 2
    assert rows[1] == BatchRow(row_id="good", csr_der=DER, expected_identifier="", problem=None)
    if rows[0].problem is None:
        assert rows[0].row_id == text


@pytest.mark.parametrize("suffix", [".csv", ".ndjson", ".parquet"])
@given(ids=st.lists(words, min_size=1, max_size=8))
@settings(deadline=None)
def test_row_ids_come_back_as_they_went_in(folder, suffix, ids):
    rows = [(row_id, DER.hex(), "") for row_id in ids]
    if suffix == ".csv":
        sink = io.StringIO(newline="")
        csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])
        octets = sink.getvalue().encode()
    elif suffix == ".ndjson":
        octets = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows).encode()
    else:
        buffer = io.BytesIO()
        pq.write_table(pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=list(COLUMNS)), buffer)
        octets = buffer.getvalue()
    found = rows_or_refusal(folder, suffix, octets)
    assert len(found) == len(ids)
    assert all(row.row_id == row_id for row, row_id in zip(found, ids, strict=True) if row.problem is None)


@given(body=structure, delimiter=st.sampled_from(",;\t"), block=st.integers(1, 20))
@settings(deadline=None)
def test_checked_text_has_the_fields_the_csv_module_finds(body, delimiter, block):
    header = delimiter.join(COLUMNS) + "\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pki_core.wire.batch_csv._BLOCK", block)
        try:
            checked = "".join(CheckedCsv(io.BufferedReader(io.BytesIO((header + body).encode())), LIMITS))
        except MalformedError as refusal:
            assert str(refusal).startswith("line ")  # noqa: PT017  # most inputs are not refused
            return
    assert checked in (body, body + "\n")
    records = [row for row in csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True) if row]
    assert {len(row) for row in records if len(row) > 1 or row[0].strip(" ")} <= {len(COLUMNS)}


@given(cell=st.one_of(st.binary(max_size=60), st.text(max_size=60), st.text("-BEGIN CRTFAQUS\n", max_size=90)))
def test_a_cell_is_der_or_a_refusal(cell):
    try:
        der = csr_to_der(cell, 500)
    except (MalformedError, LimitExceededError):
        return
    assert der == b"" or der[0] == 0x30


@given(der=st.binary(max_size=400), spaces=st.text(" \t\r\n", max_size=3))
def test_pem_comes_back_whatever_white_space_it_is_given(der, spaces):
    pem = certificate_pem(der).replace("\n", "\n" + spaces)
    assert pem_to_der(pem, ["CERTIFICATE"]) == der


@given(ids=st.lists(st.one_of(words, st.text("aA/.-_x", max_size=4)), max_size=30))
def test_entry_names_are_harmless_and_never_twice(ids):
    names = EntryNames()
    given_out = [names.name(row_id, f"{number:036x}") for number, row_id in enumerate(ids)]
    assert len({name.lower() for name in given_out}) == len(ids)
    for name in given_out:
        assert name.isascii()
        assert name.endswith(".pem")
        assert name[0] not in ".-"
        assert Path(name).name == name
        assert not set(name) & set('/\\:*?"<>| \0')
        assert len(name) < 255
