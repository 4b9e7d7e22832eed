"""Repeated rows of a batch."""

from pki_core.wire.batch_duplicates import RepeatedRows


def _rows(*rows):
    repeats = RepeatedRows()
    for seq, (row_id, csr, name) in enumerate(rows):
        repeats.add(seq, row_id=row_id, csr=csr.ljust(8, b"\0"), name=name)
    return list(repeats.found())


def test_rows_that_differ_in_everything_repeat_nothing():
    assert _rows((b"1", b"a", b"A"), (b"2", b"b", b"B")) == []


def test_a_repeat_names_the_first_row_and_each_row_is_told_once():
    found = _rows((b"1", b"a", b"A"), (b"2", b"a", b"A"), (b"1", b"c", b"C"), (b"4", b"d", b"A"))
    assert found == [(1, "csr", 0), (2, "row_id", 0), (3, "name", 0)]


def test_every_repeat_points_at_the_very_first_row():
    assert _rows(*[(bytes((n,)), b"same", b"") for n in range(5)]) == [(n, "csr", 0) for n in range(1, 5)]


def test_an_empty_name_repeats_nothing():
    assert _rows((b"1", b"a", b""), (b"2", b"b", b"")) == []


def test_no_rows_repeat_nothing():
    assert _rows() == []
