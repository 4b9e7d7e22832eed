"""Storms over a batch of thousands of rows: dozens of kills, with tokens and connections failing at the same time."""

import random
import time

import pytest

from tests.invariants import check_books, connected, read_snapshot
from tests.journeys.crash_driver import Job, Orders, Storm, harass, log_in_again_and_again, run, sign, sweep

pytest_plugins = ["tests.journeys.crash_environments"]
pytestmark = [pytest.mark.softhsm, pytest.mark.soak]

SEEDS = range(3)
QUARANTINED = "row.quarantined"


def check_after_the_storm(place, expected):
    """All rows have the verdict they would have had; a row that saw six deaths may be quarantined."""
    run(sign, place, Orders(heal="sweep", patience=5))
    run(sign, place, Orders(patience=5))
    codes = check_books(place.url, place.batch_id).codes
    quarantined = [row for row, code in codes.items() if code == QUARANTINED]
    assert codes == expected | dict.fromkeys(quarantined, QUARANTINED)
    return quarantined


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("runners", [1, 3])
def test_dozens_of_kills_cost_no_row_its_verdict(large, large_codes, runners, seed):
    died = harass(large, Storm(runners=runners, kills=40, seed=seed, calm=(0.1, 0.8), pause=0.006 * runners))
    assert len(check_after_the_storm(large, large_codes)) <= died // 6
    assert died > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_and_a_failing_token_at_once_cost_no_row_its_verdict(large, large_codes, failing_token, seed):
    switches = failing_token(large.home)
    died = harass(large, Storm(runners=3, kills=30, seed=seed, calm=(0.1, 0.8)), SHIM_FAIL="17", **switches)
    assert len(check_after_the_storm(large, large_codes)) <= died // 6


@pytest.mark.parametrize("seed", SEEDS)
def test_sweeps_in_the_middle_of_the_storm_do_no_harm(large, large_codes, seed):
    storm = Storm(runners=3, kills=30, seed=seed, calm=(0.1, 0.5), disturb=lambda: run(sweep, large))
    died = harass(large, storm)
    assert len(check_after_the_storm(large, large_codes)) <= died // 6


@pytest.mark.parametrize("large", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_connections_that_end_in_the_storm_cost_no_row_its_verdict(large, large_codes, seed):
    def end_a_connection():
        with connected(large.url) as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
            )

    died = harass(large, Storm(runners=3, kills=30, seed=seed, calm=(0.1, 0.5), disturb=end_a_connection))
    assert len(check_after_the_storm(large, large_codes)) <= died // 6


def test_a_poisoned_row_among_three_runners_and_kills_is_the_one_quarantined(large, large_codes):
    poisoned = 5  # the first chunk, so that it is reached in the storm
    poison = bytes(next(row.csr_der for row in read_snapshot(large.url).items if row.seq == poisoned))
    for seed in range(6):
        harass(large, Storm(runners=3, kills=3, seed=seed, poison=poison))
    assert poisoned in check_after_the_storm(large, large_codes)


@pytest.mark.parametrize("large", ["sqlite"], indirect=True)
def test_kills_during_logins_cost_no_key(large, large_codes):
    chance = random.Random(1)
    for _ in range(200):
        with Job(log_in_again_and_again, large) as job:
            time.sleep(chance.uniform(0.1, 0.4))
            assert job.kill()
    assert check_after_the_storm(large, large_codes) == []
