"""OCSP: what is said of which certificate (O01 to O16)."""

import time
from datetime import timedelta

import pytest

from pki_core.model.certificates import serial_text
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from tests.journeys.ocsp_acts import Asked
from tests.ocsp_forms import HASHES, certificate_id, hash_algorithm

pytest_plugins = ["tests.journeys.environments", "tests.journeys.ocsp_environments"]

UNISSUED = 0x01_11_22_33_44_55_66_77_88_99_AA_BB_CC_DD_EE_FF_00_11


@pytest.mark.parametrize("name", HASHES)
def test_o01_and_o02_a_good_certificate_is_good_by_every_hash_and_its_id_comes_back_as_it_went(any_asked, name):
    record, serial = any_asked.issue()
    id_der = certificate_id(record, serial, name)
    (one,) = any_asked.ask(id_der).singles
    assert (one.id_der, one.status) == (id_der, "good")


def test_o01_an_id_written_without_parameters_comes_back_without_them(asked):
    record, serial = asked.issue()
    asked.runtime.ocsp_refresh.run()
    for parameters in (b"\x05\x00", b""):
        id_der = certificate_id(record, serial, algorithm=hash_algorithm("sha1", parameters))
        assert asked.ask(id_der).singles[0].id_der == id_der


@pytest.mark.parametrize("reason", [one for one in Reason if one not in {Reason.UNSPECIFIED, Reason.REMOVE_FROM_CRL}])
def test_o03_a_revoked_certificate_is_told_with_time_and_reason(asked, reason):
    record, serial = asked.issue()
    asked.revoke(serial, int(reason))
    revoked_at = asked.clock.now()
    asked.clock.advance(minutes=5)
    (one,) = asked.ask(certificate_id(record, serial)).singles
    assert (one.status, one.revoked_at) == ("revoked", revoked_at)
    assert one.reason.replace("_", "") == reason.name.lower().replace("_", "")
    assert one.revoked_at <= one.this_update


@pytest.mark.parametrize("stored", [None, 0])
def test_o04_a_reason_that_says_nothing_is_left_out(asked, stored):
    record, serial = asked.issue()
    asked.set_status(record, serial, CertificateState.REVOKED, stored)
    (one,) = asked.ask(certificate_id(record, serial)).singles
    assert (one.status, one.has_reason) == ("revoked", False)


def test_o03_a_revocation_by_a_clock_ahead_of_ours_is_not_told_from_the_future(asked):
    record, serial = asked.issue()
    asked.clock.advance(seconds=30)
    asked.revoke(serial, 1)
    asked.clock.advance(seconds=-30)
    (one,) = asked.ask(certificate_id(record, serial)).singles
    assert one.revoked_at == one.this_update == asked.clock.now()


def test_o05_a_hold_is_told_and_its_release_too(any_asked):
    record, serial = any_asked.issue()
    any_asked.revoke(serial, 6)
    (one,) = any_asked.ask(certificate_id(record, serial)).singles
    assert (one.status, one.reason) == ("revoked", "certificate_hold")
    any_asked.runtime.revocations.release(serial_text(serial), actor="test")  # in the same second
    assert any_asked.status(record, serial) == "good"


def test_o06_a_serial_nobody_drew_is_unknown(any_asked):
    assert any_asked.status(any_asked.ca("mo-sub2"), UNISSUED) == "unknown"


def test_o07_a_serial_belongs_to_the_ca_that_drew_it(asked):
    _, serial = asked.issue()
    assert asked.status(asked.ca("cpo-sub2"), serial) == "unknown"


@pytest.mark.parametrize("name", HASHES)
@pytest.mark.parametrize("field", ["name_hash", "key_hash"])
def test_o08_name_and_key_must_both_be_the_issuers(shared, field, name):
    octets = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}[name]
    response = shared.ask(certificate_id(shared.record, shared.good, name, **{field: bytes(octets)}))
    assert response.status == "unauthorized"


def test_o08_the_name_of_one_ca_with_the_key_of_another_is_neither(shared):
    other = shared.ca("cpo-sub2")
    mixed = type("Mixed", (), {"subject_der": shared.record.subject_der, "spki_der": other.spki_der})
    assert shared.ask(certificate_id(mixed, shared.good)).status == "unauthorized"


def test_o09_an_unknown_issuer_is_none_of_ours(shared):
    assert shared.ask(certificate_id(shared.record, 1, name_hash=bytes(20), key_hash=bytes(20))).status == (
        "unauthorized"
    )


def test_o10_an_expired_certificate_keeps_its_last_status_up_to_the_cutoff(asked):
    record, good = asked.issue(hours=1)
    _, revoked = asked.issue(hours=1)
    asked.revoke(revoked, 1)
    assert asked.ask(certificate_id(record, good)).singles[0].archive_cutoff is None
    asked.clock.advance(hours=14)
    response = asked.ask(certificate_id(record, good), certificate_id(record, revoked))
    assert response.statuses == ["good", "revoked"]
    retention = timedelta(seconds=asked.policy.archive_seconds)
    assert {one.archive_cutoff for one in response.singles} == {response.produced_at - retention}


def test_o11_a_certificate_that_expired_before_the_cutoff_is_not_answered_for(asked):
    asked = Asked(asked.runtime, archive_seconds=3600)
    record, serial = asked.issue(hours=1)
    asked.clock.advance(hours=2)
    assert asked.status(record, serial) == "good"
    asked.clock.advance(seconds=1)
    assert Asked(asked.runtime, archive_seconds=3600).status(record, serial) == "unauthorized"


def test_o12_a_serial_that_is_only_drawn_is_unknown_and_so_is_a_burned_one(any_asked):
    record = any_asked.ca("mo-sub2")
    any_asked.reserve(record, UNISSUED)
    assert any_asked.status(record, UNISSUED) == "unknown"
    any_asked.set_status(record, UNISSUED, CertificateState.VOID)
    assert any_asked.status(record, UNISSUED) == "unknown"


def test_o13_a_certificate_is_good_from_the_moment_it_is_delivered(any_asked):
    record = any_asked.ca("mo-sub2")
    any_asked.reserve(record, UNISSUED)
    id_der = certificate_id(record, UNISSUED)
    assert any_asked.ask(id_der).statuses == ["unknown"]
    any_asked.set_status(record, UNISSUED, CertificateState.GOOD, drop=False)
    assert any_asked.ask(id_der).statuses == ["good"]


@pytest.mark.slow
def test_o14_a_revocation_is_seen_by_another_process_within_a_second(any_asked):
    other = Asked(any_asked.runtime, look_seconds=0.5)
    record, serial = any_asked.issue()
    id_der = certificate_id(record, serial)
    assert other.ask(id_der).statuses == other.ask(id_der).statuses == ["good"]
    any_asked.revoke(serial, 1)
    revoked_at = time.monotonic()
    while other.ask(id_der).statuses == ["good"]:
        assert time.monotonic() - revoked_at < 1
        time.sleep(0.01)
    assert other.ask_with_nonce(id_der).statuses == ["revoked"]
    other.ocsp.close()


def test_o14_a_revocation_ends_what_was_signed_ahead_and_what_was_remembered(any_asked):
    record, serial = any_asked.issue()
    any_asked.runtime.ocsp_refresh.run()
    ids = [certificate_id(record, serial, name) for name in HASHES]
    assert [any_asked.ask(one).statuses for one in ids] == [["good"]] * 4
    assert any_asked.ask(*ids[:2]).statuses == ["good", "good"]
    any_asked.clock.advance(seconds=1)
    any_asked.revoke(serial, 4)
    assert [any_asked.ask(one).statuses for one in ids] == [["revoked"]] * 4
    assert any_asked.ask(*ids[:2]).statuses == ["revoked", "revoked"]


@pytest.mark.parametrize(
    ("label", "parent"), [("mo-sub2", "mo-sub1"), ("mo-sub1", "v2g-root"), ("v2g-root", "v2g-root")]
)
def test_o15_a_ca_certificate_is_answered_for_by_the_responder_of_its_issuer(asked, label, parent):
    response = asked.ask(certificate_id(asked.ca(parent), asked.serial_of_ca(label), "sha256"))
    (responder,) = asked.responders(parent)
    assert response.statuses == ["good"]
    assert response.certificates == [responder.certificate_der]
    assert response.is_signed_by(responder.certificate_der)
    assert response.singles[0].next_update - response.singles[0].this_update == timedelta(days=7)


@pytest.mark.parametrize("label", ["mo-sub2", "mo-sub1"])
def test_o16_nobody_answers_for_a_ca_that_is_revoked_or_below_one(any_asked, label):
    record, serial = any_asked.issue()
    other, other_serial = any_asked.issue("evse_leaf")
    any_asked.runtime.ocsp_refresh.run()
    assert any_asked.status(record, serial) == "good"
    parent = any_asked.ca("mo-sub1" if label == "mo-sub2" else "v2g-root")
    any_asked.revoke(any_asked.serial_of_ca(label), 2)
    assert any_asked.status(parent, any_asked.serial_of_ca(label)) == "revoked"
    assert any_asked.status(record, serial) == "unauthorized"
    assert any_asked.status(other, other_serial) == "good"
