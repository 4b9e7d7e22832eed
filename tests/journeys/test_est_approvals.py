"""Requests that wait for somebody: 202, a decision, one certificate (RFC 7030 4.2.3)."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from threading import Barrier

import pytest
from cryptography import x509
from sqlalchemy import text
from typer.testing import CliRunner

from pki_core.model.clock import SystemClock
from pki_core.model.errors import ConflictError, ConstraintError, MalformedError, NotFoundError, TooManyRequestsError
from pki_core.model.est import EstRequestState
from pki_core.runtime import open_runtime
from pki_core.services.est_approvals import Approvals, Asking, Verdict
from pki_core.store.est_requests import Sought
from pki_core.wire.csr import parse_csr
from tests.builders import SetClock, name, new_key, raw_csr, tlv
from tests.journeys.acts import rows
from tests.journeys.est_acts import STATION, certificates_in, est_client, station_csr

pytest_plugins = ["tests.journeys.est_environments"]


@pytest.fixture
def client(home):
    with est_client(home) as client:
        yield client


def pending(client):
    return client.runtime.approvals.pending()


def decide(client, state=EstRequestState.APPROVED, by="Ada"):
    (one,) = pending(client)
    client.runtime.approvals.decide(one.id, state, by)


def test_a_request_waits_until_it_is_approved_and_then_gets_one_certificate(any_client):
    csr_der = station_csr(key=new_key())
    assert [any_client.enroll(csr_der, "manual").status_code for _ in range(3)] == [202] * 3
    (one,) = pending(any_client)
    assert (one.partner_id, one.label, one.common_name) == ("demo-cpo", "manual", STATION)
    decide(any_client)
    assert pending(any_client) == []
    first, again = (certificates_in(any_client.enroll(csr_der, "manual")) for _ in range(2))
    assert first == again  # an answer that got lost is given again
    assert rows(any_client.runtime, "SELECT count(*) FROM certificate WHERE partner_id = 'demo-cpo'") == [(1,)]
    audited = rows(any_client.runtime, "SELECT actor, action FROM audit WHERE action LIKE 'est.%' ORDER BY id")
    assert audited == [("demo-cpo", "est.asked"), ("Ada", "est.approved")]


def look_at_once(approvals, csr_ders):
    """Ask for each certificate in a thread of its own, all at the same moment; what each was told."""
    ready = Barrier(len(csr_ders))
    asking = Asking(partner_id="demo-cpo", label="cpo")

    def look(csr_der):
        request = parse_csr("est", csr_der)
        ready.wait(10)
        try:
            return approvals.look(asking, request, csr_der)
        except TooManyRequestsError:
            return None

    with ThreadPoolExecutor(len(csr_ders)) as pool:
        return list(pool.map(look, csr_ders))


def test_a_request_that_comes_several_times_at_once_waits_once_and_gets_what_is_decided(any_home):
    with closing(open_runtime(any_home)) as runtime:
        approvals = runtime.approvals
        for _ in range(8):
            csr_der = station_csr(key=new_key())
            assert look_at_once(approvals, [csr_der] * 6) == [Verdict()] * 6
            (one,) = approvals.pending()
            approvals.decide(one.id, EstRequestState.APPROVED, "Ada")
            assert look_at_once(approvals, [csr_der]) == [Verdict(approved_id=one.id)]


def test_requests_that_come_at_once_do_not_pass_the_limit_of_those_that_wait(any_home):
    with closing(open_runtime(any_home)) as runtime:
        approvals = Approvals(runtime.store, runtime.clock, "dev", 3)
        told = look_at_once(approvals, [station_csr(key=new_key()) for _ in range(8)])
        assert (told.count(Verdict()), told.count(None)) == (3, 5)
        assert len(approvals.pending()) == 3


def test_the_database_itself_lets_a_request_wait_only_once(any_home):
    sought = Sought("demo-cpo", "cpo", "0" * 64, "1" * 64)

    def keep(number):
        with runtime.store.transaction() as work:
            work.est_requests.add(number, sought, b"csr", STATION, runtime.clock.now())

    with closing(open_runtime(any_home)) as runtime:
        keep("first")
        with pytest.raises(ConstraintError):
            keep("second")
        runtime.approvals.decide("first", EstRequestState.APPROVED, "Ada")
        with pytest.raises(ConstraintError):  # its certificate is still to be fetched
            keep("second")


def test_an_open_request_is_found_before_one_that_ended_in_the_same_second(any_home):
    sought, now = Sought("demo-cpo", "cpo", "0" * 64, "1" * 64), SystemClock().now()
    with closing(open_runtime(any_home)) as runtime, runtime.store.transaction() as work:
        work.est_requests.add("ended", sought, b"csr", STATION, now)
        work.est_requests.decide("ended", EstRequestState.APPROVED, "Ada", now)
        work.est_requests.close("ended", 1)
        work.est_requests.add("anew", sought, b"csr", STATION, now)
        assert work.est_requests.find(sought).id == "anew"


def test_a_certificate_that_has_ended_is_not_given_again_and_the_request_waits_anew(home):
    clock = SetClock(SystemClock().now())
    with est_client(home, clock=clock) as client:
        csr_der = station_csr(key=new_key())
        client.enroll(csr_der, "manual")
        decide(client)
        (first_der,) = certificates_in(client.enroll(csr_der, "manual"))
        ends = x509.load_der_x509_certificate(first_der).not_valid_after_utc
        clock.moment = ends - timedelta(seconds=1)
        assert certificates_in(client.enroll(csr_der, "manual")) == [first_der]
        clock.moment = ends
        assert client.enroll(csr_der, "manual").status_code == 202
        assert len(pending(client)) == 1


def test_a_renewal_with_the_same_key_is_a_request_of_its_own(client):
    subject = name(("C", "DE"), ("O", "Test Operator"), ("DC", "CPO"), ("CN", STATION))  # as the certificate will say
    csr_der = station_csr(key=new_key(), subject=subject)
    client.enroll(csr_der, "manual")
    decide(client)
    (old_der,) = certificates_in(client.enroll(csr_der, "manual"))
    holder = client.with_certificate(old_der)
    assert holder.enroll(csr_der, "manual", "simplereenroll").status_code == 202
    decide(client)
    (new_der,), again = (certificates_in(holder.enroll(csr_der, "manual", "simplereenroll")) for _ in range(2))
    assert new_der != old_der
    assert again == [new_der]


def test_a_request_signed_anew_for_another_connection_is_the_same_request(client):
    key, subject = new_key(), name(("C", "DE"), ("CN", STATION)).public_bytes()
    for number in range(2):
        client.tls_unique = bytes([number] * 12)
        password = base64.b64encode(client.tls_unique)
        attribute = tlv(0x30, bytes.fromhex("06092a864886f70d010907") + tlv(0x31, tlv(0x13, password)))
        answer = client.enroll(raw_csr(key, subject=subject, attributes=tlv(0xA0, attribute)), "manual")
        assert answer.status_code == 202
    assert len(pending(client)) == 1


def test_another_key_subject_or_label_is_another_request(home):
    key, other = new_key(), new_key()
    with est_client(home, more='\n[est.labels.also]\nbranch = "cpo"\napproval = "manual"\n') as client:
        for number, (csr_der, label) in enumerate(
            (
                (station_csr(key=key), "manual"),
                (station_csr(key=other), "manual"),
                (station_csr("DEPNCE2", key=key), "manual"),
                (station_csr(key=key), "also"),
            ),
            start=1,
        ):
            assert client.enroll(csr_der, label).status_code == 202
            assert len(pending(client)) == number


def test_a_refused_request_stays_refused(client):
    csr_der = station_csr(key=new_key())
    client.enroll(csr_der, "manual")
    decide(client, EstRequestState.REFUSED)
    answer = client.enroll(csr_der, "manual")
    assert (answer.status_code, answer.data.partition(b":")[0]) == (403, b"approval.refused")


def test_what_approval_cannot_mend_is_refused_at_once(client):
    assert client.enroll(station_csr("DEICEE1"), "manual").status_code == 403
    assert client.enroll(station_csr()[:-1] + b"\x01", "manual").status_code == 400
    assert pending(client) == []


def test_an_approval_gives_one_certificate_however_many_ask_at_once(client):
    csr_der = station_csr(key=new_key())
    client.enroll(csr_der, "manual")
    decide(client)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.enroll(csr_der, "manual"), range(8)))
    assert {one.status_code for one in answers} <= {200, 409}
    given = {certificates_in(one)[0] for one in answers if one.status_code == 200}
    assert len(given) == 1
    assert rows(client.runtime, "SELECT count(*) FROM certificate WHERE partner_id = 'demo-cpo'") == [(1,)]


def test_an_approved_certificate_that_was_revoked_is_not_given_again(client):
    csr_der = station_csr(key=new_key())
    client.enroll(csr_der, "manual")
    decide(client)
    (certificate_der,) = certificates_in(client.enroll(csr_der, "manual"))
    serial = f"{x509.load_der_x509_certificate(certificate_der).serial_number:036x}"
    statement = text("UPDATE certificate_status SET status = 2 WHERE serial = :serial")
    with client.runtime.store.transaction() as work:
        work.audit._connection.execute(statement, {"serial": serial})
    assert client.enroll(csr_der, "manual").status_code == 202
    assert len(pending(client)) == 1


def test_too_many_waiting_requests_are_429(home):
    with est_client(home, more="\n[est]\nmax_pending = 2\n") as client:
        answers = [client.enroll(station_csr(f"DEPNCE{number}"), "manual") for number in range(3)]
    assert [one.status_code for one in answers] == [202, 202, 429]
    assert int(answers[2].headers["Retry-After"]) > 0


def test_a_partner_who_asks_too_fast_is_429_until_the_next_minute(home):
    clock = SetClock(SystemClock().now().replace(second=0))
    with est_client(home, clock=clock, more="\n[est]\nmax_per_minute = 2\n") as client:
        statuses = [client.enroll(station_csr()).status_code for _ in range(3)]
        clock.advance(seconds=60)
        statuses.append(client.enroll(station_csr()).status_code)
    assert statuses == [200, 200, 429, 200]


def test_deciding_needs_a_name_outside_dev_and_never_the_partner_himself(client):
    csr_der = station_csr()
    client.enroll(csr_der, "manual")
    (one,) = pending(client)
    strict = Approvals(client.runtime.store, client.runtime.clock, "prod", 10)
    with pytest.raises(MalformedError):
        strict.decide(one.id, EstRequestState.APPROVED, "")
    with pytest.raises(ConflictError):
        strict.decide(one.id, EstRequestState.APPROVED, "demo-cpo")
    with pytest.raises(NotFoundError):
        strict.decide("nothing", EstRequestState.APPROVED, "Ada")
    strict.decide(one.id, EstRequestState.APPROVED, "Ada")
    with pytest.raises(ConflictError):
        strict.decide(one.id, EstRequestState.REFUSED, "Bob")


def test_the_command_line_lists_and_decides(client, home):
    from flows.cli import app

    csr_der = station_csr()
    client.enroll(csr_der, "manual")
    run = CliRunner()
    listed = json.loads(run.invoke(app, ["est", "pending", "--home", str(home), "--json"]).stdout)
    number = listed["pending"][0]["id"]
    decided = run.invoke(app, ["est", "approve", number, "--by", "Ada", "--home", str(home), "--json"])
    assert json.loads(decided.stdout) == {"id": number, "state": "approved", "common_name": STATION}
    again = run.invoke(app, ["est", "refuse", number, "--by", "Ada", "--home", str(home), "--json"])
    assert (again.exit_code, json.loads(again.stdout)["error"]) == (1, "request.conflict")
    assert client.enroll(csr_der, "manual").status_code == 200
