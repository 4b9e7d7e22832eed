"""Gateways of revocations and CRLs: what a list holds, what a delta tells, claims, and that nothing scans."""

from datetime import timedelta

import pytest
from sqlalchemy import event

from pki_core.model.crls import FULL, CrlKind, CrlRecord
from pki_core.model.errors import ConflictError
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from pki_core.store.crls import PIECE_OCTETS
from pki_core.store.revocations import Listing, RevocationRow
from pki_core.wire.crl import entry_der
from tests.builders import NOW
from tests.store.rows import LATER, issuer_columns, record, reserve

GOOD, HOLD, REVOKED = CertificateState.GOOD, CertificateState.HOLD, CertificateState.REVOKED
HOUR = timedelta(hours=1)


def row(ids, serial, at=NOW, **changes):
    fields = {
        "issuer_id": ids[0],
        "serial": serial,
        "status": REVOKED,
        "revoked_at": at,
        "reason": Reason.KEY_COMPROMISE,
        "not_after": LATER,
        "shard": None,
        "entry_der": entry_der(serial, at, Reason.KEY_COMPROMISE),
        "changed_at": at,
    }
    return RevocationRow(**{**fields, **changes})


def add(store, ids, *serials, **changes):
    with store.transaction() as work:
        for serial in serials:
            work.revocations.add(row(ids, serial, **changes))


def entries(store, listing):
    with store.reading() as work:
        return b"".join(work.revocations.entries(listing))


def ders(*serials, at=NOW):
    return b"".join(entry_der(serial, at, Reason.KEY_COMPROMISE) for serial in serials)


def test_a_state_is_moved_only_from_what_it_is_thought_to_be(store, ids):
    number = reserve(store, ids, count=1)
    with store.transaction() as work:
        record(work, ids, number, count=1)
        work.reservations.close(number, "host/boot/ns/1/2/aa", NOW, ["00"])
    key, said = (ids[0], "a0"), (NOW, Reason.SUPERSEDED)
    with store.transaction() as work:
        assert not work.revocations.move(key, HOLD, REVOKED, said)
        assert work.revocations.move(key, GOOD, HOLD, said)
        assert not work.revocations.move(key, GOOD, REVOKED, said)
        assert not work.revocations.move((ids[0] + 1, "a0"), HOLD, REVOKED, said)
    with store.reading() as work:
        (found,) = work.certificates.find("a0")
        assert (found.state, found.revoked_at, found.reason) == (HOLD, NOW, Reason.SUPERSEDED)


def test_a_list_holds_what_is_in_force_in_the_order_of_recording(store, ids):
    add(store, ids, "0c", "0a", "0b")
    add(store, ids, "0d", status=HOLD)
    with store.transaction() as work:
        assert work.revocations.end_hold(ids[0], "0d", NOW)
        assert not work.revocations.end_hold(ids[0], "0d", NOW)
        assert not work.revocations.end_hold(ids[0], "0a", NOW)  # revoked for good
    assert entries(store, Listing(ids[0])) == ders("0c", "0a", "0b")
    assert entries(store, Listing(ids[0] + 1)) == b""


def test_a_serial_is_in_force_once(store, ids):
    add(store, ids, "0a")
    with pytest.raises(ConflictError):
        add(store, ids, "0a")
    assert entries(store, Listing(ids[0])) == ders("0a")


def test_a_shard_holds_its_own(store, ids):
    add(store, ids, "0a", shard=0)
    add(store, ids, "0b", shard=1)
    add(store, ids, "0c")
    assert entries(store, Listing(ids[0], 1)) == ders("0b")
    assert entries(store, Listing(ids[0])) == ders("0a", "0b", "0c")


def test_entries_of_many_pieces_come_whole(store, ids, monkeypatch):
    monkeypatch.setattr("pki_core.store.revocations._PIECE", 3)
    monkeypatch.setattr("pki_core.store.revocations._ROWS", 3)
    serials = [f"{number:02x}" for number in range(16, 26)]
    add(store, ids, *serials)
    assert entries(store, Listing(ids[0])) == ders(*serials)


def test_what_has_ended_is_left_out_once_it_was_listed_and_then_removed(store, ids):
    add(store, ids, "0a", at=NOW - HOUR, not_after=NOW)
    add(store, ids, "0b", at=NOW - HOUR)
    add(store, ids, "0c", at=NOW + HOUR, not_after=NOW)  # recorded too late to have been listed for certain
    listing = Listing(ids[0], None, NOW + HOUR, NOW + HOUR)
    assert entries(store, listing) == ders("0b", at=NOW - HOUR) + ders("0c", at=NOW + HOUR)
    with store.reading() as work:
        assert work.revocations.ended(listing) == ["0a"]
        assert work.revocations.ended(Listing(ids[0])) == []
    with store.transaction() as work:
        assert work.revocations.prune(Listing(ids[0]), 10) == 0
        assert work.revocations.prune(listing, 10) == 1
    assert entries(store, Listing(ids[0])) == ders("0b", at=NOW - HOUR) + ders("0c", at=NOW + HOUR)


def test_a_delta_holds_what_changed_since(store, ids):
    add(store, ids, "0a", at=NOW - HOUR)
    add(store, ids, "0b", "0c", "0d", at=NOW, status=HOLD)
    with store.transaction() as work:
        work.revocations.end_hold(ids[0], "0b", NOW + HOUR)
        work.revocations.end_hold(ids[0], "0c", NOW + HOUR)
    add(store, ids, "0c", at=NOW + HOUR)  # held, released, revoked
    since = Listing(ids[0], since=NOW)
    assert entries(store, since) == ders("0d") + ders("0c", at=NOW + HOUR)
    with store.reading() as work:
        assert work.revocations.released(since) == [("0b", NOW + HOUR)]
        assert work.revocations.released(since._replace(since=NOW + 2 * HOUR)) == []
    with store.transaction() as work:
        assert work.revocations.prune(Listing(ids[0], None, NOW, NOW + 2 * HOUR), 10) == 2  # the two that were released


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_query_reads_what_it_does_not_need(store, ids, crl):
    """The plans of SQLite; PostgreSQL has the same indexes, and statistics."""
    seen = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: seen.append((args[2], args[3])))
    whole, made = Listing(ids[0], None, NOW, NOW), crl(1)
    with store.transaction() as work:
        for listing in (Listing(ids[0]), whole, Listing(ids[0], 3), whole._replace(shard=3), whole._replace(since=NOW)):
            list(work.revocations.entries(listing))
            work.revocations.ended(listing)
            work.revocations.released(listing)
            work.crls.changes(ids[0], listing.shard, NOW)
            work.crls.unknown_since(made, listing.shard)
        work.crls.unlisted(NOW)
        work.revocations.prune(whole, 10)
        work.revocations.end_hold(ids[0], "0a", NOW)
        work.revocations.states_of(ids[0], ["0a"])
        work.revocations.move((ids[0], "0a"), GOOD, REVOKED, (NOW, Reason.SUPERSEDED))
    asked = [one for one in seen if "revocation" in one[0] or "certificate_status" in one[0]]
    assert len(asked) > 15
    with store.reading() as work:
        for statement, values in asked:
            plan = work.audit._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            steps = [one[3] for one in plan if "json_each" not in one[3]]
            assert not any(
                step.startswith("SCAN") and step not in ("SCAN issuer", "SCAN CONSTANT ROW") for step in steps
            ), (statement, steps)
            if "LIMIT" in statement and "not_after" in statement:
                assert "ix_revocation_issuer_id_not_after" in steps[0], (statement, steps)
            if "count(" in statement:
                assert any("ix_revocation_issuer_id_changed_at" in step for step in steps), (statement, steps)
            if "count(" in statement and "min(" not in statement and "shard" not in statement:  # however many there are
                assert any("COVERING INDEX ix_revocation_issuer_id_changed_at" in step for step in steps), (
                    statement,
                    steps,
                )
            if "IS NOT NULL" in statement:
                assert any("ix_revocation_released" in step for step in steps), (statement, steps)
            if "entry_der" in statement and "changed_at >=" not in statement:
                assert not any("TEMP B-TREE" in step for step in steps), (statement, steps)


# --- lists


@pytest.fixture
def crl(store, ids):
    with store.transaction() as work:
        for kind in CrlKind:
            work.crls.prepare(ids[0], FULL, kind)
            work.crls.prepare(ids[0], FULL, kind)

    def make(number, base=None, octets=b"0"):
        columns = {"issuer_id": ids[0], "scope": FULL, "crl_number": number, "base_number": base, "entries": 0}
        columns |= {"this_update": 1, "next_update": 2, "snapshot": 1, "octets": len(octets), "sha256": "00" * 32}
        with store.transaction() as work:
            crl_id = work.crls.add(**columns)
            work.crls.add_pieces(crl_id, [octets[at : at + PIECE_OCTETS] for at in range(0, len(octets), PIECE_OCTETS)])
            (found,) = (one for kind in CrlKind for one in work.crls.latest(ids[0], FULL, kind, 99) if one.id == crl_id)
        return found

    return make


@pytest.mark.usefixtures("crl")
def test_a_scope_is_claimed_by_one_at_a_time_and_each_number_drawn_once(store, ids):
    with store.transaction() as work:
        assert work.crls.holder(ids[0], FULL)[0] == ""
        assert work.crls.claim(ids[0], FULL, "a", "", NOW + HOUR) == 1
        assert work.crls.claim(ids[0], FULL, "b", "", NOW + HOUR) is None
        assert work.crls.holder(ids[0], FULL) == ("a", NOW + HOUR)
        assert work.crls.is_held(ids[0], FULL, "a", NOW)
        assert not work.crls.is_held(ids[0], FULL, "a", NOW + HOUR)
        assert not work.crls.is_held(ids[0], FULL, "b", NOW)
        work.crls.give_back(ids[0], FULL, "b")
        assert work.crls.holder(ids[0], FULL)[0] == "a"
        work.crls.give_back(ids[0], FULL, "a")
        assert work.crls.claim(ids[0], FULL, "b", "", NOW + HOUR) == 2


def test_what_is_served_is_swapped_only_against_what_was_served(store, ids, crl):
    first, second, third = crl(1), crl(2), crl(3)
    with store.transaction() as work:
        assert work.crls.published(ids[0], FULL, CrlKind.COMPLETE) is None
        assert not work.crls.point(second, first.id)
        assert work.crls.point(first, None)
        assert not work.crls.point(second, None)
        assert work.crls.point(second, first.id)
        assert not work.crls.point(third, first.id)
        assert work.crls.published(ids[0], FULL, CrlKind.COMPLETE) == second
        assert work.crls.published(ids[0], FULL, CrlKind.DELTA) is None
        assert work.crls.highest_number(ids[0], FULL) == 3
        assert [age.crl_number for age in work.crls.ages()] == [2]


def test_lists_that_were_never_published_and_old_ones_go(store, ids, crl):
    lists = [crl(number) for number in range(1, 6)]
    with store.transaction() as work:
        work.crls.point(lists[2], None)
        work.crls.discard_unpublished(ids[0], FULL)
        assert [one.crl_number for one in work.crls.latest(ids[0], FULL, CrlKind.COMPLETE, 9)] == [3, 2, 1]
        assert work.crls.piece(lists[4].id, 0) is None
        work.crls.drop_old(ids[0], FULL, CrlKind.COMPLETE, 0)
        assert work.crls.latest(ids[0], FULL, CrlKind.COMPLETE, 9) == [lists[2]]  # what is served stays
        assert work.crls.piece(lists[2].id, 0) == b"0"
        assert work.crls.piece(lists[1].id, 0) is None
        assert isinstance(lists[2], CrlRecord)


def test_a_list_is_read_in_any_parts(store, crl):
    octets = bytes(range(256)) * (PIECE_OCTETS // 128)
    one = crl(1, octets=octets)
    with store.reading() as work:
        assert b"".join(work.crls.pieces(one.id)) == octets
        for at, count in ((0, 10), (PIECE_OCTETS - 3, 6), (len(octets) - 2, 2), (5, PIECE_OCTETS + 5)):
            assert work.crls.read(one.id, at, count) == octets[at : at + count]
        assert work.crls.read(one.id, len(octets) - 2, 5) == octets[-2:]
        assert work.crls.read(one.id + 1, 0, 5) == b""


@pytest.mark.usefixtures("crl")
def test_scopes_are_those_that_were_prepared(store, ids):
    with store.transaction() as work:
        other = work.issuers.add(**issuer_columns("other"))
        work.crls.prepare(ids[0], "03", CrlKind.COMPLETE)
        assert work.crls.scopes(ids[0]) == ["03", FULL]
        assert work.crls.scopes(other) == []
