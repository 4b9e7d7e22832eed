"""CSV batches: dialects are recognised, and what is no table is refused with line and column."""

import csv

import pytest

from pki_core.model.errors import LimitExceededError, RequestError
from tests.unit.batch_samples import HEAD, b64, csv_text, pem, read, refusal, row, written


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_csv_dialects_are_recognised_by_the_header(tmp_path, delimiter, end, mark, quoting):
    text = csv_text([("a", pem(1)), ("b;,c", b64(2))], ("Row_ID", " CSR "), delimiter, quoting).replace("\n", end)
    path = written(tmp_path, "batch.txt", mark + end + text + end)
    assert read(path) == [row("a", 1), row("b;,c", 2)]
    assert read(written(tmp_path, "no_last_end.csv", mark + text.removesuffix(end))) == read(path)


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=,", "sep=\t"])
def test_the_line_that_names_the_delimiter_for_excel_is_no_header(tmp_path, first):
    text = csv_text([("a", b64(1)), ("b", b64(2))], ("row_id", "csr"), first.strip('"')[-1])
    path = written(tmp_path, "batch.csv", f"\ufeff{first}\r\n{text}")
    assert read(path) == [row("a", 1), row("b", 2)]
    broken = written(tmp_path, "broken.csv", f"{first}\n{text}x\n")
    assert refusal(broken).startswith("line 5, column 2: the line ends after field 1 of 2")
    assert refusal(written(tmp_path, "nothing.csv", first)) == "the file is empty"


def test_columns_may_stand_in_any_order_among_others(tmp_path):
    text = csv_text([("x", "", b64(1), "I", "a", "y,z")], ("note", "", "csr", "Identifier", "ROW_ID", "more"))
    assert read(written(tmp_path, "batch.csv", text)) == [row("a", 1, "I")]


def test_rows_and_quotes_survive_any_block_boundary(tmp_path, monkeypatch):
    rows = [(f"r{n}", [pem(n), b64(n)][n % 2], 'a "quoted", name\r\n') for n in range(8)]
    path = written(tmp_path, "batch.csv", csv_text(rows, ("row_id", "csr", "note")).replace("\n", "\r\n"))
    for block in range(1, 60):
        monkeypatch.setattr("pki_core.wire.batch_csv._BLOCK", block)
        assert read(path) == [row(f"r{n}", n) for n in range(8)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        ("\n \r\n\t\r", "the file is empty"),
        (HEAD, "line 1: there is a header, but no row follows it"),
        ("\n\nrow_id,identifier\na,b\n", "line 3: there is no column 'csr'"),
        ("csr;name\nb;c\n", "line 1: there is no column 'row_id'"),
        ("row_id,csr,CSR \na,b,c\n", "line 1: there are two columns 'csr'"),
        ('row_id,"csr\na,b\n', "line 1: the quotes in the header do not match"),
        (f"row_id,csr,{'x' * 70_000}\n", "line 1: the header is longer than 65536 characters"),
        ("x" * 700_000, "line 1: the header is longer than 65536 characters"),
        ("row_id,csr" + ",x" * 300 + "\n", "line 1: there are more than 256 columns"),
        (HEAD + "a,b,c\nd,e\n", "line 3, column 4: the line ends after field 2 of 3"),
        (HEAD + "a,b,c\nd,e,f,g\n", "line 3, column 7: there is a field too many, the header has 3"),
        (HEAD + "d,e,f,g\n", "line 2, column 7: there is a field too many, the header has 3"),
        (HEAD + "d,e,\n\na\n", "line 4, column 2: the line ends after field 1 of 3"),
        (HEAD + 'a,"b\nc","d\ne"\nx,"y\n\nz\n', "line 5, column 3: the quote opened here is never closed"),
        (HEAD + 'a,"b\nc" ,d\n', "line 3, column 3: text follows a closing quote"),
        (HEAD + 'a,"b\r\nc",d\r\ne,f', "line 4, column 4: the line ends after field 2 of 3"),
        ((HEAD + "a,\u00e9\u00e9").encode() + b"\xff,c\n", "line 2, column 5: the octet 0xff is not UTF-8"),
        ((HEAD + "a,b,c\n\u00e9").encode()[:-1], "line 3, column 1: the octet 0xc3 is not UTF-8"),
        (HEAD.encode("utf-16"), "the file is UTF-16 text (Excel's 'Unicode Text'): save it as 'CSV UTF-8'"),
        (b"\xff" + HEAD.encode(), "line 1, column 1: the octet 0xff is not UTF-8"),
    ],
)
def test_a_csv_file_that_is_no_table_is_refused_with_line_and_column(tmp_path, content, sentence):
    assert refusal(written(tmp_path, "batch.csv", content)) == sentence


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_place_is_right_for_any_line_end_at_any_block_boundary(tmp_path, end, monkeypatch):
    text = HEAD + 'a,"b\n\nc",d\n\n\ne,f,g\nh,"i\nj",k,l\n'
    path = written(tmp_path, "batch.csv", text.replace("\n", end))
    for block in range(1, 30):
        monkeypatch.setattr("pki_core.wire.batch_csv._BLOCK", block)
        assert refusal(path) == "line 9, column 6: there is a field too many, the header has 3"


def test_a_fault_is_found_where_it_is_and_not_at_the_end_of_the_file(tmp_path):
    text = HEAD + "a,b\n" + f"a,{b64(1)},c\n" * 5000
    assert len(text) > 1_500_000
    assert refusal(written(tmp_path, "batch.csv", text)) == "line 2, column 4: the line ends after field 2 of 3"


@pytest.mark.parametrize("filler", ["\r", "\n", ",,\r", " \n", '"",,\n', '"\r"",",,\r\n'])
def test_many_short_lines_cost_no_more_than_their_length(tmp_path, filler):
    path = written(tmp_path, "batch.csv", HEAD + filler * 300_000)
    sentence = "50000 rows" if "," in filler else "no row follows"
    assert sentence in refusal(path, RequestError)
    path = written(tmp_path, "batch.csv", "\n" * 300_000 + "\r" * 300_000 + HEAD + "a,b")
    assert refusal(path) == "line 600002, column 4: the line ends after field 2 of 3"


def test_the_place_is_right_far_down_the_file(tmp_path):
    text = HEAD + f'a,"{b64(1)}\n",c\r\n' * 4000 + 'b,"c"d,e\n'
    assert len(text) > 2 * 256 * 1024
    assert refusal(written(tmp_path, "batch.csv", text)).startswith("line 8002, column 6: ")


def test_a_quote_left_open_does_not_draw_the_file_into_memory(tmp_path):
    path = written(tmp_path, "batch.csv", HEAD + 'a,"b,c\n' + "x" * 5_000_000)
    assert refusal(path, LimitExceededError).startswith("line 2: the row is longer than 1048576 characters")
    path = written(tmp_path, "batch.csv", HEAD + f"a,{'x' * 900_000},c\n" * 8)
    sentence = "the rows before it are too long for a batch of requests"
    assert sentence in refusal(path, LimitExceededError, piece_rows=100, max_csr_octets=1000)


def test_a_long_cell_is_only_a_bad_row(tmp_path):
    path = written(tmp_path, "batch.csv", HEAD + f"a,{'x' * 900_000},c\nb,{b64(1)},\n")
    bad, good = read(path)
    assert bad.problem[0] == "row.csr_too_large"
    assert good == row("b", 1)
