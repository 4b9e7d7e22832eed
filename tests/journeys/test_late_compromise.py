"""That a key was compromised is often learnt after its certificate was revoked for another reason, or has expired."""

import base64
import json
from contextlib import closing
from datetime import timedelta

import pytest
from cryptography import x509
from typer.testing import CliRunner

from flows.cli import app
from pki_core.model.certificates import serial_text
from pki_core.model.clock import SystemClock
from pki_core.model.crls import CrlKind
from pki_core.model.errors import CeremonyError, ConflictError
from pki_core.model.revocations import COMPROMISES, Reason
from pki_core.model.states import CertificateState
from pki_core.runtime import open_runtime
from tests.builders import SetClock, new_key
from tests.journeys.acts import artefact, rows
from tests.journeys.crl_acts import (
    LABEL,
    combined,
    content,
    crl_of,
    der_of,
    issue_for,
    listed,
    opened,
    revoke,
    right_now,
    winners,
)
from tests.journeys.est_acts import enrolled, est_client, station_csr
from tests.journeys.ocsp_acts import asked_at
from tests.ocsp_forms import certificate_id

pytest_plugins = ["tests.journeys.environments"]
PATH = "/opnc/v1/pki/pki/revokeCertificate"
COMPROMISED = x509.ReasonFlags.key_compromise


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        yield runtime


def issue(runtime, key, not_after=None):
    """What becomes of a request with a key: a serial in hex, or the code of its refusal."""
    (one,) = issue_for(runtime, [key], not_after=not_after)
    return getattr(one, "code", "") or serial_text(one.serial)


def expired(runtime, key):
    serial = issue(runtime, key, runtime.clock.now() + timedelta(minutes=1))
    runtime.clock.advance(minutes=2)
    return serial


def shown(runtime, serial):
    record = runtime.certificates.show(serial)
    return record.state, record.revoked_at, record.reason


def told(runtime):
    return rows(runtime, "SELECT action, detail FROM audit WHERE stream = 'revocation' ORDER BY id")


def test_a_revocation_without_any_reason_is_corrected_like_an_unspecified_one(runtime):
    serial = issue(runtime, new_key())
    revoke(runtime, serial, Reason.UNSPECIFIED)
    with runtime.store.transaction() as work:
        work._connection.exec_driver_sql("UPDATE certificate_status SET reason = NULL WHERE reason = 0")
    revoke(runtime, serial, Reason.KEY_COMPROMISE)
    assert shown(runtime, serial)[2] == Reason.KEY_COMPROMISE


@pytest.mark.parametrize("reason", sorted(COMPROMISES))
@pytest.mark.parametrize("before", [Reason.UNSPECIFIED, Reason.SUPERSEDED])
def test_a_reason_that_tells_of_the_key_corrects_one_that_does_not(runtime, before, reason):
    key = new_key()
    serial = issue(runtime, key)
    first = revoke(runtime, serial, before).revoked_at
    runtime.clock.advance(hours=1)
    done = revoke(runtime, serial, reason)
    assert (done.state, done.revoked_at, done.reason) == (CertificateState.REVOKED, first, reason)
    assert done.crl_by > runtime.clock.now()
    assert shown(runtime, serial) == (CertificateState.REVOKED, first, reason)
    assert issue(runtime, key) == "key.compromised"
    action, detail = told(runtime)[-1]
    assert action == "certificate.reason_corrected"
    assert f"since {first.isoformat()} instead of {'superseded' if before else 'unspecified'}" in detail


def test_the_next_list_has_the_reason_and_the_time_of_old_and_lists_it_once(runtime):
    serials = [issue(runtime, new_key()) for _ in range(3)]
    first, *_ = [revoke(runtime, one, Reason.SUPERSEDED).revoked_at for one in serials]
    runtime.crls.publish(LABEL)
    runtime.clock.advance(hours=1)
    done = revoke(runtime, serials[0])
    runtime.clock.moment = done.crl_by
    assert f"{LABEL}.crl" in runtime.crls.publish_due().published
    assert sorted(listed(crl_of(runtime))) == sorted(f"{int(one, 16):x}" for one in serials)
    assert content(crl_of(runtime))[int(serials[0], 16)] == (first, COMPROMISED)
    for _ in range(3):
        runtime.clock.advance(hours=1)
        runtime.crls.publish(LABEL)  # and what no list needs any more is removed
    assert content(crl_of(runtime))[int(serials[0], 16)] == (first, COMPROMISED)
    assert rows(runtime, "SELECT count(*) FROM revocation") == [(3,)]


def test_a_delta_tells_the_correction(any_home):
    with opened(any_home, crl="delta_minutes = 15") as runtime:
        serial = issue(runtime, new_key())
        revoke(runtime, serial, Reason.SUPERSEDED)
        runtime.crls.publish(LABEL)
        base = crl_of(runtime)
        runtime.clock.advance(minutes=20)
        revoke(runtime, serial)
        runtime.crls.publish_due()
        delta = x509.load_der_x509_crl(der_of(runtime, f"{LABEL}-{CrlKind.DELTA}"))
        assert combined(base, delta)[int(serial, 16)][1] is COMPROMISED


def test_ocsp_tells_it_at_once_also_within_the_second_of_the_first_revocation(any_home):
    with asked_at(any_home) as asked:
        record, serial = asked.issue()
        asked.revoke(serial, Reason.SUPERSEDED)
        asked.runtime.ocsp_refresh.run()
        (before,) = asked.ask(certificate_id(record, serial)).singles
        asked.revoke(serial, Reason.KEY_COMPROMISE)
        (after,) = asked.ask(certificate_id(record, serial)).singles
        assert (before.reason, after.reason) == ("superseded", "key_compromise")
        assert before.revoked_at == after.revoked_at


@pytest.mark.parametrize(
    "later", [*sorted(COMPROMISES), Reason.SUPERSEDED, Reason.UNSPECIFIED, Reason.CERTIFICATE_HOLD]
)
def test_a_compromise_is_corrected_by_nothing(runtime, later):
    serial = issue(runtime, new_key())
    revoke(runtime, serial)
    with pytest.raises(ConflictError, match="revoked already since"):
        revoke(runtime, serial, later)
    assert shown(runtime, serial)[2] == Reason.KEY_COMPROMISE
    assert len(told(runtime)) == 1


@pytest.mark.parametrize("later", [Reason.PRIVILEGE_WITHDRAWN, Reason.CERTIFICATE_HOLD])
def test_other_reasons_correct_nothing(runtime, later):
    serial = issue(runtime, new_key())
    revoke(runtime, serial, Reason.SUPERSEDED)
    with pytest.raises(ConflictError, match="revoked already since"):
        revoke(runtime, serial, later)
    assert shown(runtime, serial)[2] == Reason.SUPERSEDED


def test_of_two_corrections_at_once_one_wins(runtime):
    serial = issue(runtime, new_key())
    revoke(runtime, serial, Reason.SUPERSEDED)
    assert winners(runtime, serial) == 1
    assert rows(runtime, "SELECT count(*) FROM revocation WHERE released_at IS NULL") == [(1,)]


@pytest.mark.parametrize("before", [None, Reason.SUPERSEDED, Reason.CERTIFICATE_HOLD])
def test_the_key_of_an_expired_certificate_is_remembered_and_no_list_names_it(runtime, before):
    key = new_key()
    serial = issue(runtime, key, runtime.clock.now() + timedelta(minutes=1))
    if before is not None:
        revoke(runtime, serial, before)
    runtime.clock.advance(minutes=2)
    known, lines = shown(runtime, serial), rows(runtime, "SELECT * FROM revocation")
    done = revoke(runtime, serial)
    assert (done.crl_by, done.has_ocsp, done.state) == (None, False, known[0])
    assert issue(runtime, key) == "key.compromised"
    assert (shown(runtime, serial), rows(runtime, "SELECT * FROM revocation")) == (known, lines)
    assert told(runtime)[-1][0] == "certificate.key_reported"
    with pytest.raises(ConflictError, match="known as compromised already"):
        revoke(runtime, serial)


def test_for_other_reasons_an_expired_certificate_is_over(runtime):
    key = new_key()
    serial = expired(runtime, key)
    for reason in (Reason.SUPERSEDED, Reason.CERTIFICATE_HOLD):
        with pytest.raises(ConflictError, match="expired on"):
            revoke(runtime, serial, reason)
    assert issue(runtime, key) != "key.compromised"


def test_correcting_a_ca_outside_dev_needs_two_people_as_revoking_it_does(home):
    with opened(home) as runtime:
        object.__setattr__(runtime.revocations._policy, "environment", "prod")
        sub1 = f"{x509.load_der_x509_certificate(artefact(runtime, 'mo-sub1')).serial_number:x}"
        revoke(runtime, sub1, Reason.SUPERSEDED, witnesses=("Ada", "Grace"))
        with pytest.raises(CeremonyError):
            revoke(runtime, sub1, Reason.CA_COMPROMISE)
        assert revoke(runtime, sub1, Reason.CA_COMPROMISE, witnesses=("Ada", "Grace")).reason is Reason.CA_COMPROMISE
        assert told(runtime)[-1][1].endswith("instead of superseded witnesses Ada, Grace")


def asks_to_revoke(client, certificate_der, reason):
    body = {"certificate": base64.b64encode(certificate_der).decode(), "revocationReason": reason}
    return client.post(PATH, json.dumps(body), content_type="application/json")


def test_a_partner_corrects_his_own(any_home):
    with est_client(any_home) as client:
        key = new_key()
        certificate_der = enrolled(client, key)
        answers = [
            asks_to_revoke(client, certificate_der, why) for why in ("superseded", "keyCompromise", "superseded")
        ]
        assert [one.status_code for one in answers] == [200, 200, 409]
        assert "X-Pncpki-CRL-By" in answers[1].headers
        assert client.enroll(station_csr(key=key)).status_code == 400


def test_a_partner_reports_the_key_of_a_certificate_that_has_expired(home):
    clock = SetClock(right_now())
    with est_client(home, clock=clock) as client:
        key = new_key()
        certificate_der = enrolled(client, key)
        clock.moment = x509.load_der_x509_certificate(certificate_der).not_valid_after_utc
        answer = asks_to_revoke(client, certificate_der, "keyCompromise")
        assert (answer.status_code, answer.headers.get("X-Pncpki-CRL-By")) == (200, None)
        assert asks_to_revoke(client, certificate_der, "keyCompromise").status_code == 409


def test_the_command_says_what_it_did(home, monkeypatch):
    with closing(open_runtime(home, SetClock(right_now()))) as runtime:
        serial = issue(runtime, new_key())
        over, other = (expired(runtime, new_key()) for _ in range(2))
        now = runtime.clock.now()
    monkeypatch.setattr(SystemClock, "now", lambda _self: now)

    def command(*words, form=("--json",)):
        result = CliRunner().invoke(app, ["revoke", *words, "--home", str(home), *form])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if form else result.stdout

    command(serial, "--reason", "superseded")
    done = command(serial, "--reason", "keyCompromise")
    assert (done["status"], done["reason"], done["ocsp"]) == ("revoked", "keyCompromise", "now")
    done = command(over, "--reason", "keyCompromise")
    assert (done["status"], done["reason"], done["ocsp"], done["crl_by"]) == ("expired", "keyCompromise", None, None)
    assert "no CRL lists it" in command(other, "--reason", "keyCompromise", form=())
