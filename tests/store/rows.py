"""Rows as the tests of the store write them: an issuer, a reservation, a record, a batch."""

from datetime import timedelta

from sqlalchemy import select

from pki_core.model.states import BatchState
from pki_core.store import tables
from pki_core.store.reservations import POSITIONS
from tests.builders import NOW, PARTNER

LATER = NOW + timedelta(days=365)
KEYS = ("00",) * 3
RUNNER, OTHER_RUNNER = "host/boot/ns/1/2/aa", "host/boot/ns/3/4/bb"


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


def reserve(store, ids, count=3, runner=RUNNER, first=0xA0, lease=60):
    with store.transaction() as work:
        number = work.reservations.open(ids[0], ids[1], runner, (NOW, NOW + timedelta(seconds=lease)))
        intents = [(f"{first + at:02x}", b"tbs" + bytes((at % 256,)), LATER) for at in range(count)]
        work.reservations.reserve(number, ids[0], intents)
    return number


def state_of(work, issuer_id, serial):
    """The state of a serial under its issuer, None when it was never drawn."""
    status = tables.certificate_status.c
    return work.certificates._connection.scalar(
        select(status.status).where(status.issuer_id == issuer_id, status.serial == serial)
    )


def tbs_of(work, number):
    """The stored to-be-signed bytes of a reservation, one behind the other."""
    stored = work.reservations._connection.scalar(
        select(tables.intent.c.tbs_der).where(tables.intent.c.reservation == number)
    )
    return bytes(stored or b"")


def states(store, ids, count=3, first=0xA0):
    with store.reading() as work:
        return {state_of(work, ids[0], f"{first + at:02x}") for at in range(count)}


def record(work, ids, number, count=3, first=0xA0):
    rows, ders = [], []
    for at in range(count):
        certificate_id = number * POSITIONS + at
        rows.append((certificate_id, ids[0], f"{first + at:02x}", ids[1], PARTNER.id, f"CN {at}", 1, 2_000_000_000, 3))
        ders.append((certificate_id, 2_000_000_000, b"der" + bytes((at,))))
    work.certificates.record(rows, ders)


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
