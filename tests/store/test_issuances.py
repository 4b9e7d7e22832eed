"""The two writes of an issuance: the same rows whether they are one statement or sets, and all of them or none."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from pki_core.model.errors import ConflictError, InvariantError, LeaseLostError, OvertakenError, StoreUnavailableError
from pki_core.model.states import CertificateState
from pki_core.store.issuances import Issuance, Signed
from pki_core.store.reservations import POSITIONS
from pki_core.store.unit_of_work import Store
from tests.builders import NOW, PARTNER
from tests.journeys.crash_faults import OWN, SILENTLY, refusing
from tests.store.rows import LATER, OTHER_RUNNER, RUNNER, reserve, states, tbs_of

FEW_AND_MANY = [1, 2, 5, 6, 9]
OPENING = NOW - timedelta(minutes=1)


def issuance_of(ids, runner=RUNNER):
    return Issuance(ids[0], ids[1], PARTNER.id, "the actor", runner)


def reserved(store, ids, count, first=0xA0, keys=()):
    intents = [(f"{first + at:02x}", b"tbs" + bytes((at,)), LATER) for at in range(count)]
    with store.transaction() as work:
        return work.issuances.reserve(
            issuance_of(ids), intents, (NOW, NOW + timedelta(seconds=60)), keys or ["00"] * count
        )


def signed(count, first=0xA0, keys=()):
    keys = keys or ["00"] * count
    return [
        Signed(f"{first + at:02x}", f"CN {at}", OPENING, LATER, b"der" + bytes((at,)), bytes((at,)) * 32, keys[at])
        for at in range(count)
    ]


def record(store, ids, number, rows, runner=RUNNER, now=NOW):
    with store.transaction() as work:
        work.issuances.record(number, issuance_of(ids, runner), rows, now)


def audited(store):
    with store.reading() as work:
        return [row for piece in work.audit.rows(0, 1 << 40, 100) for row in piece]


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_few_are_reserved_and_recorded_as_many_are(store, ids, count):
    number = reserved(store, ids, count)
    assert states(store, ids, count) == {CertificateState.RESERVED}
    with store.reading() as work:
        assert work.reservations.held() == [(number, RUNNER)]
        assert tbs_of(work, number) == b"".join(b"tbs" + bytes((at,)) for at in range(count))
    record(store, ids, number, signed(count))
    assert states(store, ids, count) == {CertificateState.GOOD}
    with store.reading() as work:
        assert work.reservations.held() == []
        assert tbs_of(work, number) == b""
        for at in range(count):
            found = work.certificates.of_id(number * POSITIONS + at)
            assert (found.serial, found.common_name, found.certificate_der) == (
                f"{0xA0 + at:02x}",
                f"CN {at}",
                b"der" + bytes((at,)),
            )
            assert (found.partner_id, found.not_before, found.not_after) == (PARTNER.id, OPENING, LATER)
            assert found.issued_at == NOW
    assert [(row.actor, row.action, row.serial, row.certificate_sha256) for row in audited(store)] == [
        ("the actor", "certificate.issued", f"{0xA0 + at:02x}", bytes((at,)) * 32) for at in range(count)
    ]
    assert {(row.stream, row.at, row.issuer_id, row.profile_id) for row in audited(store)} == {
        ("issuance", int(NOW.timestamp()), *ids)
    }


@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize(("runner", "late"), [(OTHER_RUNNER, 0), (RUNNER, 60)], ids=["another runner", "late"])
def test_a_lost_reservation_records_nothing(store, ids, count, runner, late):
    number = reserved(store, ids, count)
    with pytest.raises(LeaseLostError):
        record(store, ids, number, signed(count), runner, NOW + timedelta(seconds=late))
    assert states(store, ids, count) == {CertificateState.RESERVED}
    assert audited(store) == []
    with store.reading() as work:
        assert work.reservations.held() == [(number, RUNNER)]
        assert work.certificates.count() == 0


@pytest.mark.parametrize("rows", [signed(1), signed(3), signed(2, first=0xB0)], ids=["fewer", "more", "others"])
def test_what_was_not_reserved_is_not_recorded(store, ids, rows):
    number = reserved(store, ids, 2)
    reserve(store, ids, count=2, first=0xB0, runner=OTHER_RUNNER)
    with pytest.raises(InvariantError):
        record(store, ids, number, rows)
    assert states(store, ids, 2) == {CertificateState.RESERVED}
    assert audited(store) == []


def test_a_serial_that_was_drawn_before_is_not_reserved_again(store, ids):
    reserved(store, ids, 2)
    with pytest.raises(ConflictError):
        reserved(store, ids, 1, first=0xA1)
    with store.reading() as work:
        assert len(work.reservations.held()) == 1


@pytest.mark.parametrize("table", ["certificate", "certificate_der", "audit"])
def test_a_row_that_the_database_drops_without_a_word_undoes_the_record(store, ids, database_url, table):
    number = reserved(store, ids, 2)
    column = "serial = 'a1'" if table != "certificate_der" else f"id = {number * POSITIONS + 1}"
    with (
        refusing(database_url, table, f"NEW.{column}", SILENTLY),
        pytest.raises(InvariantError, match=f"{table} took 1 rows"),
    ):
        record(store, ids, number, signed(2))
    assert states(store, ids, 2) == {CertificateState.RESERVED}
    assert audited(store) == []
    record(store, ids, number, signed(2))


def test_a_serial_that_the_database_drops_without_a_word_undoes_the_reservation(store, ids, database_url):
    with (
        refusing(database_url, "certificate_status", "NEW.serial = 'a1'", SILENTLY),
        pytest.raises(InvariantError, match="certificate_status took 1 rows"),
    ):
        reserved(store, ids, 2)
    with store.reading() as work:
        assert work.reservations.held() == []


def test_a_row_that_the_database_refuses_is_a_database_that_is_away(store, ids, database_url):
    number = reserved(store, ids, 2)
    with (
        refusing(database_url, "audit", "NEW.serial = 'a1'", OWN),
        pytest.raises((StoreUnavailableError, ConflictError)),
    ):
        record(store, ids, number, signed(2))
    assert states(store, ids, 2) == {CertificateState.RESERVED}


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_whoever_voids_a_reservation_first_wins_over_its_record(store, ids, database_url):
    number, lost = reserved(store, ids, 2), []

    def record_late():
        try:
            record(store, ids, number, signed(2))
        except LeaseLostError as error:
            lost.append(error)

    with store.transaction() as work:
        assert work.reservations.void(number) == 2
        recorder = threading.Thread(target=record_late)
        recorder.start()
        wait_for_a_lock(database_url)
    recorder.join(20)
    assert len(lost) == 1
    assert states(store, ids, 2) == {CertificateState.VOID}
    assert audited(store) == []


def wait_for_a_lock(url):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        while not connection.scalar(waiting):
            connection.rollback()


@pytest.mark.postgres
def test_a_connection_that_died_costs_one_look_and_is_not_used_again(postgres_database_url):
    store = Store(postgres_database_url)
    with store.looking() as work:
        assert work.credentials.of_partner("nobody") == []
        died = work._connection.connection.driver_connection
    end_all(postgres_database_url)
    with pytest.raises(StoreUnavailableError), store.looking() as work:
        work.credentials.of_partner("nobody")
    with store.looking() as work:
        assert work.credentials.of_partner("nobody") == []
        assert work._connection.connection.driver_connection is not died
    store.close()


def end_all(url):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_nothing_is_reserved_for_a_list_with_a_compromised_key(store, ids, count):
    known, keys = "f" * 64, [f"{at:064x}" for at in range(count)]
    with store.transaction() as work:
        work.compromised_keys.add([known, "e" * 64])
        work.compromised_keys.add([known])  # of two certificates
    assert reserved(store, ids, count, keys=[*keys[1:], known]) is None
    with store.reading() as work:
        assert work.compromised_keys.among([*keys, known]) == {known}
        assert work.reservations.held() == []
    assert reserved(store, ids, count, keys=keys) is not None


@pytest.mark.parametrize("count", FEW_AND_MANY)
def test_nothing_is_recorded_when_one_of_its_keys_was_reported_since_the_reservation(store, ids, count):
    keys = [f"{at:064x}" for at in range(count)]
    number = reserved(store, ids, count, keys=keys)
    with store.transaction() as work:
        work.compromised_keys.add([keys[-1]])
    with pytest.raises(OvertakenError, match="reported as compromised, or its CA revoked"):
        record(store, ids, number, signed(count, keys=keys))
    assert states(store, ids, count) == {CertificateState.RESERVED}
    assert audited(store) == []
    with store.reading() as work:
        assert work.reservations.held() == [(number, RUNNER)]
        assert work.certificates.count() == 0


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("count", [2, 6])
def test_a_report_that_is_not_committed_yet_holds_no_record_up(store, ids, count):
    keys = [f"{at:064x}" for at in range(count)]
    number = reserved(store, ids, count, keys=keys)
    with store.transaction() as reporting:
        reporting.compromised_keys.add([keys[0]])
        recorder = threading.Thread(target=record, args=(store, ids, number, signed(count, keys=keys)))
        recorder.start()
        recorder.join(20)
        assert not recorder.is_alive()
    assert states(store, ids, count) == {CertificateState.GOOD}  # issued, then reported
