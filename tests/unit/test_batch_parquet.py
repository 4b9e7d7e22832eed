"""Uploads as Parquet: text types, gaps, shared values and their memory, types and columns that are refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pki_core.model.errors import LimitExceededError
from pki_core.wire.batch_file import read_batch
from tests.unit.batch_samples import as_parquet, b64, der, limits, pem, read, refusal, row


def test_parquet_text_may_be_of_any_text_type_and_have_gaps(tmp_path):
    path = tmp_path / "batch"
    columns = {
        "CSR": pa.array([der(1), pem(2).encode(), None, b"\xff"], pa.large_binary()),
        "Row_Id": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
        "other": pa.array([1, 2, 3, 4]),
        "identifier": pa.array([None, "X", None, ""], pa.large_string()),
    }
    pq.write_table(pa.table(columns), path)
    first, second, third, fourth = read(path)
    assert (first, second) == (row("a", 1), row("b", 2, "X"))
    assert (third.problem[0], fourth.problem[0]) == ("row.csr_missing", "row.csr_not_decodable")


def shared_value(path, value, rows=5000):
    """One value that all rows share: kilobytes of file, and as many copies as rows to whoever unfolds it."""
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value]))
    table = pa.table({"row_id": pa.array([f"r{n}" for n in range(rows)]), "csr": shared})
    pq.write_table(table, path, compression="zstd", store_schema=False)


def read_counting(path, **changes):
    """Rows of a file, and the most that pyarrow held at a time."""
    usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    try:
        return read(path, **changes), counted.max_memory()
    finally:
        pa.set_memory_pool(usual)


@pytest.mark.parametrize("value", ["A" * 100_000, "\N{EURO SIGN}" * 40_000, b"\x30" + bytes(100_000)], ids=type)
def test_a_parquet_value_that_many_rows_share_takes_the_memory_of_one(tmp_path, value):
    path = tmp_path / "batch.parquet"
    shared_value(path, value)
    found, most = read_counting(path)
    assert {one.problem[0] for one in found} == {"row.csr_too_large"}
    assert len(found) == 5000
    assert most < 10_000_000  # unfolded: 500 MB


def test_parquet_values_that_no_rows_share_are_not_collected(tmp_path):
    path = tmp_path / "batch.parquet"
    as_parquet(path, [(str(n), f"{n:06}" * 200, "") for n in range(20_000)])
    found, most = read_counting(path, max_rows=20_000, piece_rows=1000, max_archive_octets=10**8)
    assert len(found) == 20_000
    assert most < 12_000_000  # collected: 24 MB and their hashes


def test_long_parquet_rows_come_in_shorter_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("pki_core.wire.batch_tables._PIECE_OCTETS", 1000)
    path = tmp_path / "batch.parquet"
    as_parquet(path, [(str(n), f"{n:03}" * 100, "") for n in range(10)])
    pieces = list(read_batch(path, limits()))
    assert len(pieces) > 2
    assert sum(len(piece) for piece in pieces) == 10


def test_parquet_row_ids_may_be_whole_numbers_as_in_a_sheet(tmp_path):
    path = tmp_path / "batch"
    pq.write_table(pa.table({"row_id": pa.array([7, None, 10**18 + 1]), "csr": [pem(1), pem(2), pem(3)]}), path)
    first, second, third = read(path)
    assert (first.row_id, third.row_id) == ("7", "1000000000000000001")
    assert second.problem[0] == "row.id_missing"


def test_a_parquet_file_is_refused_for_types_columns_and_damage(tmp_path):
    path = tmp_path / "batch.parquet"
    pq.write_table(pa.table({"row_id": [1.5], "csr": ["x"]}), path)
    assert refusal(path) == "the column 'row_id' is of type double, not text"
    pq.write_table(pa.table({"row_id": [1], "csr": [2]}), path)
    assert refusal(path) == "the column 'csr' is of type int64, not text"
    pq.write_table(pa.table({"row_id": ["1"], "cs": ["x"]}), path)
    assert refusal(path) == "there is no column 'csr'"
    pq.write_table(pa.table({"row_id": pa.array([], pa.string()), "csr": pa.array([], pa.string())}), path)
    assert refusal(path) == "the file has no row"
    for kind in (pa.float64(), pa.null()):  # what pandas makes of columns without a value
        pq.write_table(pa.table({"row_id": pa.array([], kind), "csr": pa.array([], kind)}), path)
        assert refusal(path) == "the file has no row"
    pq.write_table(pa.table({"row_id": pa.array([], pa.float64())}), path)
    assert refusal(path) == "there is no column 'csr'"
    as_parquet(path, [("a", b64(1), "")] * 3)
    assert refusal(path, LimitExceededError, max_rows=2) == "the file has more than 2 rows"
    assert refusal(path, LimitExceededError, max_archive_octets=99) == "the file unpacks to more than 99 octets"
    with pytest.raises(LimitExceededError):  # at the first piece, by what the footer says
        next(read_batch(path, limits(max_rows=2, piece_rows=1)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30] + whole[-8:])
    assert refusal(path).startswith("the Parquet file cannot be read: ")


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "batch.parquet"
    octets = pa.array([b"a\xff"])
    ids = pa.Array.from_buffers(pa.string(), 1, octets.buffers())
    pq.write_table(pa.table([ids, pa.array([b64(1)])], names=["row_id", "csr"]), path)
    assert "UTF8" in refusal(path)
