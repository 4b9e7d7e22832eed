"""The laws of issuance that hold in the database after any crash; every crash test ends by checking them here.

Read with plain SQL, so that a fault in a gateway cannot hide itself. A broken law is an AssertionError that names it.
"""

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import create_engine, text

from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import decode_message

RESERVED, GOOD, VOID = 0, 1, 9
POSITIONS = 4096  # certificate id = reservation number * POSITIONS + position

_QUERIES = {
    "certificates": "SELECT id, issuer_id, serial, profile_id, partner_id, common_name, not_after FROM certificate",
    "ders": "SELECT id, not_after, der FROM certificate_der",
    "statuses": "SELECT issuer_id, serial, certificate_id, status, not_after FROM certificate_status",
    "audits": "SELECT action, actor, issuer_id, serial, profile_id, certificate_sha256, detail FROM audit",
    "issuers": "SELECT id, certificate_der FROM issuer",
    "reservations": "SELECT number FROM reservation",
    "intents": "SELECT reservation, serials, tbs_der FROM intent",
    "batches": "SELECT number, id, partner_id, profile_id, issuer_id, state, total FROM batch",
    "items": "SELECT batch_number, seq, row_id, csr_der FROM batch_item ORDER BY batch_number, seq",
    "verdicts": "SELECT batch_number, seq, certificate_id, code, common_name FROM batch_verdict",
    "contracts": "SELECT emaid, pcid, certificate_id, signed_data FROM contract c JOIN contract_data d USING (emaid)",
    "former": "SELECT certificate_id FROM former_contract",
    "events": "SELECT type, pcid, emaid FROM outbox_event",
    "chunks": "SELECT batch_number, first_seq, last_seq, state, issued, refused FROM batch_chunk ORDER BY first_seq",
}


@dataclass(frozen=True)
class Books:
    """What a batch came to."""

    issued: dict[int, int]  # row -> certificate id
    refused: dict[int, str]  # row -> code
    void: int  # burned serials in the whole database

    @property
    def codes(self):
        """Row -> code of its verdict."""
        return dict.fromkeys(self.issued, "issued") | self.refused

    def issued_in(self, first, last):
        return sum(first <= seq <= last for seq in self.issued)


class Snapshot:
    """All rows that matter, read in one transaction."""

    def __init__(self, connection):
        for name, query in _QUERIES.items():
            setattr(self, name, connection.execute(text(query)).all())
        self.certificate = {row.id: row for row in self.certificates}
        self.der = {row.id: row for row in self.ders}
        self.parsed = {row.id: x509.load_der_x509_certificate(bytes(row.der)) for row in self.ders}


@contextmanager
def connected(url):
    """A connection of the tests' own; what is done with it is committed at the end of the block."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def read_snapshot(url):
    with connected(url) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")  # Python's driver begins none for reading
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return Snapshot(connection)


def check_books(url, batch_id):
    """Check the whole database at rest and one finished batch in it; return the batch's books."""
    snapshot = read_snapshot(url)
    check_serials(snapshot)
    check_certificates(snapshot)
    check_contracts(snapshot)
    check_rest(snapshot)
    return check_batch(snapshot, batch_id)


def check_at_any_time(url):
    """Check what holds also while runners work and right after one was killed."""
    snapshot = read_snapshot(url)
    check_serials(snapshot)
    check_certificates(snapshot)
    check_contracts(snapshot)


def check_serials(snapshot):
    """No serial twice; a reservation is settled as a whole; what is good has a certificate, and nothing else has."""
    for name in ("certificates", "statuses"):
        drawn = Counter((row.issuer_id, row.serial) for row in getattr(snapshot, name))
        assert not _repeated(drawn), f"serials twice in {name}: {_repeated(drawn)}"
    owned = Counter(row.certificate_id for row in snapshot.statuses)
    assert not _repeated(owned), f"certificate ids with two serials: {_repeated(owned)}"
    good = {row.certificate_id for row in snapshot.statuses if row.status == GOOD}
    assert good == set(snapshot.certificate), (
        f"good serials and certificates differ: {good ^ set(snapshot.certificate)}"
    )
    assert good == set(snapshot.der), f"good serials and DER differ: {good ^ set(snapshot.der)}"
    fates = {}
    for row in snapshot.statuses:
        fates.setdefault(row.certificate_id // POSITIONS, set()).add(row.status)
        if row.status == GOOD:
            record = snapshot.certificate[row.certificate_id]
            assert (record.issuer_id, record.serial, record.not_after) == (row.issuer_id, row.serial, row.not_after)
    mixed = {number: fate for number, fate in fates.items() if len(fate) > 1}
    assert not mixed, f"reservations settled in part: {mixed}"
    reserved = {row.certificate_id for row in snapshot.statuses if row.status == RESERVED}
    in_order = {
        row.reservation * POSITIONS + position
        for row in snapshot.intents
        for position, _ in enumerate(row.serials.split())
    }
    drawn = {(row.certificate_id // POSITIONS, row.serial) for row in snapshot.statuses if row.status == RESERVED}
    named = {(row.reservation, serial) for row in snapshot.intents for serial in row.serials.split()}
    assert drawn == named, f"reserved serials and stored to-be-signed bytes differ: {drawn ^ named}"
    intents = in_order
    assert reserved == intents, f"reserved serials and stored to-be-signed bytes differ: {reserved ^ intents}"
    held = {row.number for row in snapshot.reservations}
    assert {one // POSITIONS for one in reserved} <= held, "reserved serials without a reservation"


def check_certificates(snapshot):
    """Each certificate is what its record says, is signed by its issuer, and has one audit row and one verdict."""
    issuers = {row.id: x509.load_der_x509_certificate(bytes(row.certificate_der)) for row in snapshot.issuers}
    audits = Counter(
        (row.issuer_id, row.serial, row.profile_id, bytes(row.certificate_sha256))
        for row in snapshot.audits
        if row.action == "certificate.issued"
    )
    expected = Counter()
    for number, record in snapshot.certificate.items():
        certificate = snapshot.parsed[number]
        assert certificate.serial_number == int(record.serial, 16), f"certificate {number} has another serial"
        assert snapshot.der[number].not_after == record.not_after == certificate.not_valid_after_utc.timestamp()
        _verify(certificate, issuers[record.issuer_id].public_key())
        expected[record.issuer_id, record.serial, record.profile_id, _sha256(snapshot.der[number].der)] += 1
    assert audits == expected, f"audit rows differ from certificates: {audits - expected} {expected - audits}"
    told = Counter(row.certificate_id for row in snapshot.verdicts if row.certificate_id is not None)
    assert not _repeated(told), f"certificates in two verdicts: {_repeated(told)}"
    ours = {number for number, record in snapshot.certificate.items() if record.partner_id is not None}
    assert set(told) == ours, f"certificates and verdicts differ: {set(told) ^ ours}"
    numbers = {row.number for row in snapshot.batches}
    for name in ("items", "verdicts", "chunks"):
        orphans = {row.batch_number for row in getattr(snapshot, name)} - numbers
        assert not orphans, f"{name} of batches that do not exist: {orphans}"


def check_contracts(snapshot):
    """A good certificate of a contract that was put into the CCP is there, or was replaced there and is remembered."""
    published = {bytes(row.certificate_sha256) for row in snapshot.audits if row.action == "pool.ccp_published"}
    good = {row.certificate_id for row in snapshot.statuses if row.status == GOOD}
    ours = {number for number in good & set(snapshot.der) if _sha256(snapshot.der[number].der) in published}
    known = {row.certificate_id for row in (*snapshot.contracts, *snapshot.former)}
    assert ours <= known, f"good certificates of contracts that nobody has: {ours - known}"


def check_rest(snapshot):
    """Nothing is left in flight."""
    left = [row.serial for row in snapshot.statuses if row.status not in {GOOD, VOID}]
    assert not left, f"serials that are neither good nor void: {left}"
    assert not snapshot.reservations, f"reservations left: {snapshot.reservations}"
    assert not snapshot.intents, f"to-be-signed bytes left: {len(snapshot.intents)}"


def check_batch(snapshot, batch_id):
    """The batch is done, every row has its one verdict, and the counts say the same."""
    batch = next(row for row in snapshot.batches if row.id == batch_id)
    assert batch.state == "done", f"batch {batch_id} is {batch.state}"
    items = {row.seq: row for row in snapshot.items if row.batch_number == batch.number}
    verdicts = [row for row in snapshot.verdicts if row.batch_number == batch.number]
    assert list(items) == list(range(batch.total)), f"{len(items)} rows of {batch.total} are stored"
    assert sorted(row.seq for row in verdicts) == list(items), "not one verdict for each row"
    for row in verdicts:
        if row.certificate_id is not None:
            _check_row(snapshot, batch, items[row.seq], row)
    issued = {row.seq: row.certificate_id for row in verdicts if row.certificate_id is not None}
    refused = {row.seq: row.code for row in verdicts if row.certificate_id is None}
    assert "issued" not in refused.values(), "issued without a certificate"
    _check_chunks(snapshot, batch, issued, refused)
    for action, detail in (("batch.submitted", f"{batch_id} file"), ("batch.done", batch_id)):
        told = [row for row in snapshot.audits if row.action == action and row.detail.startswith(detail)]
        assert len(told) == 1, f"{len(told)} audit rows {action}"
    return Books(issued, refused, sum(row.status == VOID for row in snapshot.statuses))


def _check_row(snapshot, batch, item, verdict):
    record, certificate = snapshot.certificate[verdict.certificate_id], snapshot.parsed[verdict.certificate_id]
    assert verdict.code == "issued", f"row {item.seq} has a certificate and the code {verdict.code}"
    belongs = (record.partner_id, record.profile_id, record.issuer_id)
    assert belongs == (batch.partner_id, batch.profile_id, batch.issuer_id), f"row {item.seq}: {belongs}"
    assert record.common_name == verdict.common_name, f"row {item.seq} names {verdict.common_name}"
    if bytes(item.csr_der).startswith(b"{"):
        _check_contract(snapshot, json.loads(bytes(item.csr_der)), verdict, certificate)
        return
    asked = x509.load_der_x509_csr(bytes(item.csr_der)).public_key()
    assert _spki(certificate.public_key()) == _spki(asked), f"the certificate of row {item.seq} has another row's key"


def _check_contract(snapshot, order, verdict, certificate):
    """The contract in the CCP is the row's, its certificate that of the verdict, and everybody was told once."""
    (row,) = [one for one in snapshot.contracts if one.emaid == order["emaid"][:14]]
    assert (row.pcid, row.certificate_id) == (order["pcid"].upper(), verdict.certificate_id)
    chain = decode_message(Edition.ISO_2, bytes(row.signed_data)).body.contract_chain
    assert chain.certificate_der == certificate.public_bytes(Encoding.DER), f"{row.emaid} carries another certificate"
    told = sorted(one.type for one in snapshot.events if one.emaid == row.emaid)
    assert told == ["mo.contract.created.sent.to.oem", "oem.contract.created"], f"{row.emaid}: {told}"


def _check_chunks(snapshot, batch, issued, refused):
    chunks = [row for row in snapshot.chunks if row.batch_number == batch.number]
    covered = [seq for row in chunks for seq in range(row.first_seq, row.last_seq + 1)]
    assert covered == list(range(batch.total)), "the chunks do not cover the batch exactly"
    assert {row.state for row in chunks} == {"done"}, f"chunks that are not done: {chunks}"
    counts = sum(row.issued for row in chunks), sum(row.refused for row in chunks)
    assert counts == (len(issued), len(refused)), f"the chunks count {counts}"


def _verify(certificate, public_key):
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        algorithm = ec.ECDSA(certificate.signature_hash_algorithm)
        public_key.verify(certificate.signature, certificate.tbs_certificate_bytes, algorithm)
    else:
        public_key.verify(certificate.signature, certificate.tbs_certificate_bytes)


def _spki(public_key):
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _sha256(content):
    digest = Hash(SHA256())
    digest.update(bytes(content))
    return digest.finalize()


def _repeated(counter):
    return {key: count for key, count in counter.items() if count > 1}
