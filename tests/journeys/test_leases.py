"""Leases: a runner that comes too late records nothing, and nobody's living work is taken away."""

import sys
import threading
from contextlib import suppress
from datetime import timedelta

import pytest

from pki_core.issuance import pace
from pki_core.issuance.issuer import Issuer
from pki_core.model.errors import LeaseExpiredError, LeaseLostError, UnavailableError
from pki_core.services import batches
from pki_core.services.batches import Batches
from pki_core.services.enroll import Enrollment
from pki_core.services.runners import runner_token
from pki_core.store.chunks import ChunkGateway
from tests.invariants import check_at_any_time, read_snapshot
from tests.journeys.crash_driver import CHUNK_ROWS
from tests.journeys.crash_faults import finish_and_check, sign_all
from tests.journeys.crash_points import Point, interposed

pytest_plugins = ["tests.journeys.crash_environments"]
pytestmark = pytest.mark.slow

LEASE_SECONDS = 60
OPEN_ROWS = CHUNK_ROWS - 1  # of the first chunk: one row is refused at the upload
GONE = "another-machine/0123456789abcdef01/4026531836/4242/1000/0011223344556677"


def wait(runtime, seconds):
    runtime.clock.ahead += timedelta(seconds=seconds)


LATE = pytest.mark.parametrize(
    "point",
    [
        Point(Enrollment, "_reserve", "before"),
        Point(Issuer, "sign", "before", burns=True),
        Point(Issuer, "sign", "after", burns=True),
        Point(Enrollment, "_record", "before", burns=True),
    ],
    ids=lambda point: f"{point.when} {point.name}",
)


@LATE
def test_a_lease_that_ran_out_while_signing_voids_what_was_signed(faulty, opened, expected_codes, point):
    runtime = opened()
    with (
        interposed(point, lambda: wait(runtime, LEASE_SECONDS)),
        pytest.raises(LeaseLostError),
    ):
        runtime.batches.sign_next_chunk(faulty.batch_id, runner_token())
    check_at_any_time(faulty.url)
    books = finish_and_check(runtime, faulty, expected_codes)
    # A reservation made after the lease of its chunk had run out is void as well.
    assert books.void == books.issued_in(0, CHUNK_ROWS - 1)


@LATE
def test_a_late_runner_cannot_touch_what_its_successor_did(faulty, opened, expected_codes, point):
    late, successor = opened(), opened(LEASE_SECONDS)
    reports = []

    def take_over():
        reports.append(successor.batches.sign_next_chunk(faulty.batch_id, runner_token()))

    with interposed(point, take_over), pytest.raises(LeaseLostError):
        late.batches.sign_next_chunk(faulty.batch_id, runner_token())
    assert [report.rows for report in reports] == [OPEN_ROWS]
    check_at_any_time(faulty.url)
    books = finish_and_check(late, faulty, expected_codes)
    assert books.void == (books.issued_in(0, CHUNK_ROWS - 1) if point.burns else 0)


def test_a_late_runner_does_not_give_back_the_chunk_its_successor_is_working_on(faulty, opened, expected_codes):
    late, successor, third = opened(), opened(LEASE_SECONDS), opened(LEASE_SECONDS)
    refused = []

    def come_late():
        with suppress(LeaseLostError):
            resume.set()
            late_thread.join()
            refused.append(third.batches._claim(third.batches.get(faulty.batch_id), runner_token())[0].first_seq)

    claimed, resume = threading.Event(), threading.Event()

    def sign_late():
        chunk, _ = late.batches._claim(late.batches.get(faulty.batch_id), runner_token())
        claimed.set()
        resume.wait(30)
        with suppress(LeaseLostError):
            late.batches._sign(late.batches.get(faulty.batch_id), chunk)

    late_thread = threading.Thread(target=sign_late)
    late_thread.start()
    assert claimed.wait(30)
    with interposed(Point(Enrollment, "_record", "before"), come_late):
        assert successor.batches.sign_next_chunk(faulty.batch_id, runner_token()).rows == OPEN_ROWS
    assert refused == [CHUNK_ROWS]
    wait(successor, LEASE_SECONDS)  # the third one's lease
    finish_and_check(successor, faulty, expected_codes)


@pytest.mark.parametrize(("seconds", "first_seq"), [(LEASE_SECONDS - 1, CHUNK_ROWS), (LEASE_SECONDS, 0)])
def test_a_chunk_is_free_at_the_very_second_its_runner_may_no_longer_record(faulty, opened, seconds, first_seq):
    holder, other = opened(), opened()
    other.clock = holder.clock = Still(holder.clock.now())
    holder.batches._claim(holder.batches.get(faulty.batch_id), "holder")
    holder.clock.time += timedelta(seconds=seconds)
    chunk, _ = other.batches._claim(other.batches.get(faulty.batch_id), "other")
    assert chunk.first_seq == first_seq


class Still:
    """A clock that stands."""

    def __init__(self, time):
        self.time = time

    def now(self):
        return self.time


def test_two_runners_at_once_share_a_batch_without_a_row_twice(faulty, opened, expected_codes):
    runtimes = [opened(), opened(), opened()]
    threads = [threading.Thread(target=sign_all, args=(one, faulty.batch_id)) for one in runtimes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert finish_and_check(runtimes[0], faulty, expected_codes).void == 0


def test_a_batch_is_reported_done_once_however_many_runners_see_its_end(faulty, opened, expected_codes):
    runtime, other = opened(), opened()

    def nothing_is_open(_arguments, _result):
        return runtime.batches.open_chunks(faulty.batch_id) == 0

    point = Point(Batches, "_claim", "before", counts=nothing_is_open)
    with interposed(point, lambda: sign_all(other, faulty.batch_id)):
        sign_all(runtime, faulty.batch_id)
    finish_and_check(runtime, faulty, expected_codes)


def test_living_runners_keep_their_chunks_when_the_dead_are_cleared_away(faulty, opened):
    runtime = opened()
    batch = runtime.batches.get(faulty.batch_id)
    living = runner_token()
    place, pid, start, _ = living.rsplit("/", 3)
    for runner in (living, f"{place}/{pid}/{int(start) - 1}/00", f"{place}/4194999/{start}/00", GONE):
        runtime.batches._claim(batch, runner)
    assert runtime.batches.free_dead_runners(faulty.batch_id) == 2
    free = [runtime.batches._claim(batch, "next")[0].first_seq for _ in range(3)]
    assert free == [CHUNK_ROWS, 2 * CHUNK_ROWS, 4 * CHUNK_ROWS]


def test_a_sweep_leaves_a_living_runner_alone(faulty, opened, expected_codes):
    runtime, sweeper = opened(), opened()
    reports = []
    with interposed(Point(Issuer, "sign", "after"), lambda: reports.append(sweeper.maintenance.sweep_stuck())):
        sign_all(runtime, faulty.batch_id)
    assert (reports[0].voided_reservations, reports[0].freed_chunks, reports[0].resumable) == (0, 0, ())
    assert finish_and_check(runtime, faulty, expected_codes).void == 0


def test_a_sweep_voids_a_reservation_whose_lease_ran_out_and_its_runner_records_nothing(faulty, opened, expected_codes):
    runtime, sweeper = opened(), opened(LEASE_SECONDS + 1)
    reports = []
    with (
        interposed(Point(Issuer, "sign", "after"), lambda: reports.append(sweeper.maintenance.sweep_stuck())),
        pytest.raises(LeaseLostError),
    ):
        sign_all(runtime, faulty.batch_id)
    books = finish_and_check(runtime, faulty, expected_codes)
    assert reports[0].burned_serials == books.void == books.issued_in(0, CHUNK_ROWS - 1)


def test_a_dry_sweep_changes_nothing(faulty, opened):
    runtime, sweeper = opened(), opened(LEASE_SECONDS + 1)
    before, reports = [], []

    def look():
        before.append(vars(read_snapshot(faulty.url)))
        reports.append(sweeper.maintenance.sweep_stuck(dry_run=True))
        after = vars(read_snapshot(faulty.url))
        assert after == before[0]

    with interposed(Point(Issuer, "sign", "before"), look):
        sign_all(runtime, faulty.batch_id)
    assert reports[0].voided_reservations == 1


def test_a_batch_whose_runner_vanished_on_another_machine_is_offered_once_its_lease_is_over(faulty, opened):
    runtime = opened()
    runtime.batches._claim(runtime.batches.get(faulty.batch_id), GONE)
    assert runtime.maintenance.sweep_stuck().resumable == ()
    wait(runtime, LEASE_SECONDS)
    assert runtime.maintenance.sweep_stuck().resumable == (faulty.batch_id,)


def test_a_runner_of_another_machine_is_taken_over_when_its_lease_is_over(faulty, opened, expected_codes):
    runtime = opened()
    runtime.batches._claim(runtime.batches.get(faulty.batch_id), GONE)
    sign_all(runtime, faulty.batch_id)
    assert runtime.batches.status(faulty.batch_id)[1].pending == OPEN_ROWS
    wait(runtime, LEASE_SECONDS)
    finish_and_check(runtime, faulty, expected_codes)


@pytest.mark.postgres
@pytest.mark.parametrize("faulty", ["postgres"], indirect=True)
def test_a_takeover_during_the_record_ends_in_one_of_the_two_and_never_in_both(faulty, opened, expected_codes):
    late, successor = opened(), opened(LEASE_SECONDS)
    thread = threading.Thread(target=lambda: _try_to_sign_a_chunk(successor, faulty.batch_id))

    def race():
        thread.start()
        thread.join(0.3)  # it waits for the rows that the late one has locked, or is already through

    with interposed(Point(ChunkGateway, "finish", "before"), race), suppress(UnavailableError):
        late.batches.sign_next_chunk(faulty.batch_id, runner_token())
    thread.join()
    check_at_any_time(faulty.url)
    wait(late, 2 * LEASE_SECONDS)
    finish_and_check(late, faulty, expected_codes)


def _try_to_sign_a_chunk(runtime, batch_id):
    with suppress(UnavailableError):
        runtime.batches.sign_next_chunk(batch_id, runner_token())


# --- a token that needs longer than a lease


@pytest.fixture
def slow(opened, monkeypatch):
    """A runtime whose token needs 13 seconds for a signature, by the runtime's own clock."""
    runtime = opened()
    runtime.clock = Still(runtime.clock.now())
    issuer = runtime.issuers.get("mo-sub2")
    plain = type(issuer._signer).sign

    def sign_slowly(signer, messages):
        wait_still(runtime, SIGNATURE_SECONDS * len(messages))
        return plain(signer, messages)

    monkeypatch.setattr(type(issuer._signer), "sign", sign_slowly)
    monkeypatch.setattr(pace, "monotonic", lambda: runtime.clock.now().timestamp())
    return runtime


def wait_still(runtime, seconds):
    runtime.clock.time += timedelta(seconds=seconds)


SIGNATURE_SECONDS = 13  # five in a lease, for the nine of a chunk


def test_a_slow_token_signs_a_chunk_under_one_lease_renewed_meanwhile(faulty, opened, slow, expected_codes):
    slow.issuers.get("mo-sub2")._pace._count = 2
    sweeper, left = opened(), []
    sweeper.clock = slow.clock

    def look():
        left.append((sweeper.maintenance.sweep_stuck(), sweeper.batches._claim(batch, "next")[0].first_seq))

    batch = sweeper.batches.get(faulty.batch_id)
    with interposed(Point(Enrollment, "_record", "before"), look):
        report = slow.batches.sign_next_chunk(faulty.batch_id, runner_token())
    assert report.rows == OPEN_ROWS
    assert [(report.voided_reservations, first_seq) for report, first_seq in left] == [(0, CHUNK_ROWS)]
    wait_still(slow, LEASE_SECONDS)  # of the chunk that nobody signs
    assert finish_and_check(slow, faulty, expected_codes).void == 0


def test_a_chunk_too_long_for_its_lease_says_so_and_is_signed_by_the_next_who_tries(faulty, slow, expected_codes):
    with pytest.raises(LeaseExpiredError, match="nobody else took it"):
        slow.batches.sign_next_chunk(faulty.batch_id, runner_token())
    check_at_any_time(faulty.url)
    # The key's speed is known now.
    assert finish_and_check(slow, faulty, expected_codes).void == OPEN_ROWS


def test_a_chunk_whose_lease_runs_out_again_and_again_is_cut_smaller_and_no_row_is_given_up(
    faulty, slow, monkeypatch, expected_codes
):
    monkeypatch.setattr(pace.Pace, "_learn", lambda *_: None)  # a token whose speed tells nothing
    runner = runner_token()

    def is_cut():
        try:
            assert slow.batches.sign_next_chunk(faulty.batch_id, runner).rows == 0
        except LeaseExpiredError:
            return False
        return True

    failed = next(number for number in range(100) if is_cut())  # chunks that fail take turns
    assert failed >= batches.MAX_ATTEMPTS
    monkeypatch.setattr(sys.modules[__name__], "SIGNATURE_SECONDS", 2 * LEASE_SECONDS)
    assert sum(is_cut() for _ in range(60)) < 30  # down to single rows, which are tried again and again
    monkeypatch.setattr(sys.modules[__name__], "SIGNATURE_SECONDS", 1)
    finish_and_check(slow, faulty, expected_codes)


def test_a_runner_is_told_that_another_one_took_its_chunk(faulty, opened, slow):
    slow.issuers.get("mo-sub2")._pace._count = 2
    other = opened(LEASE_SECONDS)

    def take_over():
        slow.clock.time += timedelta(seconds=LEASE_SECONDS)
        other.batches._claim(other.batches.get(faulty.batch_id), "other")

    with (
        interposed(Point(pace.Pace, "_learn", "after"), take_over),
        pytest.raises(LeaseLostError, match="taken over by another runner"),
    ):
        slow.batches.sign_next_chunk(faulty.batch_id, runner_token())
    check_at_any_time(faulty.url)
