"""Rows of a table of contracts: cells of CSV, NDJSON, Parquet and XLSX become orders, wrong ones a problem each."""

import json
from datetime import UTC, date, datetime

import pytest

from pki_core.model.errors import InvariantError, MalformedError
from pki_core.wire.batch_file import read_batch
from pki_core.wire.contract_rows import ContractRows, moment_of, order_json, parse_order
from tests.journeys.acts import LIMITS, write_rows

HEADER = ("emaid", "pcid", "begins", "ends")
ROW = ("DEPNC000000001", "WPN00000000000001", "2026-01-01T10:00:00+02:00", "2027-01-01")
BEGINS, ENDS = datetime(2026, 1, 1, 8, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def rows_of(path):
    return [row for piece in read_batch(path, LIMITS, ContractRows) for row in piece]


def check(row, days=0):
    assert (row.row_id, row.expected_identifier, row.problem) == (ROW[0], ROW[0], None)
    order = parse_order(row.row_id, row.csr_der)
    assert (order.emaid, order.pcid, order.begins, order.ends, order.renew_days) == (*ROW[:2], BEGINS, ENDS, days)
    assert parse_order("x", order_json(order))[1:] == order[1:]


def test_csv(tmp_path):
    check(*rows_of(write_rows(tmp_path / "a.csv", [ROW], HEADER)))
    (row,) = rows_of(write_rows(tmp_path / "b.csv", [(90, *reversed(ROW))], ("renew_days", *reversed(HEADER))))
    check(row, 90)


def test_ndjson(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text(json.dumps(dict(zip(HEADER, ROW, strict=True)) | {"renew_days": 5}) + "\n")
    check(*rows_of(path), 5)


def test_parquet_and_xlsx_with_times_of_their_own(tmp_path):
    import openpyxl
    import pandas as pd

    columns = {"emaid": [ROW[0]], "pcid": [ROW[1]], "begins": [pd.Timestamp(BEGINS)], "ends": [ENDS.date()]}
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet")
    check(*rows_of(tmp_path / "a.parquet"))
    book = openpyxl.Workbook()
    book.active.append(HEADER)
    book.active.append([*ROW[:2], BEGINS.replace(tzinfo=None), ENDS.replace(tzinfo=None)])
    book.save(tmp_path / "a.xlsx")
    check(*rows_of(tmp_path / "a.xlsx"))


@pytest.mark.parametrize(
    ("column", "cell", "code"),
    [
        ("emaid", "", "row.id_missing"),
        ("pcid", "", "row.pcid_missing"),
        ("pcid", "ü" * 17, "row.pcid_invalid"),
        ("pcid", "A" * 65, "row.pcid_invalid"),
        ("begins", "", "row.begins_invalid"),
        ("ends", "never", "row.ends_invalid"),
        ("ends", "9" * 50, "row.ends_invalid"),
        ("renew_days", "-1", "row.renew_days_invalid"),
        ("renew_days", "731", "row.renew_days_invalid"),
        ("renew_days", "a", "row.renew_days_invalid"),
    ],
)
def test_a_cell_that_says_nothing_is_a_problem_of_its_row(tmp_path, column, cell, code):
    header = (*HEADER, "renew_days")
    wrong = [cell if name == column else value for name, value in zip(header, (*ROW, ""), strict=True)]
    first, second = rows_of(write_rows(tmp_path / "a.csv", [wrong, (*ROW, "")], header))
    assert (first.problem[0], first.csr_der) == (code, b"")
    check(second)


def test_a_zip_of_files_is_no_table(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csr", "x")
    with pytest.raises(MalformedError, match="no table"):
        rows_of(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2027-01-01T00:00:00Z", ENDS),
        ("2027-01-01", ENDS),
        (date(2027, 1, 1), ENDS),
        (datetime(2027, 1, 1), ENDS),  # noqa: DTZ001  # a cell of a sheet has no zone
        ("2027-01-01T00:00:00.999Z", ENDS),
        ("", None),
        (None, None),
        (5, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("\uff12027-01-01", None),
    ],
)
def test_moments_are_iso_8601_in_utc(cell, moment):
    assert moment_of(cell) == moment


@pytest.mark.parametrize("kept", [b"", b"[]", b"{}", b'{"emaid": "a"}'])
def test_an_order_that_was_not_kept_as_one_is_our_fault(kept):
    with pytest.raises(InvariantError):
        parse_order("x", kept)
