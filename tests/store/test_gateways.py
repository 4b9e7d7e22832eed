"""The gateways, on SQLite and PostgreSQL alike: what is written is read again, and what must not happen is refused."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from pki_core.model.batches import BatchCounts, BatchItem, Verdict
from pki_core.model.errors import (
    ConflictError,
    InvariantError,
    LeaseLostError,
    NotFoundError,
    StoreUnavailableError,
)
from pki_core.model.partners import Partner
from pki_core.model.signer import TokenIdentity
from pki_core.model.states import BatchState, CertificateState
from pki_core.store.audit import AuditEntry
from pki_core.store.reservations import POSITIONS
from pki_core.store.unit_of_work import Store
from tests.builders import NOW, PARTNER, profile

LATER = NOW + timedelta(days=365)
TOKEN = TokenIdentity(kind="softhsm", label="pncpki-dev", serial="abc123")
RUNNER, OTHER_RUNNER = "host/boot/ns/1/2/aa", "host/boot/ns/3/4/bb"


@pytest.fixture
def store(database_url):
    store = Store(database_url)
    yield store
    store.close()


def issuer_columns(label="ca", **changes):
    columns = {
        "label": label,
        "branch": "mo",
        "edition": "iso15118-2",
        "level": "sub2",
        "algorithm": "secp256r1",
        "parent_id": None,
        "key_label": f"{label}-key",
        "subject_der": b"\x30\x00",
        "spki_der": b"spki\x00",
        "key_identifier": b"12345678",
    }
    return {**columns, **changes}


@pytest.fixture
def ids(store):
    """An issuer, a profile and a partner."""
    with store.transaction() as work:
        issuer_id = work.issuers.add(**issuer_columns())
        profile_id = work.issuers.pin_profile(profile(), NOW)
        work.partners.add(PARTNER, NOW)
    return issuer_id, profile_id


def scalar(store, statement, **values):
    with store.reading() as work:
        return work.audit._connection.scalar(text(statement), values)


# --- transactions


def test_a_transaction_that_raises_leaves_nothing(store):
    with pytest.raises(KeyError), store.transaction() as work:
        work.partners.add(PARTNER, NOW)
        raise KeyError
    with store.reading() as work:
        assert work.partners.ids() == []


def test_nobody_writes_while_reading(store):
    with store.reading() as work:
        if work.audit._connection.dialect.name == "sqlite":
            pytest.skip("SQLite reads in a transaction that may also write; PostgreSQL refuses")
    with pytest.raises(StoreUnavailableError), store.reading() as work:
        work.partners.add(PARTNER, NOW)


def test_a_reader_sees_one_moment(store):
    with store.reading() as reader:
        assert reader.partners.ids() == []
        with store.transaction() as work:
            work.partners.add(PARTNER, NOW)
        assert reader.partners.ids() == []
    with store.reading() as reader:
        assert reader.partners.ids() == [PARTNER.id]


def test_a_faulty_statement_becomes_unavailable_without_its_values(store):
    with pytest.raises(StoreUnavailableError) as caught, store.reading() as work:
        work.audit._connection.execute(text("SELECT 'hunter2' FROM nowhere"))
    assert "hunter2" not in str(caught.value)


# --- partners and the stamp


def test_a_partner_is_found_again_with_all_its_scopes(store):
    partner = Partner(
        id="p.1_a-b",
        roles=frozenset({"mo", "cpo"}),
        provider_prefixes=frozenset({"DEPNC", "FRABC"}),
        operator_prefixes=frozenset({"DEPNC"}),
        wmis=frozenset({"WPN", "WVW"}),
    )
    with store.transaction() as work:
        work.partners.add(partner, NOW)
        work.partners.add(PARTNER, NOW)
    with store.reading() as work:
        assert work.partners.get("p.1_a-b") == partner
        assert work.partners.get(PARTNER.id) == PARTNER
        assert work.partners.ids() == ["p.1_a-b", PARTNER.id]


def test_a_partner_without_prefixes_is_a_partner(store):
    bare = replace(PARTNER, provider_prefixes=frozenset(), operator_prefixes=frozenset(), wmis=frozenset())
    with store.transaction() as work:
        work.partners.add(bare, NOW)
    with store.reading() as work:
        assert work.partners.get(bare.id) == bare


def test_a_partner_is_added_once(store):
    with store.transaction() as work:
        work.partners.add(PARTNER, NOW)
    with pytest.raises(ConflictError, match="test-mo"), store.transaction() as work:
        work.partners.add(PARTNER, NOW)


def test_an_unknown_partner_is_not_found(store):
    with pytest.raises(NotFoundError, match="nobody"), store.reading() as work:
        work.partners.get("nobody")


def test_the_stamp_is_written_once_and_read_again(store):
    with store.transaction() as work:
        assert work.environment.read() is None
        work.environment.stamp("qa", "id-1", TOKEN, NOW)
    with pytest.raises(ConflictError), store.transaction() as work:
        work.environment.stamp("prod", "id-2", TOKEN, NOW)
    with store.reading() as work:
        assert work.environment.read() == ("qa", "id-1", TOKEN)


# --- issuers and profiles


def test_an_issuer_is_inactive_until_it_has_its_certificate(store):
    with store.transaction() as work:
        root = work.issuers.add(**issuer_columns("root", level="root"))
        work.issuers.add(**issuer_columns("sub", parent_id=root))
        record = work.issuers.get("root")
        assert (record.certificate_der, record.not_before, record.not_after) == (b"", None, None)
        work.issuers.activate(root, 4096, b"\x30\x01", (NOW, LATER))
    with store.reading() as work:
        record = work.issuers.get("root")
        assert (record.certificate_der, record.not_before, record.not_after) == (b"\x30\x01", NOW, LATER)
        assert (record.subject_der, record.spki_der, record.key_identifier) == (b"\x30\x00", b"spki\x00", b"12345678")
        assert work.issuers.get("sub").parent_id == root
        assert [one.label for one in work.issuers.all()] == ["root", "sub"]


def test_an_issuer_gets_its_certificate_once(store, ids):
    with store.transaction() as work:
        work.issuers.activate(ids[0], 4096, b"0", (NOW, LATER))
    with pytest.raises(ConflictError), store.transaction() as work:
        work.issuers.activate(ids[0], 4097, b"1", (NOW, LATER))


@pytest.mark.parametrize("changes", [{"key_label": "other"}, {"label": "other"}], ids=["label", "key label"])
def test_labels_of_issuers_and_keys_are_used_once(store, ids, changes):
    assert ids
    with pytest.raises(ConflictError), store.transaction() as work:
        work.issuers.add(**{**issuer_columns(), **changes})


def test_an_unknown_issuer_is_none_or_not_found(store):
    with store.reading() as work:
        assert work.issuers.find("nobody") is None
        with pytest.raises(NotFoundError):
            work.issuers.get("nobody")


def test_responders_are_listed_and_used_once(store, ids):
    columns = {
        "label": "ocsp-1",
        "issuer_id": ids[0],
        "key_label": "ocsp-key",
        "certificate_id": 1,
        "certificate_der": b"0",
        "not_before": 1,
        "not_after": 2,
    }
    with store.transaction() as work:
        work.issuers.add_responder(**columns)
        assert work.issuers.responder_labels() == ["ocsp-1"]
    with pytest.raises(ConflictError), store.transaction() as work:
        work.issuers.add_responder(**{**columns, "key_label": "other"})


def test_a_profile_is_stored_once_a_version(store):
    with store.transaction() as work:
        first = work.issuers.pin_profile(profile(), NOW)
        assert work.issuers.pin_profile(profile(), LATER) == first
        second = work.issuers.pin_profile(profile("contract_leaf", "full_extensions"), NOW)
        assert second != first
    with store.reading() as work:
        assert work.issuers.profile(first) == profile()
        assert work.issuers.profile(second) == profile("contract_leaf", "full_extensions")


def test_a_profile_that_was_changed_in_the_database_is_refused(store):
    with store.transaction() as work:
        number = work.issuers.pin_profile(profile(), NOW)
        work.audit._connection.execute(text("UPDATE profile SET document = replace(document, '730', '9999')"))
    with pytest.raises(ConflictError, match="contract_leaf was changed"), store.reading() as work:
        work.issuers.profile(number)


# --- reservations


def reserve(store, ids, count=3, runner=RUNNER, first=0xA0, lease=60):
    with store.transaction() as work:
        number = work.reservations.open(ids[0], ids[1], runner, (NOW, NOW + timedelta(seconds=lease)))
        intents = [(f"{first + at:02x}", b"tbs" + bytes((at,)), LATER) for at in range(count)]
        work.reservations.reserve(number, ids[0], intents)
    return number


def states(store, ids, count=3, first=0xA0):
    with store.reading() as work:
        return {work.certificates.state_of(ids[0], f"{first + at:02x}") for at in range(count)}


def record(work, ids, number, count=3, first=0xA0):
    rows, ders = [], []
    for at in range(count):
        certificate_id = number * POSITIONS + at
        rows.append((certificate_id, ids[0], f"{first + at:02x}", ids[1], PARTNER.id, f"CN {at}", 1, 2_000_000_000, 3))
        ders.append((certificate_id, 2_000_000_000, b"der" + bytes((at,))))
    work.certificates.record(rows, ders)


def test_a_reservation_holds_its_serials_and_bytes(store, ids):
    number = reserve(store, ids)
    assert states(store, ids) == {CertificateState.RESERVED}
    with store.reading() as work:
        assert work.reservations.tbs_of(number) == [b"tbs\0", b"tbs\x01", b"tbs\x02"]
        assert work.reservations.held() == [(number, RUNNER)]
        assert work.certificates.state_of(ids[0], "ff") is None
        assert work.certificates.find("a0") == []  # reserved is not issued


def test_a_closed_reservation_makes_its_serials_good_and_is_gone(store, ids):
    number = reserve(store, ids)
    with store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, 3)
        record(work, ids, number)
    assert states(store, ids) == {CertificateState.GOOD}
    with store.reading() as work:
        assert work.reservations.tbs_of(number) == []
        assert work.reservations.held() == []
        (found,) = work.certificates.find("a1")
    assert (found.common_name, found.certificate_der, found.partner_id) == ("CN 1", b"der\x01", PARTNER.id)
    assert (found.profile_name, found.profile_hash) == ("contract_leaf", profile().hash)
    assert (found.issuer_label, found.state, found.serial) == ("ca", CertificateState.GOOD, "a1")


@pytest.mark.parametrize(
    ("runner", "seconds"),
    [(OTHER_RUNNER, 0), (RUNNER, 60), (RUNNER, 3600)],
    ids=["another runner", "just late", "late"],
)
def test_a_reservation_is_closed_by_its_runner_within_its_lease_only(store, ids, runner, seconds):
    number = reserve(store, ids)
    with pytest.raises(LeaseLostError), store.transaction() as work:
        work.reservations.close(number, runner, NOW + timedelta(seconds=seconds), 3)
    assert states(store, ids) == {CertificateState.RESERVED}


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_reservation_is_closed_with_all_its_certificates_only(store, ids, count):
    number = reserve(store, ids)
    with pytest.raises(InvariantError), store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, count)
    assert states(store, ids) == {CertificateState.RESERVED}


def test_a_voided_reservation_burns_its_serials_for_good(store, ids):
    number = reserve(store, ids)
    with store.transaction() as work:
        assert work.reservations.void(number) == 3
        assert work.reservations.void(number) == 0
    assert states(store, ids) == {CertificateState.VOID}
    with pytest.raises(LeaseLostError), store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, 3)
    with pytest.raises(ConflictError):
        reserve(store, ids)


def test_voiding_one_reservation_leaves_the_others_alone(store, ids):
    first, second = reserve(store, ids), reserve(store, ids, first=0xB0)
    with store.transaction() as work:
        work.reservations.void(first)
    assert states(store, ids, first=0xB0) == {CertificateState.RESERVED}
    with store.reading() as work:
        assert len(work.reservations.tbs_of(second)) == 3


def test_a_serial_is_drawn_once_an_issuer(store, ids):
    reserve(store, ids)
    with pytest.raises(ConflictError):
        reserve(store, ids, count=1, first=0xA2)
    with store.transaction() as work:
        other = work.issuers.add(**issuer_columns("other"))
    assert reserve(store, (other, ids[1]), count=1, first=0xA2)


def test_a_good_serial_is_never_reserved_again(store, ids):
    number = reserve(store, ids)
    with store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, 3)
        record(work, ids, number)
    with pytest.raises(ConflictError):
        reserve(store, ids, count=1)


def test_reservation_numbers_are_never_used_again(store, ids):
    numbers = []
    for first in (0x10, 0x20, 0x30):
        numbers.append(reserve(store, ids, first=first))
        with store.transaction() as work:
            work.reservations.void(numbers[-1])
    assert numbers == sorted(set(numbers))


def test_a_reservation_has_a_limit(store, ids):
    with pytest.raises(InvariantError, match=str(POSITIONS)):
        reserve(store, ids, count=POSITIONS + 1, first=0x10000)


def test_leases_that_ran_out_are_listed(store, ids):
    short, long = reserve(store, ids, lease=10), reserve(store, ids, lease=100, first=0xB0, runner=OTHER_RUNNER)
    with store.reading() as work:
        assert work.reservations.expired(NOW + timedelta(seconds=9), 10) == []
        assert work.reservations.expired(NOW + timedelta(seconds=10), 10) == [(short, RUNNER)]
        assert work.reservations.expired(LATER, 10) == [(short, RUNNER), (long, OTHER_RUNNER)]
        assert work.reservations.expired(LATER, 1) == [(short, RUNNER)]


def test_a_second_record_of_a_certificate_is_refused(store, ids):
    number = reserve(store, ids)
    with store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, 3)
        record(work, ids, number)
    with pytest.raises(ConflictError), store.transaction() as work:
        record(work, ids, number)


def test_certificates_are_read_in_pieces_in_their_order(store, ids):
    for first in (0x10, 0x20):
        number = reserve(store, ids, first=first)
        with store.transaction() as work:
            work.reservations.close(number, RUNNER, NOW, 3)
            record(work, ids, number, first=first)
    with store.reading() as work:
        pieces = list(work.certificates.ders(4))
        assert work.certificates.count() == 6
    assert [len(piece) for piece in pieces] == [4, 2]
    assert sum(pieces, []) == [b"der\0", b"der\x01", b"der\x02"] * 2


# --- batches


def add_batch(store, ids, rows=5, **changes):
    columns = {
        "id": "20260301-0000000000",
        "partner_id": PARTNER.id,
        "profile_id": ids[1],
        "profile_name": "contract_leaf",
        "issuer_id": ids[0],
        "source_name": "batch.csv",
        "source_sha256": "ab" * 32,
        "state": BatchState.LOADING.value,
        "runner": RUNNER,
        "total": 0,
        "created_at": int(NOW.timestamp()),
    }
    with store.transaction() as work:
        number = work.batches.add(**{**columns, **changes})
        work.batches.add_items(number, [(seq, f"row-{seq}", bytes((seq,)), "") for seq in range(rows)])
    return number


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
        work.reservations.close(reservation, RUNNER, NOW, 3)
        record(work, ids, reservation)
        issued = [verdict(seq, reservation * POSITIONS + at, "issued") for at, seq in enumerate((0, 3, 4))]
        work.batches.add_verdicts(number, [verdict(1), verdict(2), *issued])
    with store.reading() as work:
        pieces = list(work.batches.results(number, 2))
    assert [[row.seq for row in piece] for piece in pieces] == [[0, 1], [2, 3], [4]]
    rows = sum(pieces, [])
    assert [row.serial for row in rows] == ["a0", "", "", "a1", "a2"]
    assert [row.certificate_der for row in rows] == [b"der\0", b"", b"", b"der\x01", b"der\x02"]
    assert (rows[1].code, rows[1].message, rows[1].not_after) == ("csr.malformed", "Said plainly.", None)


def test_a_batch_that_is_loading_can_be_started_afresh_or_discarded(store, ids):
    number = add_batch(store, ids)
    with store.transaction() as work:
        work.batches.add_verdicts(number, [verdict(1)])
        work.batches.restart_loading(number, OTHER_RUNNER)
        assert work.batches.open_items(number, 0, 9) == []
    assert get(store).runner == OTHER_RUNNER
    with store.transaction() as work:
        work.batches.discard(number)
    with pytest.raises(NotFoundError):
        get(store)


def test_a_batch_that_is_loaded_is_not_discarded(store, ids):
    number = add_batch(store, ids, state=BatchState.QUEUED.value)
    with pytest.raises(ConflictError), store.transaction() as work:
        work.batches.discard(number)
    with store.reading() as work:
        assert len(work.batches.open_items(number, 0, 9)) == 5


def test_batch_numbers_are_never_used_again(store, ids):
    first = add_batch(store, ids)
    with store.transaction() as work:
        work.batches.discard(first)
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
        assert sorted(work.chunks.runners(chunked)) == [RUNNER, OTHER_RUNNER]
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


# --- audit


def test_audit_rows_are_appended_in_order_with_all_they_tell(store, ids):
    digest = hashlib.sha256(b"certificate").digest()
    with store.transaction() as work:
        work.audit.append("issuance", NOW, [AuditEntry("demo-mo", "certificate.issued", ids[0], "a0", ids[1], digest)])
        work.audit.append("batches", NOW, [])
        work.audit.append("batches", LATER, [AuditEntry(actor="operator", action="batch.done", detail="b-1")])
    with store.reading() as work:
        rows = work.audit._connection.execute(text("SELECT * FROM audit ORDER BY id")).all()
    assert [(row.stream, row.at, row.actor, row.action) for row in rows] == [
        ("issuance", int(NOW.timestamp()), "demo-mo", "certificate.issued"),
        ("batches", int(LATER.timestamp()), "operator", "batch.done"),
    ]
    assert (rows[0].issuer_id, rows[0].serial, rows[0].profile_id, bytes(rows[0].certificate_sha256)) == (
        ids[0],
        "a0",
        ids[1],
        digest,
    )
    assert rows[1].detail == "b-1"


def test_audit_has_no_way_to_change_or_remove_a_row(store):
    with store.reading() as work:
        assert [name for name in dir(work.audit) if not name.startswith("_")] == ["append"]


def test_a_store_counts_what_it_takes(store, ids):
    add_batch(store, ids)
    assert scalar(store, "SELECT count(*) FROM batch_item") == 5
