"""Uploads that fail, meet each other or meet a sweep: one file is one whole batch, or none."""

import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import text

from pki_core.model.errors import ConflictError, LeaseLostError, OverloadedError, PkiError, StoreUnavailableError
from pki_core.services import maintenance, uploads
from pki_core.services.runners import is_dead, runner_token
from pki_core.services.uploads import Uploads
from pki_core.store.batches import BatchGateway
from tests.audit_guards import drop_guards
from tests.invariants import check_books, connected, read_snapshot
from tests.journeys.crash_driver import Job, Orders, hand_in, run, sign, submit
from tests.journeys.crash_faults import DISK_FULL, answer_lost, finish_and_check, refusing, sign_all
from tests.journeys.crash_points import POINTS

pytest_plugins = ["tests.journeys.crash_environments"]
pytestmark = pytest.mark.slow


def execute(url, statement, **values):
    with connected(url) as connection:
        connection.execute(text(statement), values)


def as_if_its_loader_had_died(url):
    execute(url, "UPDATE batch SET state = 'loading', runner = :dead", dead=_dead())
    with connected(url) as connection:
        drop_guards(connection)
    execute(url, "DELETE FROM audit WHERE action = 'batch.submitted'")


@pytest.mark.parametrize(
    "point",
    [
        "before the empty batch is committed",
        "between the rows of a piece and their verdicts",
        "before the upload is committed",
    ],
)
def test_an_upload_whose_commit_is_not_confirmed_is_submitted_again_by_the_same_process(
    faulty, opened, other_sample, point
):
    runtime = opened()
    with answer_lost(runtime, replace(POINTS[point], nth=1)), pytest.raises(StoreUnavailableError):
        hand_in(runtime, other_sample)
    check_the_other_batch(runtime, faulty, other_sample)


@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("batch_item", "NEW.seq = 30"),
        ("batch_chunk", "NEW.first_seq = 30"),
        ("audit", "NEW.action = 'batch.submitted'"),
    ],
)
def test_an_upload_that_the_database_refused_is_submitted_again_by_the_same_process(
    faulty, opened, other_sample, table, condition
):
    runtime = opened()
    with refusing(faulty.url, table, condition, DISK_FULL), pytest.raises(PkiError):
        hand_in(runtime, other_sample)
    check_the_other_batch(runtime, faulty, other_sample)


def check_the_other_batch(runtime, faulty, file):
    batch_id, _ = hand_in(runtime, file)
    sign_all(runtime, batch_id)
    sign_all(runtime, faulty.batch_id)
    assert len(check_books(faulty.url, batch_id).codes) == 60
    assert len(read_snapshot(faulty.url).batches) == 2


def test_two_uploads_of_one_file_at_once_are_one_batch(faulty, opened, other_sample):
    for_both = threading.Barrier(2)
    results = []

    def load(runtime):
        for_both.wait()
        try:
            results.append(hand_in(runtime, other_sample)[1])
        except OverloadedError:
            results.append(None)

    threads = [threading.Thread(target=load, args=(opened(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    check_the_other_batch(opened(), faulty, other_sample)


@pytest.mark.softhsm
def test_two_processes_that_submit_one_file_at_once_make_one_batch(crashing, other_sample):
    with Job(submit, crashing, other_sample) as one, Job(submit, crashing, other_sample) as other:
        news = []
        for job in (one, other):
            with suppress(OverloadedError):
                news.append(job.result()[1])
    assert news.count(True) == 1
    batch_id, is_new = run(submit, crashing, other_sample)
    assert not is_new
    run(sign, replace(crashing, batch_id=batch_id), Orders())
    run(sign, crashing, Orders())
    assert len(check_books(crashing.url, batch_id).codes) == 60
    assert len(read_snapshot(crashing.url).batches) == 2


def test_a_sweep_does_not_discard_an_upload_that_was_taken_up_again_meanwhile(faulty, opened, monkeypatch):
    as_if_its_loader_had_died(faulty.url)
    successor = runner_token()
    look = maintenance.is_dead

    def take_up(runner):
        monkeypatch.undo()
        execute(faulty.url, "UPDATE batch SET runner = :successor", successor=successor)
        execute(faulty.url, "DELETE FROM batch_item WHERE seq >= 20")  # the first piece is loaded again
        return look(runner)

    monkeypatch.setattr(maintenance, "is_dead", take_up)
    opened().maintenance.sweep_stuck()
    after = read_snapshot(faulty.url)
    assert [row.id for row in after.batches] == [faulty.batch_id]
    assert len(after.items) == 20


def _dead():
    place, _, start, _ = runner_token().rsplit("/", 3)
    return f"{place}/4194999/{start}/00"


def test_a_batch_loaded_anew_by_two_at_once_is_loaded_by_one(faulty, opened, crash_sample, monkeypatch):
    as_if_its_loader_had_died(faulty.url)
    results = []
    barrier = threading.Barrier(2)
    find, fill = BatchGateway.find_source, Uploads._load

    def find_and_meet(*arguments):
        found = find(*arguments)
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.5)  # on SQLite the second one cannot come: the first holds the lock
        return found

    def load_slowly(*arguments):
        loaded = fill(*arguments)
        time.sleep(0.5)
        return loaded

    def load(runtime):
        try:
            results.append(hand_in(runtime, crash_sample))
        except PkiError as error:
            results.append(type(error))

    monkeypatch.setattr(BatchGateway, "find_source", find_and_meet)
    monkeypatch.setattr(Uploads, "_load", load_slowly)
    threads = [threading.Thread(target=load, args=(opened(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (faulty.batch_id, True) in results
    assert OverloadedError in results or (faulty.batch_id, False) in results
    runtime = opened()
    sign_all(runtime, faulty.batch_id)
    check_books(faulty.url, faulty.batch_id)


def test_a_loader_that_was_taken_for_dead_does_not_finish_its_successors_batch(
    faulty, opened, other_sample, monkeypatch
):
    """A host that shares its name with another one, for example."""
    read = uploads.read_batch

    def read_and_lose(*arguments):
        execute(faulty.url, "UPDATE batch SET runner = :other WHERE state = 'loading'", other="other")
        return read(*arguments)

    monkeypatch.setattr(uploads, "read_batch", read_and_lose)
    with pytest.raises((ConflictError, LeaseLostError)):
        hand_in(opened(), other_sample)
    monkeypatch.undo()
    after = read_snapshot(faulty.url)
    assert [row.state for row in after.batches] == ["queued", "loading"]
    assert len(after.items) == len([row for row in after.items if row.batch_number == after.batches[0].number])
    execute(faulty.url, "UPDATE batch SET runner = :dead WHERE state = 'loading'", dead=_dead())
    check_the_other_batch(opened(), faulty, other_sample)


@pytest.mark.postgres
@pytest.mark.parametrize("faulty", ["postgres"], indirect=True)
def test_a_slow_second_loader_does_not_empty_a_batch_that_was_loaded_and_signed_meanwhile(
    faulty, opened, expected_codes, crash_sample, monkeypatch
):
    as_if_its_loader_had_died(faulty.url)
    slow, quick = opened(), opened()

    def look_slowly(runner):
        monkeypatch.undo()
        assert hand_in(quick, crash_sample) == (faulty.batch_id, True)
        sign_all(quick, faulty.batch_id)
        return is_dead(runner)

    monkeypatch.setattr(uploads, "is_dead", look_slowly)
    with suppress(OverloadedError):
        assert hand_in(slow, crash_sample) == (faulty.batch_id, False)
    finish_and_check(slow, faulty, expected_codes)
