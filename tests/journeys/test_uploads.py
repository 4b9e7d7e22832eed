"""Uploads: a file becomes a batch, once; rows that are no requests get their verdict, a bad file leaves nothing."""

import hashlib
import os
from contextlib import closing

import pytest
from sqlalchemy import text

from flows.sample_batch import sample_csr, sample_emaid, sample_rows, write_sample
from pki_core.model.errors import (
    LimitExceededError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    OverloadedError,
)
from pki_core.model.states import BatchState
from pki_core.runtime.wiring import open_runtime
from pki_core.services import uploads
from pki_core.services.runners import running
from tests.journeys.acts import copy_home, hold, in_base64, rows, sub2, upload_of, uploads_with, verdicts, write_rows

pytest_plugins = ["tests.journeys.environments"]
BATCH_TABLES = ("batch", "batch_item", "batch_verdict", "batch_chunk")


@pytest.fixture
def sample(tmp_path):
    """Ten good rows."""
    write_sample(tmp_path / "sample.csv", 10, bad=0)
    return tmp_path / "sample.csv"


def count(runtime, table):
    return rows(runtime, f"SELECT count(*) FROM {table}")[0][0]  # noqa: S608  # names are ours


# --- a file becomes a batch


def test_a_file_becomes_a_queued_batch(any_environment, sample):
    batch, is_new = any_environment.uploads.submit(upload_of(sample))
    assert is_new
    assert (batch.state, batch.total, batch.partner_id, batch.source_name) == (
        BatchState.QUEUED,
        10,
        "demo-mo",
        "sample.csv",
    )
    assert batch.source_sha256 == hashlib.sha256(sample.read_bytes()).hexdigest()
    assert (batch.issuer_label, batch.profile_name) == ("mo-sub2", "contract_leaf")
    assert batch.profile_hash == any_environment.profiles["contract_leaf"].hash
    status, counts = any_environment.batches.status(batch.id)
    assert status == batch
    assert (counts.total, counts.issued, counts.refused, counts.pending) == (10, 0, 0, 10)
    assert verdicts(any_environment, batch) == {}


def test_the_same_file_twice_is_the_same_batch(any_environment, sample, tmp_path):
    first, _ = any_environment.uploads.submit(upload_of(sample))
    again = tmp_path / "renamed.csv"
    again.write_bytes(sample.read_bytes())
    second, is_new = any_environment.uploads.submit(upload_of(again))
    assert (second, is_new) == (first, False)
    assert [count(any_environment, table) for table in BATCH_TABLES] == [1, 10, 0, 1]


def test_the_same_rows_in_other_octets_are_another_batch(any_environment, sample):
    first, _ = any_environment.uploads.submit(upload_of(sample))
    sample.write_bytes(sample.read_bytes() + b"\n")
    second, is_new = any_environment.uploads.submit(upload_of(sample))
    assert is_new
    assert second.id != first.id


def test_the_same_file_under_another_profile_is_another_batch(any_environment, sample):
    first, _ = any_environment.uploads.submit(upload_of(sample))
    second, is_new = any_environment.uploads.submit(upload_of(sample, profile="contract_leaf_20"))
    assert is_new
    assert (second.id != first.id, second.issuer_label) == (True, "mo-sub2-20")


def test_a_submission_is_in_the_audit_log(any_environment, sample):
    batch, _ = any_environment.uploads.submit(upload_of(sample))
    any_environment.uploads.submit(upload_of(sample))
    assert rows(any_environment, "SELECT actor, detail FROM audit WHERE action = 'batch.submitted'") == [
        ("demo-mo", f"{batch.id} file {batch.source_sha256} rows 10")
    ]


def test_a_batch_goes_to_the_newest_issuer_of_its_branch(environment, sample):
    hold(environment, sub2())
    assert environment.uploads.submit(upload_of(sample))[0].issuer_label == "mo-sub2-b"


def test_rows_are_cut_into_chunks_that_know_what_was_refused(any_environment, tmp_path):
    table = [*sample_rows(10)]
    table[4] = ("no-csr", "", "")
    path = write_rows(tmp_path / "rows.csv", table)
    batch, _ = uploads_with(any_environment, chunk_rows=4).submit(upload_of(path))
    assert rows(any_environment, "SELECT first_seq, last_seq, refused, state FROM batch_chunk ORDER BY first_seq") == [
        (0, 3, 0, "open"),
        (4, 7, 1, "open"),
        (8, 9, 0, "open"),
    ]
    assert any_environment.batches.status(batch.id)[1].refused == 1


def test_the_name_of_a_file_may_be_anything(any_environment, sample):
    batch, _ = any_environment.uploads.submit(upload_of(sample, name="Verträge 2026 'Q1'; DROP TABLE.csv" * 20))
    assert batch.source_name.startswith("Verträge 2026 'Q1'; DROP TABLE.csv")
    assert len(batch.source_name) == 255


def test_the_name_of_a_file_is_stored_without_what_nobody_can_show(any_environment, sample):
    name = os.fsdecode(b"a\xffb\x1b[31m\n.csv")
    batch, _ = any_environment.uploads.submit(upload_of(sample, name=name))
    assert batch.source_name == "a\ufffdb\ufffd[31m\ufffd.csv"
    assert any_environment.batches.get(batch.id).source_name == batch.source_name


# --- who may


@pytest.mark.parametrize(
    ("partner", "profile", "error", "message"),
    [
        ("demo-cpo", "contract_leaf", NotAuthorizedError, "demo-cpo has no role that allows contract_leaf"),
        ("demo-mo", "evse_leaf", NotAuthorizedError, "demo-mo has no role that allows evse_leaf"),
        ("demo-mo", "cps_leaf", NotAuthorizedError, "no role"),
        ("nobody", "contract_leaf", NotFoundError, "there is no partner 'nobody'"),
        ("demo-mo", "contract", NotFoundError, "no certificate profile 'contract' for batches"),
        ("demo-mo", "mo_sub2", NotFoundError, "'mo_sub2' for batches"),
        ("demo-mo", "v2g_root", NotFoundError, "'v2g_root' for batches"),
        ("demo-mo", "ocsp_responder", NotFoundError, "'ocsp_responder' for batches"),
    ],
)
def test_a_partner_asks_for_leafs_of_its_own_role(untouched, sample, partner, profile, error, message):
    with pytest.raises(error, match=message):
        untouched.uploads.submit(upload_of(sample, partner, profile))
    assert count(untouched, "batch") == 0


@pytest.mark.postgres
def test_an_environment_without_the_hierarchy_takes_no_batch_for_it(founded_postgres, tmp_path, sample):
    home, databases = founded_postgres
    url = databases.create()
    with closing(open_runtime(copy_home(home, tmp_path / "home", url))) as runtime:
        with pytest.raises(NotFoundError, match="no issuer for contract_leaf_20_ed448"):
            runtime.uploads.submit(upload_of(sample, profile="contract_leaf_20_ed448"))
        assert count(runtime, "batch") == 0
    databases.drop(url)


# --- rows that get their verdict at once


def test_rows_that_cannot_be_requests_are_refused_one_by_one(any_environment, tmp_path):
    good = [*sample_rows(3)]
    table = [
        good[0],
        ("", good[1][1], ""),
        ("empty", "", ""),
        ("noise", "this is not a request", ""),
        ("text", in_base64(b"hello"), ""),
        ("wrong label", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", ""),
        ("too large", in_base64(b"\x30" + bytes(9000)), ""),
        ("control\x07", good[1][1], ""),
        ("x" * 129, good[1][1], ""),
        good[2],
    ]
    batch, _ = uploads_with(any_environment).submit(upload_of(write_rows(tmp_path / "rows.csv", table)))
    codes = [code for code, _ in verdicts(any_environment, batch).values()]
    assert codes == [
        "row.id_missing",
        "row.csr_missing",
        "row.csr_not_decodable",
        "row.csr_not_decodable",
        "row.csr_not_decodable",
        "row.csr_too_large",
        "row.id_control_character",
        "row.id_too_long",
    ]
    assert any_environment.batches.status(batch.id)[1].pending == 2


def test_a_row_that_repeats_another_is_refused_with_the_row_it_repeats(any_environment, tmp_path):
    first, second, third = sample_rows(3)
    other_request = in_base64(sample_csr(sample_emaid(2)))
    spelled = in_base64(sample_csr("de-pnc-c00000003-" + sample_emaid(3)[-1].lower()))
    table = [
        first,
        second,
        third,
        (first[0], in_base64(sample_csr(sample_emaid(50))), ""),
        ("again", first[1], ""),
        ("same name", other_request, ""),
        ("same name, spelled otherwise", spelled, ""),
        ("again", "", ""),
    ]
    batch, _ = uploads_with(any_environment).submit(upload_of(write_rows(tmp_path / "rows.csv", table)))
    assert batch.total == len(table)
    found = rows(any_environment, "SELECT seq, code, message FROM batch_verdict ORDER BY seq")
    assert [(seq, code) for seq, code, _ in found] == [
        (3, "row.duplicate_id"),
        (4, "row.duplicate_csr"),
        (5, "row.duplicate_identifier"),
        (6, "row.duplicate_identifier"),
        (7, "row.csr_missing"),
    ]
    assert "in row 1." in found[0][2]
    assert "row 1 " in found[1][2]
    assert "Row 2 " in found[2][2]
    assert "Row 3 " in found[3][2]


def test_an_expected_identifier_that_is_too_long_refuses_its_row_alone(any_environment, tmp_path):
    longest, other = sample_rows(2)
    table = [(longest[0], longest[1], "x" * 64), (other[0], other[1], "x" * 65)]
    batch, _ = any_environment.uploads.submit(upload_of(write_rows(tmp_path / "rows.csv", table)))
    found = verdicts(any_environment, batch)
    assert [(row_id, code) for row_id, (code, _) in found.items()] == [(other[0], "row.identifier_too_long")]


# --- files that are refused whole


def nothing_is_kept(runtime):
    return [count(runtime, table) for table in BATCH_TABLES] == [0, 0, 0, 0]


BAD_FILES = {
    "empty": ("rows.csv", b"", "the file is empty"),
    "no header": ("rows.csv", b"1,MAA=\n", "line 1"),
    "no csr column": ("rows.csv", b"row_id,request\n1,MAA=\n", "there is no column 'csr'"),
    "two csr columns": ("rows.csv", b"row_id,csr,csr\n1,MAA=,MAA=\n", "two columns 'csr'"),
    "no rows": ("rows.csv", b"row_id,csr\n", "no row"),
    "another kind of file": ("rows.pdf", b"%PDF-1.7\n", "none of .csv"),
    "a broken archive": ("rows.zip", b"PK\x03\x04" + bytes(100), "archive"),
    "no text": ("rows.csv", b"row_id,csr\n1,\xff\xfe\xfa\n", "line 2"),
    "a line with too many cells": ("rows.csv", b"row_id,csr\n" + b"1,MAA=\n" * 9 + b"10,MAA=,x,y\n", "line 11"),
}


@pytest.mark.parametrize(("file_name", "content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_read_is_refused_whole_and_leaves_nothing(
    untouched, tmp_path, file_name, content, message
):
    (tmp_path / file_name).write_bytes(content)
    with pytest.raises(MalformedError, match=message):
        uploads_with(untouched).submit(upload_of(tmp_path / file_name))
    assert nothing_is_kept(untouched)


def test_a_file_that_takes_all_memory_is_refused_as_too_large(untouched, sample, monkeypatch):
    def devour(*_arguments):
        raise MemoryError

    monkeypatch.setattr(uploads, "read_batch", devour)
    with pytest.raises(LimitExceededError, match="more memory than one may"):
        uploads_with(untouched).submit(upload_of(sample))
    assert nothing_is_kept(untouched)


def test_pieces_that_were_stored_before_the_fault_are_gone_too(any_environment, sample):
    # the fault stands in the third piece of four rows
    sample.write_bytes(sample.read_bytes() + b"11,MAA=,x,y,z\n")
    with pytest.raises(MalformedError, match="line "):
        uploads_with(any_environment).submit(upload_of(sample))
    assert nothing_is_kept(any_environment)


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"max_octets": 999}, "batches.max_octets allows 999"), ({"max_rows": 9}, "more than 9 rows")],
)
def test_a_file_beyond_a_limit_is_refused_with_the_limit(untouched, sample, limits, message):
    with pytest.raises(LimitExceededError, match=message):
        uploads_with(untouched, **limits).submit(upload_of(sample))
    assert nothing_is_kept(untouched)


def test_a_file_at_its_limits_is_taken(environment, sample):
    limits = {"max_rows": 10, "max_octets": sample.stat().st_size}
    assert uploads_with(environment, **limits).submit(upload_of(sample))[0].total == 10


def test_a_refused_file_can_be_mended_and_submitted(environment, sample):
    good = sample.read_bytes()
    sample.write_bytes(good + b'"')
    with pytest.raises(MalformedError):
        environment.uploads.submit(upload_of(sample))
    sample.write_bytes(good)
    assert environment.uploads.submit(upload_of(sample))[1]


def test_a_file_that_a_living_process_is_loading_is_not_loaded_twice(environment, sample):
    environment.uploads.submit(upload_of(sample))
    with environment.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE batch SET state = 'loading'"))
    with running() as runner:
        with environment.store.transaction() as work:
            work.audit._connection.execute(text("UPDATE batch SET runner = :runner"), {"runner": runner})
        with pytest.raises(OverloadedError, match="loading this file right now"):
            environment.uploads.submit(upload_of(sample))
