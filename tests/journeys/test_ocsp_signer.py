"""OCSP: content and signers of answers, and what happens when something is away (O55 to O66)."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from sqlalchemy import delete

from pki_core.hsm.soft_key import FileSigner
from pki_core.model.certificates import serial_text
from pki_core.model.errors import HsmUnavailableError, StoreUnavailableError
from pki_core.model.ocsp import OcspStatus
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.ocsp_signing import OcspSigner
from pki_core.store import tables
from pki_core.store.unit_of_work import Store
from tests.journeys.acts import GENERATIONS, rows
from tests.journeys.ocsp_acts import Asked
from tests.ocsp_forms import Response, certificate_id, nonce, request, seconds

pytest_plugins = ["tests.journeys.environments", "tests.journeys.ocsp_environments"]

LEAFS = {
    KeyAlgorithm.SECP256R1: "contract_leaf",
    KeyAlgorithm.SECP521R1: "contract_leaf_20",
    KeyAlgorithm.ED448: "contract_leaf_20_ed448",
}
SIGNATURES = {
    KeyAlgorithm.SECP256R1: "sha256_ecdsa",
    KeyAlgorithm.SECP521R1: "sha512_ecdsa",
    KeyAlgorithm.ED448: "ed448",
}

OF_MO_SUB2 = "FROM ocsp_response r JOIN issuer i ON i.id = r.issuer_id WHERE i.label = 'mo-sub2'"


def away(*_arguments, **_switches):
    raise HsmUnavailableError("away")


@contextmanager
def store_away(monkeypatch):
    def refuse(*_arguments, **_switches):
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "reading", refuse)
        patched.setattr(Store, "transaction", refuse)
        yield


@pytest.mark.parametrize("algorithm", GENERATIONS)
def test_o55_to_o58_and_o62_every_algorithm_has_its_own_delegate_and_signature(asked, algorithm):
    record, serial = asked.issue(LEAFS[algorithm])
    assert record.algorithm is algorithm
    response = asked.ask(certificate_id(record, serial, "sha256"))
    (responder_der,) = response.certificates  # O56: one, and it is the delegate's
    responder = x509.load_der_x509_certificate(responder_der)
    responder.verify_directly_issued_by(x509.load_der_x509_certificate(record.certificate_der))  # O57
    assert response.is_signed_by(responder_der)
    assert response.basic["signature_algorithm"]["algorithm"].native == SIGNATURES[algorithm]  # O62
    assert response.data["responder_id"].name == "by_key"
    key_hash = x509.SubjectKeyIdentifier.from_public_key(responder.public_key()).digest
    assert response.data["responder_id"].native == key_hash  # O55: SHA-1, whatever identifier the certificate carries
    (one,) = response.singles
    now = asked.clock.now()
    assert (one.this_update, response.produced_at, one.next_update) == (now, now, now + timedelta(hours=24))  # O58
    assert response.der.count(b"\x18\x0f" + now.strftime("%Y%m%d%H%M%SZ").encode()) == 2


def test_o57_a_delegate_may_sign_answers_and_nothing_else(asked):
    (one,) = asked.responders("mo-sub2")
    certificate = x509.load_der_x509_certificate(one.certificate_der)
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    assert list(extensions[ExtensionOID.EXTENDED_KEY_USAGE]) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert extensions[ExtensionOID.KEY_USAGE].digital_signature
    assert not extensions[ExtensionOID.KEY_USAGE].key_cert_sign
    assert ExtensionOID.OCSP_NO_CHECK in extensions
    assert ExtensionOID.AUTHORITY_INFORMATION_ACCESS not in extensions
    assert ExtensionOID.CRL_DISTRIBUTION_POINTS not in extensions
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=30)


def test_o58_an_answer_never_outlives_its_delegate(asked):
    record, serial = asked.issue()
    (delegate,) = asked.responders("mo-sub2")
    asked.clock.advance(seconds=delegate.not_after - seconds(asked.clock.now()) - 3600)
    response = asked.ask(certificate_id(record, serial))
    assert seconds(response.singles[0].next_update) == delegate.not_after
    asked.runtime.ocsp_refresh.run()
    assert rows(asked.runtime, f"SELECT max(next_update) {OF_MO_SUB2}") == [(delegate.not_after,)]


def test_o59_a_delegate_near_its_end_or_not_yet_begun_signs_nothing(asked):
    record, serial = asked.issue()
    (delegate,) = asked.responders("mo-sub2")
    now = asked.clock.now()
    for moment in (delegate.not_before - 1, delegate.not_after - 600, delegate.not_after + 1):
        asked.clock.moment = now + timedelta(seconds=moment - seconds(now))
        assert Asked(asked.runtime).status(record, serial) == "try_later"
    asked.clock.moment = now + timedelta(seconds=delegate.not_after - 601 - seconds(now))
    assert Asked(asked.runtime).status(record, serial) == "good"


def test_o59_and_o60_a_rotation_comes_before_the_end_and_old_answers_stay_good(asked):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    (old,) = asked.responders("mo-sub2")
    asked.clock.advance(days=23)
    assert "mo-sub2" in asked.runtime.responders.rotate().kept
    asked.clock.advance(days=1, hours=23)
    before = asked.ask(id_der)
    made = asked.runtime.responders.rotate().made
    assert "ocsp-mo-sub2-2" in made
    new, same = asked.responders("mo-sub2")
    assert same == old
    assert asked.ask(id_der).der == before.der  # what is remembered stands
    live = Asked(asked.runtime).ask_with_nonce(id_der)
    assert (before.certificates, live.certificates) == ([old.certificate_der], [new.certificate_der])
    assert seconds(before.singles[0].next_update) <= old.not_after
    assert before.is_signed_by(old.certificate_der)
    assert live.is_signed_by(new.certificate_der)


def test_o60_a_revoked_delegate_signs_no_more_and_what_it_signed_is_gone(any_asked):
    record, serial = any_asked.issue()
    any_asked.runtime.ocsp_refresh.run()
    id_der = certificate_id(record, serial)
    (old,) = any_asked.responders("mo-sub2")
    assert any_asked.ask(id_der).certificates == [old.certificate_der]
    any_asked.revoke(int(old.serial, 16), 1)
    assert rows(any_asked.runtime, f"SELECT count(*) {OF_MO_SUB2}") == [(0,)]
    assert any_asked.ask(id_der).status == "try_later"
    assert any_asked.runtime.responders.rotate().made == ("ocsp-mo-sub2-2",)
    (new, _) = any_asked.responders("mo-sub2")
    assert Asked(any_asked.runtime).ask(id_der).certificates == [new.certificate_der]


def test_o60_what_a_revoked_delegate_signed_ahead_is_not_served_even_when_it_was_stored_late(asked):
    record, serial = asked.issue()
    asked.runtime.ocsp_refresh.run()
    (old,) = asked.responders("mo-sub2")
    with asked.runtime.store.reading() as work:
        stored, _ = work.ocsp.stored(record.id, serial_text(serial), "sha1")
    asked.revoke(int(old.serial, 16), 1)
    asked.runtime.responders.rotate()
    with asked.runtime.store.transaction() as work:
        work.ocsp.store(record.id, [stored])
    (new, _) = asked.responders("mo-sub2")
    assert asked.ask(certificate_id(record, serial)).certificates == [new.certificate_der]


def test_o61_one_question_has_one_answer_without_critical_extensions(asked):
    record, serial = asked.issue(hours=1)
    asked.clock.advance(hours=2)
    (one,) = asked.ask(certificate_id(record, serial)).singles
    assert one.archive_cutoff is not None
    assert not one.critical


def test_o63_while_the_store_is_away_what_is_remembered_serves_until_its_next_update(asked, monkeypatch):
    record, serial = asked.issue()
    _, other = asked.issue()
    id_der = certificate_id(record, serial)
    before = asked.ask(id_der)
    with store_away(monkeypatch):
        assert asked.ask(id_der).der == before.der
        assert asked.ask_with_nonce(id_der).der == before.der
        assert asked.status(record, other) == "try_later"
        assert asked.ocsp.trouble == "store.unavailable"
        asked.clock.advance(hours=24, seconds=-1)
        assert asked.ask(id_der).der == before.der
        asked.clock.advance(seconds=1)
        assert asked.ask(id_der).status == "try_later"
    deadline = time.monotonic() + 5
    while asked.ask(id_der).status != "successful":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert asked.ocsp.trouble == ""


def test_o63_a_revocation_made_while_the_store_could_not_be_seen_is_seen_after(asked, monkeypatch):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    assert asked.ask(id_der).statuses == ["good"]
    with store_away(monkeypatch):
        assert asked.ask(id_der).statuses == ["good"]
        asked.clock.advance(hours=1)
    asked.revoke(serial, 1)
    asked.clock.advance(hours=1)
    deadline = time.monotonic() + 5
    while asked.ask(id_der).statuses != ["revoked"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_o64_while_the_token_is_away_what_is_remembered_serves(asked, monkeypatch):
    record, serial = asked.issue()
    _, other = asked.issue()
    id_der = certificate_id(record, serial)
    before = asked.ask(id_der)
    with monkeypatch.context() as patched:
        patched.setattr(FileSigner, "sign", away)
        asked.clock.advance(hours=23)  # past half its life: a new one is tried for
        assert asked.ask(id_der).der == before.der
        assert asked.status(record, other) == "try_later"
        assert asked.ocsp.trouble == "hsm.unavailable"
        asked.clock.advance(hours=1)
        assert asked.ask(id_der).status == "try_later"
    assert asked.ask(id_der).statuses == ["good"]
    assert asked.ocsp.trouble == ""


def test_an_answer_is_made_anew_at_half_its_life(asked):
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    first = asked.ask(id_der)
    asked.clock.advance(hours=12, seconds=-1)
    assert asked.ask(id_der).der == first.der
    asked.clock.advance(seconds=1)
    assert asked.ask(id_der).produced_at == asked.clock.now()


@pytest.mark.parametrize("fault", ["bad", "foreign", "none"])
def test_a_signature_that_does_not_verify_never_leaves(asked, monkeypatch, fault, caplog):
    record, serial = asked.issue()
    plain = FileSigner.sign

    def sign(self, messages):
        if fault == "none":
            return []
        if fault == "foreign":
            return plain(self, [message + b"\0" for message in messages])
        return [bytes.fromhex("3006020101020101") for _ in messages]

    monkeypatch.setattr(FileSigner, "sign", sign)
    assert asked.status(record, serial) == "internal_error"
    assert "issuance.signature_invalid" in caplog.text


def test_a_key_that_is_not_the_delegates_signs_nothing(asked, monkeypatch):
    record, serial = asked.issue()
    store = asked.runtime.key_store
    bind = store.bind
    monkeypatch.setattr(store, "bind", lambda _label: bind("cpo-sub2"))
    assert asked.status(record, serial) == "internal_error"


def test_o65_a_clock_that_went_back_signs_nothing_in_any_process(any_asked):
    record, serial = any_asked.issue()
    id_der = certificate_id(record, serial)
    before = any_asked.ask(id_der)
    wait_for_mark(any_asked)
    any_asked.clock.advance(seconds=-61)
    assert any_asked.ask_with_nonce(id_der).der == before.der  # what was signed before is no lie
    fresh = Asked(any_asked.runtime)
    signer = OcspSigner(any_asked.runtime.store, lambda: any_asked.runtime.key_store, any_asked.clock, 60)
    fresh.ocsp._signer = signer
    assert fresh.ask(id_der).status == "try_later"
    assert fresh.ocsp.trouble == "clock.behind"
    any_asked.clock.advance(seconds=1)
    assert fresh.ask(id_der).statuses == ["good"]


def test_o65_the_time_of_the_last_signature_is_kept_for_the_next_process(asked):
    record, serial = asked.issue()
    for _ in range(3):
        asked.clock.advance(seconds=30)
        asked.ask_with_nonce(certificate_id(record, serial))
        wait_for_mark(asked)


def wait_for_mark(front):
    """Wait until the present moment is stored as that of the last signature: behind the next look."""
    deadline = time.monotonic() + 10
    while rows(front.runtime, "SELECT at FROM mark WHERE name = 'ocsp.signed'") != [(seconds(front.clock.now()),)]:
        assert time.monotonic() < deadline
        front.ocsp._feed.is_fresh()
        time.sleep(0.01)


def test_o66_beyond_the_queue_the_answer_is_try_later_at_once(asked, monkeypatch):
    asked = Asked(asked.runtime, most_live=4)
    record, serial = asked.issue()
    id_der = certificate_id(record, serial)
    asked.ask(id_der)
    _, other = asked.issue()
    plain, gate = FileSigner.sign, threading.Event()

    def slow(self, messages):
        gate.wait(10)
        return plain(self, messages)

    monkeypatch.setattr(FileSigner, "sign", slow)
    asked_for = request(certificate_id(record, other), extensions=[nonce(b"x" * 16)])
    with ThreadPoolExecutor(200) as pool:
        answers = [pool.submit(asked.ocsp.answer, asked_for) for _ in range(200)]
        deadline = time.monotonic() + 10
        while sum(one.done() for one in answers) < 196:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert asked.ask(id_der).statuses == ["good"]  # what is remembered needs no signature
        gate.set()
    statuses = [one.result().status for one in answers]
    assert (statuses.count(OcspStatus.SUCCESSFUL), statuses.count(OcspStatus.TRY_LATER)) == (4, 196)
    assert [asked.ocsp.answer(asked_for).status for _ in range(5)] == [OcspStatus.SUCCESSFUL] * 5


def test_many_threads_asking_at_once_all_get_a_true_answer(asked):
    record, good = asked.issue()
    _, revoked = asked.issue()
    asked.revoke(revoked, 1)
    front = Asked(asked.runtime, look_seconds=0.5)
    questions = [
        request(certificate_id(record, serial, name), extensions=[nonce(b"x")] if live else ())
        for serial in (good, revoked)
        for name in ("sha1", "sha256")
        for live in (False, True)
    ]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            answers = list(pool.map(front.ocsp.answer, questions * 10))
            assert [Response(one.der).statuses for one in answers] == ([["good"]] * 4 + [["revoked"]] * 4) * 10
    front.ocsp.close()


def test_a_ca_without_any_delegate_is_not_answered_for(asked):
    record, serial = asked.issue()
    with asked.runtime.store.transaction() as work:
        work.audit._connection.execute(delete(tables.responder).where(tables.responder.c.issuer_id == record.id))
    assert asked.status(record, serial) == "unauthorized"
