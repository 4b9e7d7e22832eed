"""The gateways of batches and chunks, on SQLite and PostgreSQL alike: one verdict a row, one runner a chunk."""

from datetime import timedelta

import pytest

from pki_core.model.batches import BatchCounts, BatchItem, Verdict
from pki_core.model.errors import ConflictError, LeaseLostError, NotFoundError
from pki_core.model.states import BatchState
from pki_core.store.reservations import POSITIONS
from pki_core.store.unit_of_work import Store
from tests.builders import NOW, PARTNER, profile
from tests.store.rows import KEYS, LATER, OTHER_RUNNER, RUNNER, add_batch, issuer_columns, record, reserve

# --- batches


def get(store, batch_id="20260301-0000000000"):
    with store.reading() as work:
        return work.batches.get(batch_id)


def verdict(seq, certificate_id=None, code="csr.malformed"):
    return Verdict(seq=seq, certificate_id=certificate_id, code=code, message="Said plainly.", common_name="")


def test_a_batch_is_found_by_its_id_and_by_its_file(store, ids):
    number = add_batch(store, ids)
    batch = get(store)
    assert (batch.number, batch.profile_hash, batch.issuer_label) == (number, profile().hash, "ca")
    assert (batch.state, batch.created_at, batch.finished_at) == (BatchState.LOADING, NOW, None)
    with store.reading() as work:
        assert work.batches.find_source(PARTNER.id, "contract_leaf", "ab" * 32) == batch
        assert work.batches.find_source(PARTNER.id, "evse_leaf", "ab" * 32) is None
        assert work.batches.find_source(PARTNER.id, "contract_leaf", "cd" * 32) is None
    with pytest.raises(NotFoundError):
        get(store, "other")


def test_a_file_becomes_one_batch_a_partner_and_profile(store, ids):
    add_batch(store, ids)
    with pytest.raises(ConflictError):
        add_batch(store, ids, id="20260301-1111111111")
    add_batch(store, ids, id="20260301-2222222222", profile_name="evse_leaf")


def test_a_batch_moves_once(store, ids):
    add_batch(store, ids)
    loading = get(store)
    with store.transaction() as work:
        assert work.batches.move(loading, BatchState.QUEUED, NOW, total=5)
        assert not work.batches.move(loading, BatchState.QUEUED, NOW, total=7)
    queued = get(store)
    assert (queued.state, queued.total, queued.finished_at) == (BatchState.QUEUED, 5, None)
    with store.transaction() as work:
        assert work.batches.move(queued, BatchState.DONE, LATER)
    assert get(store).finished_at == LATER
    with pytest.raises(ConflictError), store.transaction() as work:
        work.batches.move(get(store), BatchState.RUNNING, LATER)


def test_batches_wait_in_the_order_they_came(store, ids):
    for number in range(3):
        add_batch(store, ids, rows=0, id=f"b-{number}", source_sha256=f"{number}", state=BatchState.QUEUED.value)
    with store.reading() as work:
        assert [batch.id for batch in work.batches.in_state(BatchState.QUEUED, 2)] == ["b-0", "b-1"]
        assert work.batches.in_state(BatchState.DONE, 9) == []


def test_a_row_gets_one_verdict(store, ids):
    number = add_batch(store, ids)
    with store.transaction() as work:
        work.batches.add_verdicts(number, [verdict(1)])
    with pytest.raises(ConflictError), store.transaction() as work:
        work.batches.add_verdicts(number, [verdict(0), verdict(1)])
    with store.reading() as work:
        assert [item.seq for item in work.batches.open_items(number, 0, 9)] == [0, 2, 3, 4]


def test_open_items_are_those_of_the_chunk_without_a_verdict(store, ids):
    number = add_batch(store, ids)
    with store.transaction() as work:
        work.batches.add_verdicts(number, [verdict(2)])
        assert work.batches.open_items(number, 1, 3) == [
            BatchItem(seq=1, row_id="row-1", csr_der=b"\x01", expected_identifier=""),
            BatchItem(seq=3, row_id="row-3", csr_der=b"\x03", expected_identifier=""),
        ]


def test_results_come_in_pieces_in_the_order_of_the_rows(store, ids):
    number = add_batch(store, ids)
    reservation = reserve(store, ids)
    with store.transaction() as work:
        work.reservations.close(reservation, RUNNER, NOW, KEYS)
        record(work, ids, reservation)
        issued = [verdict(seq, reservation * POSITIONS + at, "issued") for at, seq in enumerate((0, 3, 4))]
        work.batches.add_verdicts(number, [verdict(1), verdict(2), *issued])
    with store.reading() as work:
        pieces = list(work.batches.results(number, 2))
    assert [[row.seq for row in piece] for piece in pieces] == [[0, 1], [2, 3], [4]]
    rows = [row for piece in pieces for row in piece]
    assert [row.serial for row in rows] == ["a0", "", "", "a1", "a2"]
    assert [row.certificate_der for row in rows] == [b"der\0", b"", b"", b"der\x01", b"der\x02"]
    assert (rows[1].code, rows[1].message, rows[1].not_after) == ("csr.malformed", "Said plainly.", None)


def test_a_batch_that_is_loading_can_be_started_afresh_or_discarded(store, ids):
    number = add_batch(store, ids)
    with store.transaction() as work:
        work.batches.add_verdicts(number, [verdict(1)])
        assert work.batches.restart_loading(get(store), OTHER_RUNNER)
        assert work.batches.open_items(number, 0, 9) == []
    assert get(store).runner == OTHER_RUNNER
    with store.transaction() as work:
        assert not work.batches.discard(number, RUNNER)  # no longer its loader
        assert work.batches.discard(number, OTHER_RUNNER)
    with pytest.raises(NotFoundError):
        get(store)


def test_a_batch_that_is_loaded_is_not_discarded(store, ids):
    number = add_batch(store, ids, state=BatchState.QUEUED.value)
    with store.transaction() as work:
        assert not work.batches.discard(number, RUNNER)
    with store.reading() as work:
        assert len(work.batches.open_items(number, 0, 9)) == 5


def test_batch_numbers_are_never_used_again(store, ids):
    first = add_batch(store, ids)
    with store.transaction() as work:
        assert work.batches.discard(first, RUNNER)
    assert add_batch(store, ids) > first


# --- chunks


@pytest.fixture
def chunked(store, ids):
    """A batch of five rows in chunks of two."""
    number = add_batch(store, ids)
    with store.transaction() as work:
        work.chunks.add(number, [(0, 1, 0), (2, 3, 1), (4, 4, 0)])
    return number


def claim(store, number, runner=RUNNER, now=NOW, lease=60):
    with store.transaction() as work:
        claimed = work.chunks.claim(number, runner, now, now + timedelta(seconds=lease))
    return None if claimed is None else claimed[0]


def counts(store):
    with store.reading() as work:
        return work.batches.counts(work.batches.get("20260301-0000000000"))


def test_chunks_are_claimed_one_by_one_in_their_order(store, chunked):
    claimed = [claim(store, chunked) for _ in range(4)]
    assert [(chunk.first_seq, chunk.last_seq) for chunk in claimed[:3]] == [(0, 1), (2, 3), (4, 4)]
    assert claimed[3] is None
    assert claimed[0].attempts == 1


def test_a_chunk_whose_lease_ran_out_is_taken_over_with_its_reservation(store, chunked):
    first = claim(store, chunked)
    with store.transaction() as work:
        work.chunks.attach(first, 77)
    soon, late = NOW + timedelta(seconds=59), NOW + timedelta(seconds=60)
    assert claim(store, chunked, OTHER_RUNNER, soon).first_seq == 2
    taken = claim(store, chunked, OTHER_RUNNER, late)
    assert (taken.first_seq, taken.reservation, taken.attempts) == (0, 77, 2)
    for act in (
        lambda work: work.chunks.attach(first, 78),
        lambda work: work.chunks.finish(first, NOW, 2, 0),
        lambda work: work.chunks.split(first, [(0, 0, 0), (1, 1, 0)]),
    ):
        with pytest.raises(LeaseLostError), store.transaction() as work:
            act(work)
    with store.transaction() as work:
        work.chunks.release(first, count_attempt=True)  # too late: nothing happens
    assert claim(store, chunked, now=late).first_seq == 4


def test_a_finished_chunk_counts_and_is_not_claimed_again(store, chunked):
    with store.transaction() as work:
        batch = work.batches.get("20260301-0000000000")
        work.batches.move(batch, BatchState.QUEUED, NOW, total=5)
    assert counts(store) == BatchCounts(total=5, issued=0, refused=1)
    chunk = claim(store, chunked)
    with store.transaction() as work:
        work.chunks.finish(chunk, NOW, 1, 1)
    assert counts(store) == BatchCounts(total=5, issued=1, refused=2)
    assert counts(store).pending == 2
    with store.reading() as work:
        assert work.chunks.unfinished(chunked) == 2
    assert claim(store, chunked, now=LATER).first_seq == 2


def test_a_chunk_is_not_finished_after_its_lease(store, chunked):
    chunk = claim(store, chunked)
    with pytest.raises(LeaseLostError), store.transaction() as work:
        work.chunks.finish(chunk, NOW + timedelta(seconds=60), 2, 0)


@pytest.mark.parametrize(("count_attempt", "attempts"), [(True, 2), (False, 1)])
def test_a_released_chunk_is_open_and_its_attempt_counts_or_not(store, chunked, count_attempt, attempts):
    chunk = claim(store, chunked)
    with store.transaction() as work:
        work.chunks.attach(chunk, 77)
        work.chunks.release(chunk, count_attempt=count_attempt)
    again = claim(store, chunked, OTHER_RUNNER)
    assert (again.first_seq, again.attempts, again.reservation) == (0, attempts, 77)


def test_a_split_chunk_is_several_open_ones(store, chunked):
    chunk = claim(store, chunked)
    with store.transaction() as work:
        work.chunks.split(chunk, [(0, 0, 0), (1, 1, 0)])
    claimed = [claim(store, chunked, OTHER_RUNNER) for _ in range(4)]
    assert [(one.first_seq, one.last_seq, one.attempts) for one in claimed] == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 3, 1),
        (4, 4, 1),
    ]


def test_the_chunks_of_a_dead_runner_are_free_at_once_and_no_others(store, chunked):
    claim(store, chunked)
    claim(store, chunked, OTHER_RUNNER)
    with store.transaction() as work:
        assert sorted(work.chunks.runners(chunked, NOW)) == [RUNNER, OTHER_RUNNER]
        assert work.chunks.expire_lease(chunked, RUNNER) == 1
        assert work.chunks.expire_lease(chunked, "nobody") == 0
    assert [claim(store, chunked, "third").first_seq for _ in range(2)] == [0, 4]


@pytest.mark.postgres
def test_runners_do_not_wait_for_each_other(postgres_database_url):
    first, second = Store(postgres_database_url), Store(postgres_database_url)
    with first.transaction() as work:
        ids = work.issuers.add(**issuer_columns()), work.issuers.pin_profile(profile(), NOW)
        work.partners.add(PARTNER, NOW)
    number = add_batch(first, ids)
    with first.transaction() as work:
        work.chunks.add(number, [(0, 1, 0), (2, 4, 0)])
    lease = NOW + timedelta(seconds=60)
    with first.transaction() as one, second.transaction() as other:
        assert one.chunks.claim(number, RUNNER, NOW, lease)[0].first_seq == 0
        assert other.chunks.claim(number, OTHER_RUNNER, NOW, lease)[0].first_seq == 2  # SKIP LOCKED
    first.close()
    second.close()


def test_chunks_that_failed_twice_come_last_and_take_turns(store, chunked):
    tried = []
    for _ in range(12):
        chunk = claim(store, chunked)
        tried.append(chunk.first_seq)
        with store.transaction() as work:
            work.chunks.release(chunk, count_attempt=True)
    assert tried == [0, 0, 2, 2, 4, 4] + [0, 2, 4] * 2
