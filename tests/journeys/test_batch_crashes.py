"""Kill -9 of runners and uploads at every boundary and at random: nothing lost, nothing doubled."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.invariants import check_books, connected, read_snapshot
from tests.journeys.acts import in_base64, write_rows
from tests.journeys.crash_driver import CHUNK_ROWS, Job, Orders, Storm, harass, run, run_until_death, sign, submit
from tests.journeys.crash_points import FINISHING, POINTS, SIGNING, UPLOADING

pytest_plugins = ["tests.journeys.crash_environments"]
pytestmark = [pytest.mark.softhsm, pytest.mark.slow]

# Each database with one way to heal in every run, the other two in the soak run.
WAYS = pytest.mark.parametrize(
    ("crashing", "heal"),
    [
        ("sqlite", "resume"),
        pytest.param("postgres", "sweep", marks=pytest.mark.postgres),
        pytest.param("sqlite", "sweep", marks=pytest.mark.soak),
        pytest.param("postgres", "resume", marks=[pytest.mark.postgres, pytest.mark.soak]),
    ],
    indirect=["crashing"],
)
POISONED = 25
DEATHS_UNTIL_QUARANTINE = 6  # three of the whole chunk, three of the row alone


@WAYS
@pytest.mark.parametrize("point", [*SIGNING, *FINISHING])
def test_a_runner_killed_at_a_boundary_costs_nothing_but_serials(crashing, expected_codes, point, heal):
    run_until_death(sign, crashing, Orders(point=point))
    run(sign, crashing, Orders(heal=heal))
    books = check_books(crashing.url, crashing.batch_id)
    assert books.codes == expected_codes
    burned = books.issued_in(CHUNK_ROWS, 2 * CHUNK_ROWS - 1) if POINTS[point].burns else 0
    assert books.void == burned


@WAYS
@pytest.mark.parametrize("point", UPLOADING)
def test_an_upload_killed_on_its_way_is_submitted_again_as_one_whole_batch(crashing, other_sample, point, heal):
    run_until_death(submit, crashing, other_sample, point)
    batch_id, is_new = run(submit, crashing, other_sample, "", heal)
    assert is_new == (point != "after the upload")
    other = replace(crashing, batch_id=batch_id)
    run(sign, other, Orders())
    books = check_books(other.url, other.batch_id)
    assert (len(books.codes), sorted(books.refused)) == (60, [9, 19, 29, 39, 49, 59])
    assert len(read_snapshot(other.url).batches) == 2


@pytest.mark.parametrize("runners", [1, 3])
@pytest.mark.parametrize("seed", [1])
def test_runners_killed_at_random_moments_cost_nothing(crashing, expected_codes, runners, seed):
    assert harass(crashing, Storm(runners=runners, kills=4, seed=seed))
    run(sign, crashing, Orders(heal="sweep"))
    assert check_books(crashing.url, crashing.batch_id).codes == expected_codes


def test_a_row_that_kills_its_runner_every_time_is_quarantined_and_no_other(crashing, expected_codes):
    poison = bytes(next(row.csr_der for row in read_snapshot(crashing.url).items if row.seq == POISONED))
    deaths = 0
    while deaths <= DEATHS_UNTIL_QUARANTINE:
        with Job(sign, crashing, Orders(poison=poison)) as job:
            if job.ended() == 0:
                break
            deaths += 1
    assert deaths == DEATHS_UNTIL_QUARANTINE
    books = check_books(crashing.url, crashing.batch_id)
    assert books.codes == expected_codes | {POISONED: "row.quarantined"}


def test_a_quarantined_row_is_signed_by_a_file_of_its_own_once_its_cause_is_mended(crashing, tmp_path):
    row = next(row for row in read_snapshot(crashing.url).items if row.seq == POISONED)
    poison = bytes(row.csr_der)
    for _ in range(DEATHS_UNTIL_QUARANTINE):
        run_until_death(sign, crashing, Orders(poison=poison))
    run(sign, crashing, Orders(poison=poison))
    alone = write_rows(tmp_path / "alone.csv", [("alone", in_base64(poison), "")])
    batch_id, is_new = run(submit, crashing, alone, "", "")
    assert is_new
    own = replace(crashing, batch_id=batch_id)
    run(sign, own, Orders())
    assert check_books(own.url, own.batch_id).codes == {0: "issued"}
    assert check_books(crashing.url, crashing.batch_id).codes[POISONED] == "row.quarantined"


def test_a_quarantine_killed_before_its_commit_is_done_again(crashing, expected_codes):
    poison = bytes(next(row.csr_der for row in read_snapshot(crashing.url).items if row.seq == POISONED))
    for _ in range(DEATHS_UNTIL_QUARANTINE):
        run_until_death(sign, crashing, Orders(poison=poison))
    run_until_death(sign, crashing, Orders(point="before the quarantine is committed"))
    run(sign, crashing, Orders(poison=poison))
    books = check_books(crashing.url, crashing.batch_id)
    assert books.codes == expected_codes | {POISONED: "row.quarantined"}


def test_workers_do_not_outlive_the_command_that_was_killed(crashing, expected_codes):
    with Job(sign, crashing, Orders(workers=2)) as job:
        _wait(lambda: _done_chunks(crashing.url), "no chunk is signed")
        workers = Path(f"/proc/{job.process.pid}/task/{job.process.pid}/children").read_text().split()
        assert len(workers) >= 2
        assert job.kill()
    try:
        _wait(lambda: not any(map(_is_alive, workers)), "workers are alive long after their parent was killed")
    finally:
        for worker in filter(_is_alive, workers):
            os.kill(int(worker), 9)
    run(sign, crashing, Orders())
    assert check_books(crashing.url, crashing.batch_id).codes == expected_codes


def test_a_token_file_that_a_kill_during_login_left_empty_costs_no_key(crashing, expected_codes):
    run_until_death(sign, crashing, Orders(point="after the claim"))
    for file in crashing.home.glob("token/tokens/*/token.object"):
        file.write_bytes(b"")  # SoftHSM 2.6.1 empties it at every login, and then writes it anew
    run(sign, crashing, Orders())
    assert check_books(crashing.url, crashing.batch_id).codes == expected_codes


def _wait(condition, problem):
    end = time.monotonic() + 60  # two interpreters start meanwhile, perhaps on a busy machine
    while not condition():
        assert time.monotonic() < end, problem
        time.sleep(0.02)


def _done_chunks(url):
    with connected(url) as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM batch_chunk WHERE state = 'done'").scalar()


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
