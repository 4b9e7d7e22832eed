"""Durability: what a key or a caller relies on is on the disk before anybody goes on."""

import ast
from pathlib import Path

import pytest
from sqlalchemy import event

from pki_core.model.errors import InvariantError
from pki_core.services.runners import runner_token
from pki_core.store.batches import BatchGateway
from pki_core.store.certificates import CertificateGateway
from pki_core.store.chunks import ChunkGateway
from pki_core.store.reservations import ReservationGateway
from tests.invariants import check_at_any_time
from tests.journeys.crash_driver import CHUNK_ROWS
from tests.journeys.crash_faults import SILENTLY, finish_and_check, refusing

pytest_plugins = ["tests.journeys.crash_environments"]
ROOT = Path(__file__).parents[2]

MAY_BE_FORGOTTEN = {
    "Batches._claim",  # the chunk is open again
    "Lease.keep",  # the old end of the lease holds
    "OcspSigner.note",  # a time, noted again
    "Installations._note_delivery",  # an event that a contract went out
}
ACTS = {
    (ChunkGateway, "claim"): False,
    (ReservationGateway, "reserve"): True,
    (ChunkGateway, "attach"): True,
    (ReservationGateway, "close"): True,
    (CertificateGateway, "record"): True,
    (BatchGateway, "add_verdicts"): True,
    (ChunkGateway, "finish"): True,
}


def is_durable(connection):
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
    return connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"


def as_by_default(connection, _record):
    """The tests' own PostgreSQL forgets everything at a power cut, for speed."""
    connection.execute("SET synchronous_commit TO on")
    connection.commit()


@pytest.mark.slow
def test_what_is_signed_and_recorded_is_on_the_disk_and_a_claim_need_not_be(faulty, opened, monkeypatch):
    runtime, found = opened(), {}
    if runtime.store._engine.name == "postgresql":
        event.listen(runtime.store._engine, "connect", as_by_default)

    def watched(act, original):
        def watch(gateway, *arguments, **options):
            result = original(gateway, *arguments, **options)
            found.setdefault(act, set()).add(is_durable(gateway._connection))
            return result

        return watch

    for owner, name in ACTS:
        monkeypatch.setattr(owner, name, watched((owner, name), getattr(owner, name)))
    runner = runner_token()
    for _ in range(2):  # what a connection was told for a claim is not left on it
        runtime.batches.sign_next_chunk(faulty.batch_id, runner)
    assert found == {act: {durable} for act, durable in ACTS.items()}


def transactions_that_may_be_forgotten(file):
    for owner in ast.walk(ast.parse(file.read_text())):
        for function in getattr(owner, "body", ()) if isinstance(owner, ast.ClassDef | ast.Module) else ():
            if not isinstance(function, ast.FunctionDef):
                continue
            keywords = [one for one in ast.walk(function) if isinstance(one, ast.keyword) and one.arg == "forgettable"]
            if keywords:
                yield f"{getattr(owner, 'name', file.name)}.{function.name}"


def test_nothing_else_is_written_in_a_transaction_that_a_power_cut_may_undo():
    files = [file for folder in ("pki_core", "flows", "webapp") for file in (ROOT / folder).rglob("*.py")]
    assert {name for file in files for name in transactions_that_may_be_forgotten(file)} == MAY_BE_FORGOTTEN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("certificate_status", "NEW.certificate_id & 4095 = 4"),
        ("certificate", "NEW.id & 4095 = 4"),
        ("certificate_der", "NEW.id & 4095 = 4"),
        ("audit", "NEW.action = 'certificate.issued'"),
        ("batch_verdict", "NEW.seq = 5"),
    ],
)
def test_a_row_that_the_database_drops_without_a_word_is_missed(faulty, opened, expected_codes, table, condition):
    runtime = opened()
    with (
        refusing(faulty.url, table, condition, SILENTLY),
        pytest.raises(InvariantError, match=rf"{table} took \d+ rows"),
    ):
        runtime.batches.sign_next_chunk(faulty.batch_id, runner_token())
    check_at_any_time(faulty.url)
    assert runtime.batches.status(faulty.batch_id)[1].issued == 0
    books = finish_and_check(runtime, faulty, expected_codes)
    assert books.void == (0 if table == "certificate_status" else CHUNK_ROWS - 1)
