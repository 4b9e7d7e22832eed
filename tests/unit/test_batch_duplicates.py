"""Repeated rows of a batch."""

from pki_core.wire.batch_duplicates import RepeatedRows


def _groups(*rows):
    repeats = RepeatedRows()
    for seq, (row_id, name) in enumerate(rows):
        repeats.add(seq, row_id=row_id, name=name)
    return {kind: sorted(repeats.groups(kind)) for kind in ("row_id", "name")}


def test_rows_that_differ_in_everything_repeat_nothing():
    assert _groups((b"1", b"A"), (b"2", b"B")) == {"row_id": [], "name": []}


def test_rows_of_one_value_are_told_together_in_the_order_of_the_file():
    found = _groups((b"1", b"A"), (b"2", b"B"), (b"1", b"C"), (b"4", b"A"), (b"5", b"B"), (b"1", b"A"))
    assert found == {"row_id": [[0, 2, 5]], "name": [[0, 3, 5], [1, 4]]}


def test_an_empty_name_repeats_nothing():
    assert _groups((b"1", b""), (b"2", b"")) == {"row_id": [], "name": []}


def test_no_rows_repeat_nothing():
    assert _groups() == {"row_id": [], "name": []}
