"""Leafs revoked as a set: the same rows as one by one, in as many statements for a thousand as for two."""

from contextlib import contextmanager

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from pki_core.model.errors import InvariantError
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from tests.journeys.acts import rows
from tests.journeys.crl_acts import content, crl_of, leaves, listed, opened, revoke

pytest_plugins = ["tests.journeys.environments"]

REVOKED = CertificateState.REVOKED


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        yield runtime


def ids_of(runtime, serials):
    found = dict(rows(runtime, "SELECT serial, id FROM certificate"))
    return [found[serial] for serial in map(spelled, serials)]


def spelled(serial):
    return serial if len(serial) % 2 == 0 else f"0{serial}"


def revoke_all(runtime, serials, reason=Reason.SUPERSEDED):
    with runtime.store.transaction() as work:
        return runtime.revocations.revoke_leafs_within(work, ids_of(runtime, serials), reason, actor="test")


def states(runtime, serials):
    return [runtime.certificates.show(serial).state for serial in serials]


@contextmanager
def counted():
    statements = []

    def note(_connection, _cursor, statement, *_more):
        if any(table in statement for table in ("certificate", "revocation", "ocsp_response", "audit")):
            statements.append(statement)  # not those of a new connection

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
def sharded(any_home):
    with opened(any_home, certificates="crl_shards = 3") as runtime:
        yield runtime


def test_a_set_leaves_the_rows_that_one_by_one_leaves(sharded):
    runtime = sharded
    serials = leaves(runtime, 3) + leaves(runtime, 1, "evse_leaf")  # with a shard of its own in its CRL's name
    twins = leaves(runtime, 3) + leaves(runtime, 1, "evse_leaf")
    assert revoke_all(runtime, serials) == 4
    for serial in twins:
        revoke(runtime, serial, Reason.SUPERSEDED)
    told = "SELECT serial, status, revoked_at, reason, not_after, changed_at, released_at FROM revocation"
    by_serial = {row[0]: row[1:] for row in rows(runtime, told)}
    statuses = {
        row[0]: row[1:] for row in rows(runtime, "SELECT serial, status, revoked_at, reason FROM certificate_status")
    }
    acts = [tuple(row) for row in rows(runtime, "SELECT action, detail FROM audit WHERE stream = 'revocation'")]
    for one, twin in zip(map(spelled, serials), map(spelled, twins), strict=True):
        assert by_serial[one] == by_serial[twin]
        assert statuses[one] == statuses[twin]
    assert len(acts) == 8
    assert len(set(acts)) == 1
    runtime.crls.publish_due(everything=True)
    told = content(crl_of(runtime))
    assert sorted(listed(crl_of(runtime))) == sorted(serials[:3] + twins[:3])
    assert len(set(told.values())) == 1
    shards = dict(rows(runtime, "SELECT serial, shard FROM revocation WHERE shard IS NOT NULL"))
    assert shards == {one: int(one[-2:], 16) % 3 for one in map(spelled, (serials[3], twins[3]))}


def test_what_is_revoked_or_over_stays_as_it_is_and_a_hold_becomes_a_revocation(runtime):
    good, revoked, held = leaves(runtime, 3)
    revoke(runtime, revoked)
    revoke(runtime, held, Reason.CERTIFICATE_HOLD)
    runtime.clock.advance(hours=1)
    assert revoke_all(runtime, [good, revoked, held]) == 2
    assert runtime.certificates.show(revoked).reason == Reason.KEY_COMPROMISE
    assert states(runtime, [good, revoked, held]) == [REVOKED] * 3
    assert rows(runtime, "SELECT count(*) FROM revocation WHERE released_at IS NULL") == [(3,)]
    assert revoke_all(runtime, [good, revoked, held]) == 0
    (late,) = leaves(runtime, 1)
    runtime.clock.moment = runtime.certificates.show(late).not_after
    assert revoke_all(runtime, [late]) == 0
    assert states(runtime, [late]) == [CertificateState.GOOD]


def test_answers_signed_ahead_go_with_it(runtime):
    serials = leaves(runtime, 3)
    runtime.responders.rotate()
    runtime.ocsp_refresh.run()
    stored = "SELECT count(*) FROM ocsp_response WHERE serial = '{}'"
    before = [rows(runtime, stored.format(spelled(one)))[0][0] for one in serials]
    assert min(before) > 0
    revoke_all(runtime, serials[:2])
    assert [rows(runtime, stored.format(spelled(one)))[0][0] for one in serials] == [0, 0, before[2]]


def test_a_ca_among_them_stops_all_of_it(runtime):
    (serial,) = leaves(runtime, 1)
    (ca,) = rows(
        runtime, "SELECT serial FROM certificate WHERE id = (SELECT certificate_id FROM issuer WHERE label = 'mo-sub2')"
    )[0]
    with pytest.raises(InvariantError, match="is a CA's"):
        revoke_all(runtime, [serial, ca])
    assert states(runtime, [serial, ca]) == [CertificateState.GOOD] * 2
    assert rows(runtime, "SELECT count(*) FROM revocation") == [(0,)]


def test_a_certificate_that_is_revoked_meanwhile_stops_all_of_it(runtime, monkeypatch):
    """The rows are locked; should the database change another number of them, nothing is kept."""
    from pki_core.store.revocations import RevocationGateway

    honest = RevocationGateway.move_all
    monkeypatch.setattr(RevocationGateway, "move_all", lambda *given: honest(*given) - 1)
    serials = leaves(runtime, 2)
    with pytest.raises(InvariantError, match="1 of 2"):
        revoke_all(runtime, serials)
    assert states(runtime, serials) == [CertificateState.GOOD] * 2


def test_the_number_of_statements_does_not_grow_with_the_set(runtime):
    few, many = leaves(runtime, 2), leaves(runtime, 150)
    counts = []
    for serials in (few, many):
        numbers = ids_of(runtime, serials)
        with counted() as statements, runtime.store.transaction() as work:
            runtime.revocations.revoke_leafs_within(work, numbers, Reason.SUPERSEDED, actor="test")
        counts.append(len(statements))
    assert counts[1] <= counts[0] < 10  # large sets go by COPY, which is no statement here
    assert set(states(runtime, many)) == {REVOKED}
