"""Batch files: every format gives the same rows, a bad row stops no other, a bad file is refused with the place."""

import base64
import json
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime

import openpyxl
import pytest

from pki_core.model.errors import LimitExceededError
from pki_core.wire.batch_file import file_digest, read_batch
from tests.unit.batch_samples import HEAD, as_parquet, b64, csv_text, der, limits, pem, read, refusal, row, written


def as_csv(path, rows):
    path.write_text(csv_text(rows))


def as_ndjson(path, rows):
    path.write_text(
        "".join(json.dumps(dict(zip(("row_id", "csr", "identifier"), r, strict=True))) + "\n" for r in rows)
    )


def as_xlsx(path, rows):
    workbook = openpyxl.Workbook()
    for line in [("row_id", "csr", "identifier"), *rows]:
        workbook.active.append(line)
    workbook.save(path)


TABLES = [(".csv", as_csv), (".ndjson", as_ndjson), (".jsonl", as_ndjson), (".parquet", as_parquet), (".xlsx", as_xlsx)]
NAMES = [suffix for suffix, _ in TABLES]


@pytest.mark.parametrize(("suffix", "write"), TABLES, ids=NAMES)
def test_a_table_gives_its_rows_in_pieces(tmp_path, suffix, write):
    path = tmp_path / f"batch{suffix}"
    write(path, [(f"row {n}", pem(n) if n % 2 else b64(n), f"DEABC{n}") for n in range(25)])
    pieces = list(read_batch(path, limits(piece_rows=10)))
    assert [len(piece) for piece in pieces] == [10, 10, 5]
    assert [found for piece in pieces for found in piece] == [row(f"row {n}", n, f"DEABC{n}") for n in range(25)]


@pytest.mark.parametrize(("suffix", "write"), TABLES, ids=NAMES)
def test_text_that_looks_like_a_number_or_a_gap_stays_text(tmp_path, suffix, write):
    path = tmp_path / f"batch{suffix}"
    ids = ["NA", "nan", "null", "001", "1.0", "1e5", "TRUE", "2020-01-01", " a ", "\u00e9\u4e2d", 'x"y', "-", "None"]
    write(path, [(row_id, b64(1), "NA") for row_id in ids])
    assert read(path) == [row(row_id, 1, "NA") for row_id in ids]


@pytest.mark.parametrize(("suffix", "write"), TABLES, ids=NAMES)
def test_a_bad_row_stops_no_other(tmp_path, suffix, write):
    path = tmp_path / f"batch{suffix}"
    write(
        path,
        [
            ("a", b64(1), ""),
            ("", b64(2), "X"),
            ("c", "", ""),
            ("d", "not a request!", ""),
            ("e" * 129, b64(3), ""),
            ("f\u2028", b64(4), ""),
            ("g", b64(5), "I" * 129),
            ("h", b64(6), "I\u2029I"),
            ("i", pem(7).replace(" REQUEST", ""), ""),
            ("j", "deadbeef", ""),
            ("k", base64.b64encode(b"\x30" * 8193).decode(), ""),
            ("l", "A" * 32_767, ""),
            ("m", b64(8), " DEABC1 "),
        ],
    )
    rows = read(path, max_csr_octets=6000)
    assert (rows[0], rows[-1]) == (row("a", 1), row("m", 8, "DEABC1"))
    assert [(found.row_id, found.problem[0]) for found in rows[1:-1]] == [
        ("", "row.id_missing"),
        ("c", "row.csr_missing"),
        ("d", "row.csr_not_decodable"),
        ("e" * 128, "row.id_too_long"),
        ("f\ufffd", "row.id_control_character"),
        ("g", "row.identifier_too_long"),
        ("h", "row.identifier_control_character"),
        ("i", "row.csr_not_decodable"),
        ("j", "row.csr_not_decodable"),
        ("k", "row.csr_too_large"),
        ("l", "row.csr_too_large"),
    ]
    assert rows[1].problem[1] == "row 2 has no row_id"
    assert rows[3].problem[1] == "the csr column is neither PEM, base64 nor hex"
    assert all(found.csr_der == b"" for found in rows[1:-1])


@pytest.mark.parametrize(
    "cell",
    [
        pem(7),
        pem(7).replace("CERTIFICATE", "NEW CERTIFICATE"),
        pem(7).replace("\n", "\r\n"),
        pem(7).replace("\n", "\\n"),
        pem(7).replace("\n", "\\r\\n"),
        pem(7).replace("\n", " "),
        "".join(pem(7).splitlines()[1:-1]),
        "\n".join(pem(7).splitlines()[1:-1]),
        f"  {b64(7)}\n",
        b64(7).rstrip("="),
        base64.urlsafe_b64encode(der(7)).decode().rstrip("="),
        base64.encodebytes(der(7)).decode(),
        der(7).hex(),
        der(7).hex().upper(),
        der(7).hex(" "),
    ],
)
def test_a_request_may_be_spelled_in_many_ways(tmp_path, cell):
    path = tmp_path / "batch.csv"
    as_csv(path, [("a", cell, "")])
    assert read(path) == [row("a", 7)]


def test_base64url_is_told_from_base64(tmp_path):
    content = b"\x30\x05\x00\xfb\xff\xbf\x01"
    text = base64.urlsafe_b64encode(content).decode().rstrip("=")
    assert {"-", "_"} <= set(text)
    path = written(tmp_path, "batch.csv", f"row_id,csr\na,{text}\n")
    assert read(path)[0].csr_der == content


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("\n\n", "the file is empty"),
        ('{"row_id": "a"}\n{"row_id": "b",}\n', "line 2, column 16: Expecting property name enclosed in double quotes"),
        ('{"row_id": "a"}\n\n{"row_id": "b"} x\n', "line 3, column 17: Extra data"),
        ('{"row_id": "a"}\n["b"]\n', "line 2, column 1: the line is not a JSON object"),
        ('{"row_id": "a"}\n{"csr": "b", "row_id": "c", "csr": "d"}\n', "line 2: there are two columns 'csr'"),
        ('{"csr": "b", "row_id": "c", "CSR ": "d"}\n', "line 1: there are two columns 'csr'"),
        (b'{"row_id": "\xc3\xa9\xff"}\n', "line 1, column 14: the octet 0xff is not UTF-8"),
        ('{"row_id": ' + "9" * 5000 + "}", "line 1, column 1: the JSON text is not for reading"),
        ('{"row_id": ' + "[" * 100_000, "line 1, column 1: the JSON text is not for reading"),
    ],
)
def test_an_ndjson_file_with_a_bad_line_is_refused_with_line_and_column(tmp_path, content, sentence):
    assert refusal(written(tmp_path, "batch.ndjson", content)) == sentence


def test_an_ndjson_file_whose_first_rows_lack_a_column_is_refused_whole(tmp_path):
    assert refusal(written(tmp_path, "a.ndjson", '{"a": 1}\n{}\n')) == "there is no column 'row_id'"
    assert refusal(written(tmp_path, "b.ndjson", '{"row_id": "a"}\n')) == "there is no column 'csr'"
    sparse = [{"row_id": "a"}, {"row_id": "b", "csr": b64(1)}, *[{"row_id": f"{n}"} for n in range(9)]]
    found = read(written(tmp_path, "c.ndjson", "\n".join(map(json.dumps, sparse))))
    assert [one.problem and one.problem[0] for one in found] == ["row.csr_missing", None, *["row.csr_missing"] * 9]


def test_members_of_no_meaning_may_be_there_twice_in_an_ndjson_row(tmp_path):
    line = f'{{"note": 1, "row_id": "a", "csr": "{b64(1)}", "NOTE": {{"csr": 1, "csr": 2}}}}\n'
    assert read(written(tmp_path, "batch.ndjson", line)) == [row("a", 1)]


def test_ndjson_values_that_are_not_text_are_bad_rows_or_plain_integers(tmp_path):
    lines = [
        {" Row_ID": 17, "CSR": b64(1)},
        {"row_id": 1.0, "csr": b64(1)},
        {"row_id": True, "csr": b64(1)},
        {"row_id": "a", "csr": ["x"]},
        {"row_id": "b", "csr": b64(1), "identifier": {}},
        {"row_id": "c\ud800\x00", "csr": b64(1)},
        {"csr": b64(1)},
        {"row_id": "d", "csr": None, "identifier": None},
    ]
    path = written(tmp_path, "batch.jsonl", "\ufeff" + "\r\n\n".join(map(json.dumps, lines)))
    assert [(found.row_id, found.problem and found.problem[0]) for found in read(path)] == [
        ("17", None),
        ("", "row.id_not_text"),
        ("", "row.id_not_text"),
        ("a", "row.csr_not_decodable"),
        ("b", "row.identifier_not_text"),
        ("c\ufffd\ufffd", "row.id_control_character"),
        ("", "row.id_missing"),
        ("d", "row.csr_missing"),
    ]


def test_a_json_line_has_a_limit(tmp_path):
    path = written(tmp_path, "batch.ndjson", '{"row_id": "' + "x" * 2_000_000)
    assert refusal(path, LimitExceededError) == "line 1: the line is longer than 1048576 octets"


def test_long_json_lines_come_in_shorter_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("pki_core.wire.batch_tables._PIECE_OCTETS", 1000)
    path = tmp_path / "batch.ndjson"
    as_ndjson(path, [(str(n), b64(n), "") for n in range(10)])
    pieces = list(read_batch(path, limits()))
    assert [len(piece) for piece in pieces] == [3, 3, 3, 1]


def test_numbers_in_a_workbook_are_row_ids_when_they_are_whole(tmp_path):
    path = tmp_path / "batch.xlsx"
    when = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    as_xlsx(path, [(7, b64(1), 5), (None, None, None), (1.5, b64(1), ""), (when, b64(1), ""), (None, b64(2), None)])
    assert [(found.row_id, found.problem and found.problem[0]) for found in read(path)] == [
        ("7", None),
        ("", "row.id_not_text"),
        ("", "row.id_not_text"),
        ("", "row.id_missing"),
    ]


def share_strings(path):
    """Move the text of a workbook into the part where Excel keeps it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    sheet, kinds = "xl/worksheets/sheet1.xml", "[Content_Types].xml"
    texts = re.findall(r"<is>(.*?)</is>", parts[sheet], re.DOTALL)
    numbers = iter(range(len(texts)))
    parts[sheet] = re.sub(r"<is>.*?</is>", lambda _: f"<v>{next(numbers)}</v>", parts[sheet], flags=re.DOTALL)
    parts[sheet] = parts[sheet].replace('t="inlineStr"', 't="s"')
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    items = "".join(f"<si>{text}</si>" for text in texts)
    parts["xl/sharedStrings.xml"] = f'<sst xmlns="{space}">{items}</sst>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    entry = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    parts[kinds] = parts[kinds].replace("</Types>", entry)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_a_workbook_as_excel_writes_it_is_read(tmp_path):
    path = tmp_path / "batch.xlsx"
    as_xlsx(path, [(f"r{n}", pem(n), "NA") for n in range(9)])
    share_strings(path)
    assert read(path) == [row(f"r{n}", n, "NA") for n in range(9)]


def test_a_workbook_is_refused_for_columns_emptiness_and_damage(tmp_path):
    path = tmp_path / "batch.xlsx"
    openpyxl.Workbook().save(path)
    assert refusal(path) == "row 1: there is no column 'row_id'"
    as_xlsx(path, [])
    assert refusal(path) == "row 1: there is a header, but no row follows it"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    assert refusal(path).startswith("the workbook cannot be read")


def test_a_workbook_that_unpacks_to_too_much_is_refused_before_it_is_opened(tmp_path):
    path = tmp_path / "batch.xlsx"
    as_xlsx(path, [("a", "x" * 30_000, "")] * 9)
    sentence = "the archive unpacks to more than 200000 octets"
    assert refusal(path, LimitExceededError, max_archive_octets=200_000) == sentence


def test_a_workbook_is_read_to_its_real_end_and_at_most_to_the_last_row_excel_has(tmp_path, monkeypatch):
    monkeypatch.setattr("pki_core.wire.batch_sheet._MAX_ROW", 20_000)  # a million takes five seconds
    path = tmp_path / "batch.xlsx"
    as_xlsx(path, [("a", b64(1), ""), ("b", b64(2), "")])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(b'<dimension ref="A1:C3"', b'<dimension ref="A1:B2"')
    for last, outcome in ((20_000, [row("a", 1), row("b", 2)]), (99_999_999_999, None)):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content.replace(b'<row r="3"', f'<row r="{last}"'.encode()))
        if outcome:
            assert read(path) == outcome
        else:
            assert refusal(path) == "the sheet has rows after row 20000"


def test_content_counts_before_the_extension(tmp_path):
    as_parquet(tmp_path / "a.csv", [("a", b64(1), "")])
    as_xlsx(tmp_path / "b.zip", [("b", b64(1), "")])
    assert (read(tmp_path / "a.csv"), read(tmp_path / "b.zip")) == ([row("a", 1)], [row("b", 1)])
    for suffix in (".zip", ".xlsx", ".parquet"):
        sentence = f"the file is named {suffix}, but its content is something else"
        assert refusal(written(tmp_path, f"c{suffix}", HEAD)) == sentence
    sentence = "the file is none of .csv, .ndjson, .jsonl, .parquet, .xlsx and .zip"
    assert refusal(written(tmp_path, "d.exe", HEAD)) == sentence


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".ndjson"])
def test_text_in_utf16_is_refused_with_the_way_out(tmp_path, suffix, codec):
    path = written(tmp_path, f"batch{suffix}", f"\ufeffrow_id\tcsr\na\t{b64(1)}\n".encode(codec))
    assert refusal(path) == "the file is UTF-16 text (Excel's 'Unicode Text'): save it as 'CSV UTF-8'"


def test_size_is_refused_at_the_call_and_rows_while_reading(tmp_path):
    path = tmp_path / "batch.csv"
    as_csv(path, [(str(n), b64(n), "") for n in range(7)])
    with pytest.raises(LimitExceededError, match=f"the file has {path.stat().st_size} octets, more than the 100"):
        read_batch(path, limits(max_octets=100))
    pieces = read_batch(path, limits(max_rows=6, piece_rows=5))
    assert len(next(pieces)) == 5
    with pytest.raises(LimitExceededError, match="the file has more than 6 rows"):
        next(pieces)


def test_the_digest_is_sha256_in_hex(tmp_path):
    path = written(tmp_path, "a", b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_importing_the_reader_loads_no_table_library():
    names = "pki_core.wire.batch_file, pki_core.wire.batch_result"
    code = f"import sys, {names}; print({{'pandas', 'pyarrow', 'openpyxl'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
