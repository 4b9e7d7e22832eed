"""A database, disk or token that fails in the middle of a batch: a chunk is refused whole and signed later."""

from contextlib import suppress

import pytest
from sqlalchemy import event

from pki_core.issuance.issuer import Issuer
from pki_core.model.errors import HsmUnavailableError, PkiError, StoreUnavailableError
from pki_core.services.enroll import Enrollment
from pki_core.services.runners import runner_token
from pki_core.store.audit import AuditGateway
from pki_core.store.batches import BatchGateway
from pki_core.store.certificates import CertificateGateway
from pki_core.store.chunks import ChunkGateway
from pki_core.store.reservations import ReservationGateway
from tests.invariants import check_at_any_time, check_books, connected, read_snapshot
from tests.journeys.crash_driver import CHUNK_ROWS, Job, Orders, run, sign
from tests.journeys.crash_faults import DISK_FULL, INTEGRITY, answer_lost, finish_and_check, refusing, sign_all
from tests.journeys.crash_points import FINISHING, POINTS, SIGNING, Point, interposed

pytest_plugins = ["tests.journeys.crash_environments"]
pytestmark = pytest.mark.slow

ON_POSTGRES = pytest.mark.parametrize("faulty", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
ON_SQLITE = pytest.mark.parametrize("faulty", ["sqlite"], indirect=True)
TABLES = {
    "certificate": "NEW.id & 4095 = 4",
    "certificate_der": "NEW.id & 4095 = 4",
    "certificate_status": "NEW.certificate_id & 4095 = 4",
    "intent": "NEW.reservation > 0",
    "audit": "NEW.action = 'certificate.issued'",
    "batch_verdict": "NEW.seq = 15",
}


@pytest.mark.parametrize("table", TABLES)
def test_a_refused_insert_undoes_the_whole_chunk_and_the_batch_goes_on_later(faulty, opened, expected_codes, table):
    runtime = opened()
    runtime.batches.sign_next_chunk(faulty.batch_id, runner_token())
    with refusing(faulty.url, table, TABLES[table]), pytest.raises(PkiError):
        sign_all(runtime, faulty.batch_id)
    check_at_any_time(faulty.url)
    assert len(read_snapshot(faulty.url).verdicts) <= 8 + CHUNK_ROWS  # those of the upload and one chunk's
    books = finish_and_check(runtime, faulty, expected_codes)
    reserved_before = table not in {"certificate_status", "intent"}
    assert books.void == (books.issued_in(CHUNK_ROWS, 2 * CHUNK_ROWS - 1) if reserved_before else 0)


@pytest.mark.parametrize(
    ("table", "condition"),
    [("certificate_status", "NEW.status = 1"), ("batch_chunk", "NEW.state = 'done'"), ("batch", "NEW.state = 'done'")],
)
def test_a_refused_update_undoes_what_was_to_be_recorded_with_it(faulty, opened, expected_codes, table, condition):
    runtime = opened()
    with refusing(faulty.url, table, condition, act="UPDATE"), pytest.raises(PkiError):
        sign_all(runtime, faulty.batch_id)
    check_at_any_time(faulty.url)
    finish_and_check(runtime, faulty, expected_codes)


def test_a_database_that_refuses_every_record_for_hours_costs_no_row_its_certificate(faulty, opened, expected_codes):
    runtime = opened()
    with refusing(faulty.url, "audit", TABLES["audit"], INTEGRITY):
        for _ in range(9):  # sweeps of a scheduled flow
            with suppress(PkiError):
                sign_all(runtime, faulty.batch_id)
    finish_and_check(runtime, faulty, expected_codes)


@ON_POSTGRES
def test_a_full_disk_under_postgresql_is_waited_for(faulty, opened, expected_codes):
    runtime = opened()
    with refusing(faulty.url, "certificate_der", TABLES["certificate_der"], DISK_FULL):
        for _ in range(9):
            with pytest.raises(StoreUnavailableError):
                sign_all(runtime, faulty.batch_id)
    finish_and_check(runtime, faulty, expected_codes)


@ON_SQLITE
def test_a_full_disk_under_sqlite_is_waited_for(faulty, opened, expected_codes):
    runtime = opened()
    engine = runtime.store._engine
    room = [0]

    def limit(connection, _record):
        pages = connection.execute("PRAGMA page_count").fetchone()[0] + room[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(engine, "connect", limit)
    failures = 0
    for room[0] in (*range(12), 2**20):
        engine.dispose()
        try:
            sign_all(runtime, faulty.batch_id)
        except StoreUnavailableError:
            failures += 1
        check_at_any_time(faulty.url)
    assert failures >= 3
    finish_and_check(runtime, faulty, expected_codes)


@pytest.mark.parametrize("point", [name for name in SIGNING | FINISHING if name.endswith("is committed")])
def test_a_commit_whose_answer_is_lost_doubles_nothing(faulty, opened, expected_codes, point):
    runtime = opened()
    with answer_lost(runtime, POINTS[point]), pytest.raises(StoreUnavailableError):
        sign_all(runtime, faulty.batch_id)
    check_at_any_time(faulty.url)
    finish_and_check(opened(60), faulty, expected_codes)  # by now the lease is over


@pytest.mark.parametrize("point", ["after the reservation", "after signing", "before the record is committed"])
def test_an_interrupted_command_leaves_nothing_reserved_once_the_batch_is_done(faulty, opened, expected_codes, point):
    def interrupt():
        raise KeyboardInterrupt

    runtime = opened()
    with interposed(POINTS[point], interrupt), pytest.raises(KeyboardInterrupt):
        sign_all(runtime, faulty.batch_id)
    check_at_any_time(faulty.url)
    finish_and_check(runtime, faulty, expected_codes)


@ON_POSTGRES
@pytest.mark.parametrize(
    "point",
    [
        Point(ChunkGateway, "claim", "after"),
        Point(ReservationGateway, "reserve", "after"),
        Point(Issuer, "sign", "after"),
        Point(ReservationGateway, "close", "after"),
        Point(CertificateGateway, "record", "after"),
        Point(AuditGateway, "append", "after"),
        Point(BatchGateway, "add_verdicts", "before"),
        Point(ChunkGateway, "finish", "after"),
        Point(Enrollment, "_record", "after"),
    ],
    ids=lambda point: f"{point.when} {point.name}",
)
def test_a_connection_ended_by_the_server_loses_and_doubles_nothing(faulty, opened, expected_codes, point):
    runtime = opened()

    def end_connections():
        with connected(faulty.url) as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with interposed(point, end_connections), suppress(StoreUnavailableError):
        sign_all(runtime, faulty.batch_id)
    check_at_any_time(faulty.url)
    finish_and_check(opened(60), faulty, expected_codes)


@pytest.mark.softhsm
@pytest.mark.parametrize("every", [7, 11])
def test_a_token_that_fails_every_now_and_then_loses_and_doubles_nothing(
    crashing, failing_token, expected_codes, every
):
    switches = failing_token(crashing.home)
    with suppress(HsmUnavailableError):
        run(sign, crashing, Orders(patience=2), SHIM_FAIL=str(every), **switches)
    check_at_any_time(crashing.url)
    run(sign, crashing, Orders(), **switches)
    books = check_books(crashing.url, crashing.batch_id)
    assert books.codes == expected_codes
    # A key store overcomes one fault in each list of signatures, not two.
    assert (books.void > 0) == (every < CHUNK_ROWS)


@pytest.mark.softhsm
def test_a_token_that_goes_away_and_comes_back_loses_and_doubles_nothing(
    crashing, failing_token, expected_codes, tmp_path
):
    switches = failing_token(crashing.home)
    down = tmp_path / "down"
    with Job(sign, crashing, Orders(pause=0.01, patience=5), SHIM_DOWN=str(down), **switches) as job:
        while not len(read_snapshot(crashing.url).verdicts) > 30:
            assert job.process.is_alive()
        down.touch()
        job.process.join(2)
        assert job.process.is_alive()
        down.unlink()
        overcome = job.result()
    assert set(overcome) == {"hsm.unavailable"}
    books = check_books(crashing.url, crashing.batch_id)
    assert books.codes == expected_codes
    assert books.void >= CHUNK_ROWS - 1
