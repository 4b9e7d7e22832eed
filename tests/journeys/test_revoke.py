"""Revoking, holding, releasing: in at the service, out at status, CRL and audit; on both databases."""

import json
from datetime import timedelta

import pytest
from cryptography import x509
from sqlalchemy import insert
from typer.testing import CliRunner

from flows.cli import app
from pki_core.model.certificates import serial_text
from pki_core.model.errors import CeremonyError, ConflictError, MalformedError, NotFoundError
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from pki_core.store import tables
from tests.builders import make_csr, new_key
from tests.journeys.acts import artefact, rows
from tests.journeys.crl_acts import LABEL, content, crl_of, leaf, listed, opened, revoke, winners

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        yield runtime


def status(runtime, serial):
    record = runtime.certificates.show(serial)
    return record.state, record.revoked_at, record.reason


def partner(runtime, name="demo-mo"):
    return next(one for one in runtime.partners.all() if one.id == name)


def test_a_revoked_certificate_is_revoked_at_once_and_in_the_next_crl(runtime):
    serial, _ = leaf(runtime)
    done = revoke(runtime, serial)
    now = runtime.clock.now()
    assert status(runtime, serial) == (CertificateState.REVOKED, now, Reason.KEY_COMPROMISE)
    assert (done.state, done.revoked_at, done.issuer_label) == (CertificateState.REVOKED, now, LABEL)
    runtime.clock.moment = done.crl_by  # the promise of the answer: the publisher has run by then
    runtime.crls.publish_due()
    assert content(crl_of(runtime)) == {int(serial, 16): (now, x509.ReasonFlags.key_compromise)}


def test_the_answer_says_when_the_crl_lists_it(runtime):
    serial, _ = leaf(runtime)
    done = revoke(runtime, serial)
    assert runtime.clock.now() < done.crl_by <= runtime.clock.now() + timedelta(minutes=10)
    assert not done.crl_needs_person


def test_a_roots_crl_waits_for_a_person_where_roots_do_not_sign_by_themselves(any_home):
    with opened(any_home, crl="automatic_roots = false") as runtime:
        sub1 = x509.load_der_x509_certificate(artefact(runtime, "mo-sub1")).serial_number
        done = revoke(runtime, f"{sub1:x}", Reason.CA_COMPROMISE)
        assert done.crl_needs_person
        runtime.clock.advance(days=20)
        assert "v2g-root.crl" not in runtime.crls.publish_due().published
        assert listed(crl_of(runtime, "v2g-root")) == []
        runtime.crls.publish("v2g-root")
        assert listed(crl_of(runtime, "v2g-root")) == [f"{sub1:x}"]


def test_revoking_twice_is_refused_and_says_since_when(runtime):
    serial, _ = leaf(runtime)
    first = revoke(runtime, serial)
    runtime.clock.advance(hours=1)
    with pytest.raises(ConflictError, match=f"revoked already since {first.revoked_at:%Y-%m-%d %H:%M:%S}"):
        revoke(runtime, serial, Reason.SUPERSEDED)
    assert status(runtime, serial)[2] == Reason.KEY_COMPROMISE
    assert rows(runtime, "SELECT count(*) FROM revocation") == [(1,)]


def test_of_two_revocations_at_once_one_wins(runtime):
    serial, _ = leaf(runtime)
    assert winners(runtime, serial) == 1
    assert rows(runtime, "SELECT count(*) FROM revocation") == [(1,)]


def test_a_hold_ends_and_the_certificate_is_good_and_gone_from_the_crl(runtime):
    serial, _ = leaf(runtime)
    assert revoke(runtime, serial, Reason.CERTIFICATE_HOLD).state is CertificateState.HOLD
    runtime.crls.publish(LABEL)
    assert [one[1] for one in content(crl_of(runtime)).values()] == [x509.ReasonFlags.certificate_hold]
    runtime.clock.advance(minutes=10)
    assert runtime.revocations.release(serial, actor="test").state is CertificateState.GOOD
    assert status(runtime, serial) == (CertificateState.GOOD, None, None)
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == []
    with pytest.raises(ConflictError, match="good, not on hold"):
        runtime.revocations.release(serial, actor="test")


def test_a_held_certificate_can_be_revoked_for_good_and_never_released(runtime):
    serial, _ = leaf(runtime)
    revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    runtime.crls.publish(LABEL)
    with pytest.raises(ConflictError, match="held already"):
        revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    revoke(runtime, serial)
    with pytest.raises(ConflictError, match="revoked, not on hold"):
        runtime.revocations.release(serial, actor="test")
    runtime.crls.publish(LABEL)
    assert [one[1] for one in content(crl_of(runtime)).values()] == [x509.ReasonFlags.key_compromise]


def test_a_certificate_held_twice_is_listed_once(runtime):
    serial, _ = leaf(runtime)
    for _ in range(2):
        revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
        runtime.revocations.release(serial, actor="test")
    revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    runtime.crls.publish(LABEL)
    assert listed(crl_of(runtime)) == [serial]


def test_the_time_may_lie_back_but_not_before_the_certificate_and_not_ahead(runtime):
    serial, der = leaf(runtime)
    start = x509.load_der_x509_certificate(der).not_valid_before_utc
    for moment in (runtime.clock.now() + timedelta(seconds=1), start - timedelta(seconds=1)):
        with pytest.raises(MalformedError):
            revoke(runtime, serial, revoked_at=moment)
    assert revoke(runtime, serial, revoked_at=start).revoked_at == start
    runtime.crls.publish(LABEL)
    assert content(crl_of(runtime))[int(serial, 16)][0] == start


def test_what_is_not_there_expired_or_a_root_is_not_revoked(runtime):
    with pytest.raises(NotFoundError):
        revoke(runtime, "01" * 18)
    with pytest.raises(MalformedError):
        revoke(runtime, "no serial")
    root = x509.load_der_x509_certificate(artefact(runtime, "v2g-root")).serial_number
    with pytest.raises(ConflictError, match="root"):
        revoke(runtime, f"{root:x}")
    serial, _ = leaf(runtime, not_after=runtime.clock.now() + timedelta(minutes=1))
    runtime.clock.advance(minutes=2)
    with pytest.raises(ConflictError, match="expired"):
        revoke(runtime, serial, Reason.SUPERSEDED)
    with pytest.raises(MalformedError):
        revoke(runtime, serial, Reason.REMOVE_FROM_CRL)
    assert rows(runtime, "SELECT count(*) FROM revocation") == [(0,)]


def test_a_reserved_serial_is_not_a_certificate(runtime):
    with runtime.store.transaction() as work:
        issuer = work.issuers.get(LABEL)
        now = runtime.clock.now()
        number = work.reservations.open(issuer.id, 1, "nobody", (now, now + timedelta(minutes=1)))
        work.reservations.reserve(number, issuer.id, [("01ff", b"tbs", now)])
    with pytest.raises(NotFoundError):
        revoke(runtime, "01ff")


def test_a_partner_revokes_its_own_and_sees_nothing_of_others(runtime):
    mine, theirs = partner(runtime), partner(runtime, "demo-cpo")
    serial, der = leaf(runtime, partner=mine)
    _, ours = leaf(runtime)
    for foreign in (ours, artefact(runtime, LABEL)):
        with pytest.raises(NotFoundError):
            runtime.revocations.revoke_certificate(mine, foreign, Reason.KEY_COMPROMISE)
    with pytest.raises(NotFoundError):
        runtime.revocations.revoke_certificate(theirs, der, Reason.KEY_COMPROMISE)
    assert runtime.revocations.revoke_certificate(mine, der, Reason.SUPERSEDED).state is CertificateState.REVOKED
    assert status(runtime, serial)[2] == Reason.SUPERSEDED
    with pytest.raises(ConflictError):
        runtime.revocations.revoke_certificate(mine, der, Reason.SUPERSEDED)


def test_a_certificate_with_a_known_serial_but_other_bytes_is_not_the_partners(runtime):
    mine = partner(runtime)
    serial, der = leaf(runtime, partner=mine)
    changed = der[:-1] + bytes((der[-1] ^ 1,))
    with pytest.raises(NotFoundError):
        runtime.revocations.revoke_certificate(mine, changed, Reason.KEY_COMPROMISE)
    assert status(runtime, serial)[0] is CertificateState.GOOD


@pytest.mark.parametrize("reason", [Reason.CA_COMPROMISE, Reason.CERTIFICATE_HOLD, Reason.REMOVE_FROM_CRL])
def test_a_partner_cannot_give_the_operators_reasons(untouched, reason):
    with pytest.raises(MalformedError):
        untouched.revocations.revoke_certificate(partner(untouched), b"", reason)


def test_what_is_no_certificate_is_said_so(untouched):
    for octets in (b"", b"0", bytes(20_000), bytes.fromhex("3003020101")):
        with pytest.raises(MalformedError):
            untouched.revocations.revoke_certificate(partner(untouched), octets, Reason.UNSPECIFIED)


def test_every_decision_is_audited_and_answers_signed_ahead_are_dropped(runtime):
    serial, _ = leaf(runtime)
    with runtime.store.transaction() as work:
        issuer = work.issuers.get(LABEL)
        row = {"issuer_id": issuer.id, "serial": runtime.certificates.show(serial).serial, "hash_algorithm": "sha1"}
        row |= {"this_update": 1, "next_update": 2, "response_der": b"x"}
        work.ocsp._connection.execute(insert(tables.ocsp_response).values(**row))
    revoke(runtime, serial, Reason.CERTIFICATE_HOLD)
    assert rows(runtime, "SELECT count(*) FROM ocsp_response") == [(0,)]
    runtime.revocations.release(serial, actor="somebody")
    found = rows(runtime, "SELECT actor, action FROM audit WHERE stream = 'revocation' ORDER BY id")
    assert found == [("test", "certificate.held"), ("somebody", "certificate.released")]


def test_revoking_a_ca_outside_dev_needs_two_people(home):
    with opened(home) as runtime:
        object.__setattr__(runtime.revocations._policy, "environment", "prod")
        sub1 = f"{x509.load_der_x509_certificate(artefact(runtime, 'mo-sub1')).serial_number:x}"
        for witnesses in ((), ("Ada",), ("Ada", " ada ")):
            with pytest.raises(CeremonyError):
                revoke(runtime, sub1, witnesses=witnesses)
        serial, _ = leaf(runtime)
        assert revoke(runtime, serial).state is CertificateState.REVOKED  # a leaf needs one person
        assert revoke(runtime, sub1, witnesses=("Ada", "Grace")).state is CertificateState.REVOKED
        details = rows(
            runtime, "SELECT detail FROM audit WHERE action = 'certificate.revoked' ORDER BY id DESC LIMIT 1"
        )
        assert "Ada, Grace" in details[0][0]


def test_the_commands_revoke_hold_release_list_and_publish(home):
    with opened(home) as runtime:
        serial, _ = leaf(runtime)

    def command(*words, code=0):
        result = CliRunner().invoke(app, [*words, "--home", str(home), "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    assert command("revoke", serial, "--reason", "certificateHold")["status"] == "hold"
    assert command("release", serial)["status"] == "good"
    assert command("revoke", serial, "--reason", "nonsense", code=1)["error"] == "request.malformed"
    done = command("revoke", serial, "--reason", "keyCompromise")
    assert (done["status"], done["reason"], done["ocsp"]) == ("revoked", "keyCompromise", "now")
    assert command("revoke", serial, code=1)["error"] == "request.conflict"
    assert command("crl", "publish", "--issuer", LABEL)["published"][0]["entries"] == 1
    assert {"issuer": LABEL, "entries": 1}.items() <= next(
        one for one in command("crl", "list")["crls"] if one["issuer"] == LABEL
    ).items()
    assert command("crl", "publish", "--issuer", "nobody", code=1)["error"] == "request.not_found"


def test_of_a_client_certificate_the_command_does_not_promise_what_ocsp_would_say(home):
    with opened(home) as runtime:
        issued = runtime.credentials.issue_certificate(
            "demo-cpo", make_csr("client", new_key()), runtime.profiles["tls_client"]
        )
    words = ["revoke", serial_text(issued.serial), "--reason", "superseded", "--home", str(home)]
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["ocsp"] is None
