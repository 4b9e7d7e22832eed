"""States: every allowed move is in a table, and nothing else is allowed."""

import itertools

import pytest

from pki_core.model.errors import ConflictError
from pki_core.model.states import (
    BATCH_TRANSITIONS,
    CERTIFICATE_TRANSITIONS,
    BatchState,
    CertificateState,
    check_batch_transition,
)

TABLES = [(CertificateState, CERTIFICATE_TRANSITIONS), (BatchState, BATCH_TRANSITIONS)]


@pytest.mark.parametrize(("states", "table"), TABLES, ids=["certificates", "batches"])
def test_a_table_has_every_state_and_nothing_else(states, table):
    assert set(table) == set(states)
    assert set().union(*table.values()) <= set(states)
    assert all(state not in following for state, following in table.items())


def reachable(table, first):
    found, ahead = {first}, [first]
    while ahead:
        new = table[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def test_a_burned_serial_stays_burned_and_a_revoked_one_revoked():
    assert reachable(CERTIFICATE_TRANSITIONS, CertificateState.VOID) == {CertificateState.VOID}
    assert reachable(CERTIFICATE_TRANSITIONS, CertificateState.REVOKED) == {CertificateState.REVOKED}


def test_a_certificate_is_never_reserved_or_void_again():
    for state in (CertificateState.GOOD, CertificateState.HOLD, CertificateState.REVOKED):
        assert reachable(CERTIFICATE_TRANSITIONS, state).isdisjoint({CertificateState.RESERVED, CertificateState.VOID})


def test_only_a_hold_can_be_lifted():
    leads_to_good = {
        state for state, following in CERTIFICATE_TRANSITIONS.items() if CertificateState.GOOD in following
    }
    assert leads_to_good == {CertificateState.RESERVED, CertificateState.HOLD}


def test_every_certificate_state_comes_from_a_reservation():
    assert reachable(CERTIFICATE_TRANSITIONS, CertificateState.RESERVED) == set(CertificateState)


def test_a_batch_comes_to_its_end_and_stays_there():
    assert reachable(BATCH_TRANSITIONS, BatchState.LOADING) == set(BatchState)
    assert reachable(BATCH_TRANSITIONS, BatchState.DONE) == {BatchState.DONE}
    assert all(BatchState.DONE in reachable(BATCH_TRANSITIONS, state) for state in BatchState)


@pytest.mark.parametrize(("before", "after"), [*itertools.product(BatchState, BatchState)])
def test_a_batch_moves_by_its_table_or_not_at_all(before, after):
    if after is before or after in BATCH_TRANSITIONS[before]:
        check_batch_transition(before, after)
        return
    with pytest.raises(ConflictError, match=f"that is {before} cannot become {after}"):
        check_batch_transition(before, after)


def test_stored_values_of_states_never_change():
    # they stand in databases that exist
    assert {state.name: state.value for state in CertificateState} == {
        "RESERVED": 0,
        "GOOD": 1,
        "REVOKED": 2,
        "HOLD": 3,
        "VOID": 9,
    }
    assert {state.value for state in BatchState} == {"loading", "queued", "running", "cancelling", "done"}
