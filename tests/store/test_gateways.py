"""The gateways, on SQLite and PostgreSQL alike: what is written is read again, and what must not happen is refused."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from pki_core.model.errors import (
    ConflictError,
    InvariantError,
    LeaseLostError,
    NotFoundError,
    StoreUnavailableError,
)
from pki_core.model.partners import Partner
from pki_core.model.requests import Issued
from pki_core.model.signer import TokenIdentity
from pki_core.model.states import CertificateState
from pki_core.store.audit import AuditEntry
from pki_core.store.reservations import POSITIONS
from tests.builders import NOW, PARTNER, profile
from tests.store.rows import (
    KEYS,
    LATER,
    OTHER_RUNNER,
    RUNNER,
    issuer_columns,
    record,
    reserve,
    state_of,
    states,
    tbs_of,
)

TOKEN = TokenIdentity(kind="softhsm", label="pncpki-dev", serial="abc123")


# --- transactions


def test_a_transaction_that_raises_leaves_nothing(store):
    def add_twice():
        with store.transaction() as work:
            work.partners.add(PARTNER, NOW)
            work.partners.add(PARTNER, NOW)

    with pytest.raises(ConflictError):
        add_twice()
    with store.reading() as work:
        assert work.partners.ids() == []


def test_nobody_writes_while_reading(store):
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
    issued = Issued("ocsp-1", 1, 1, "OCSP", b"0", NOW, LATER)
    with store.transaction() as work:
        work.responders.add(("ocsp-1", "ocsp-key"), ids[0], issued)
        assert work.responders.labels() == ["ocsp-1"]
    for taken in [("ocsp-1", "other"), ("ocsp-2", "ocsp-key")]:
        with pytest.raises(ConflictError), store.transaction() as work:
            work.responders.add(taken, ids[0], issued)


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
    with pytest.raises(InvariantError, match="contract_leaf was changed"), store.reading() as work:
        work.issuers.profile(number)


# --- reservations


def test_a_reservation_holds_its_serials_and_bytes(store, ids):
    number = reserve(store, ids)
    assert states(store, ids) == {CertificateState.RESERVED}
    with store.reading() as work:
        assert tbs_of(work, number) == b"tbs\0tbs\x01tbs\x02"
        assert work.reservations.held() == [(number, RUNNER)]
        assert state_of(work, ids[0], "ff") is None
        assert work.certificates.find("a0") == []  # reserved is not issued


def test_a_closed_reservation_makes_its_serials_good_and_is_gone(store, ids):
    number = reserve(store, ids)
    with store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, KEYS)
        record(work, ids, number)
    assert states(store, ids) == {CertificateState.GOOD}
    with store.reading() as work:
        assert tbs_of(work, number) == b""
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
        work.reservations.close(number, runner, NOW + timedelta(seconds=seconds), KEYS)
    assert states(store, ids) == {CertificateState.RESERVED}


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_reservation_is_closed_with_all_its_certificates_only(store, ids, count):
    number = reserve(store, ids)
    with pytest.raises(InvariantError), store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, KEYS[:1] * count)
    assert states(store, ids) == {CertificateState.RESERVED}


def test_a_voided_reservation_burns_its_serials_for_good(store, ids):
    number = reserve(store, ids)
    with store.transaction() as work:
        assert work.reservations.void(number) == 3
        assert work.reservations.void(number) == 0
    assert states(store, ids) == {CertificateState.VOID}
    with pytest.raises(LeaseLostError), store.transaction() as work:
        work.reservations.close(number, RUNNER, NOW, KEYS)
    with pytest.raises(ConflictError):
        reserve(store, ids)


def test_voiding_one_reservation_leaves_the_others_alone(store, ids):
    first, second = reserve(store, ids), reserve(store, ids, first=0xB0)
    with store.transaction() as work:
        work.reservations.void(first)
    assert states(store, ids, first=0xB0) == {CertificateState.RESERVED}
    with store.reading() as work:
        assert tbs_of(work, second) == b"tbs\0tbs\x01tbs\x02"


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
        work.reservations.close(number, RUNNER, NOW, KEYS)
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
        work.reservations.close(number, RUNNER, NOW, KEYS)
        record(work, ids, number)
    with pytest.raises(ConflictError), store.transaction() as work:
        record(work, ids, number)


def test_certificates_are_read_in_pieces_in_their_order(store, ids):
    for first in (0x10, 0x20):
        number = reserve(store, ids, first=first)
        with store.transaction() as work:
            work.reservations.close(number, RUNNER, NOW, KEYS)
            record(work, ids, number, first=first)
    with store.reading() as work:
        pieces = list(work.certificates.ders(4))
        assert work.certificates.count() == 6
    assert [len(piece) for piece in pieces] == [4, 2]
    assert [*pieces[0], *pieces[1]] == [b"der\0", b"der\x01", b"der\x02"] * 2


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
        public = {name for name in dir(work.audit) if not name.startswith("_")}
        reading = {"settled_id", "rows", "count_after", "oldest_after", "last_checkpoint", "checkpoints"}
        reading |= {"certificates_untold"}
        assert public - reading == {"append", "add_checkpoint"}
