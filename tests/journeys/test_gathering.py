"""Enrolments that come at the same time: one call for all of them, and each answered as if it had come alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pki_core.model.errors import ConflictError, StoreUnavailableError
from pki_core.model.requests import Issued, Refused
from pki_core.services.enroll import NoHooks
from pki_core.services.gathering import Gathering
from pki_core.store.reservations import POSITIONS
from tests.builders import request
from tests.journeys.acts import order_for, rows

pytest_plugins = ["tests.journeys.environments"]

EMAIDS = [f"DEPNCC0000000{number}" for number in range(1, 8)]


class Held(NoHooks):
    """A caller whose certificate is recorded only when it is let go."""

    def __init__(self):
        self.is_there, self.may_go = threading.Event(), threading.Event()

    def reserved(self, _work, _reservation):
        self.is_there.set()
        assert self.may_go.wait(20)


class Raising(NoHooks):
    """A caller who finds out at the last moment that its request was answered by somebody else."""

    def __init__(self, error):
        self.error, self.times = error, 0

    def recorded(self, _work, _outcomes):
        self.times += 1
        raise self.error


class Crowd:
    """Seven callers: the first at work, the others come meanwhile."""

    def __init__(self, runtime):
        self._runtime = runtime
        with runtime.store.reading() as work:
            partner = work.partners.get("demo-mo")
        self._order = order_for(runtime, runtime.profiles["contract_leaf"], partner)
        self._gathering = Gathering(runtime.enrollment)
        self._issuer = runtime.issuers.get("mo-sub2")
        self._first = Held()

    def _ask(self, emaid, hooks):
        return self._gathering.issue(self._issuer, self._order, request(emaid), hooks)

    def outcomes(self, hooks_of=lambda _emaid: NoHooks(), emaids=EMAIDS):
        """What each gets: an outcome or an error."""
        with ThreadPoolExecutor(len(emaids)) as pool:
            calls = [pool.submit(self._ask, emaids[0], self._first)]
            assert self._first.is_there.wait(20)
            for number, emaid in enumerate(emaids[1:], start=1):
                calls.append(pool.submit(self._ask, emaid, hooks_of(emaid)))
                while len(next(iter(self._gathering._next.values()))) < number:  # they come in order
                    time.sleep(0.001)
            self._first.may_go.set()
            return [call.exception(60) or call.result() for call in calls]


@pytest.fixture
def crowd(any_environment):
    return Crowd(any_environment)


def reservations_of(outcomes):
    return [outcome.certificate_id // POSITIONS for outcome in outcomes]


def test_those_who_come_while_one_is_served_are_served_together(crowd):
    outcomes = crowd.outcomes()
    assert [outcome.common_name for outcome in outcomes] == EMAIDS
    first, *others = reservations_of(outcomes)
    assert len(set(others)) == 1
    assert others[0] != first


def test_one_that_is_refused_leaves_the_others_theirs(crowd):
    outcomes = crowd.outcomes(emaids=[*EMAIDS[:3], "DEXYZC00000001", *EMAIDS[3:]])
    assert [type(outcome) for outcome in outcomes] == [Issued] * 3 + [Refused] + [Issued] * 4


def test_one_whose_own_rows_cannot_be_written_fails_alone(any_environment, crowd):
    failing = Raising(ConflictError("answered before"))
    outcomes = crowd.outcomes(lambda emaid: failing if emaid == EMAIDS[3] else NoHooks())
    assert [type(outcome) for outcome in outcomes] == [Issued] * 3 + [ConflictError] + [Issued] * 3
    assert failing.times == 2  # with the others, then alone
    kept = rows(any_environment, "SELECT common_name FROM certificate WHERE partner_id = 'demo-mo'")
    assert sorted(kept) == sorted((emaid,) for emaid in EMAIDS if emaid != EMAIDS[3])
    assert rows(any_environment, "SELECT count(*) FROM reservation") == [(0,)]


def test_a_store_that_is_away_is_asked_once_for_all(crowd):
    failing = Raising(StoreUnavailableError("the database did not answer"))
    outcomes = crowd.outcomes(lambda emaid: failing if emaid == EMAIDS[3] else NoHooks())
    assert [type(outcome) for outcome in outcomes] == [Issued] + [StoreUnavailableError] * 6
    assert failing.times == 1


def test_a_fault_in_the_middle_leaves_nobody_waiting(crowd):
    failing = Raising(ZeroDivisionError("a fault of ours"))
    outcomes = crowd.outcomes(lambda emaid: failing if emaid == EMAIDS[3] else NoHooks())
    assert isinstance(outcomes[0], Issued)
    assert {type(outcome).__name__ for outcome in outcomes[1:]} == {"ZeroDivisionError", "InvariantError"}


def test_after_the_last_of_a_crowd_the_next_one_is_served_at_once(crowd):
    crowd.outcomes()
    assert isinstance(crowd._ask(EMAIDS[0], NoHooks()), Issued)  # nobody is left to wait for
