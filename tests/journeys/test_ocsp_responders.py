"""Rotation of OCSP responders, and responses signed ahead: what is made, what is left, what two at once do."""

import threading
from contextlib import closing

import pytest
from sqlalchemy import text

from pki_core.hsm.soft_key import FileSigner
from pki_core.model.errors import HsmUnavailableError, KeyRejectedError
from pki_core.model.states import CertificateState
from pki_core.runtime.wiring import open_runtime
from tests.journeys.acts import rows
from tests.journeys.ocsp_acts import Asked
from tests.ocsp_forms import certificate_id, seconds

pytest_plugins = ["tests.journeys.environments", "tests.journeys.ocsp_environments"]

RESPONDERS = "SELECT count(*) FROM responder"
STORED = "SELECT count(*) FROM ocsp_response"


def away(*_arguments, **_switches):
    raise HsmUnavailableError("away")


def keys_of(asked):
    return {path.stem for path in (asked.runtime.home / "keys").glob("ocsp-*.pem")}


def test_a_new_environment_has_a_responder_for_every_ca_below_the_v2g_roots(asked):
    report = asked.runtime.responders.rotate()
    assert (report.made, len(report.kept), report.skipped) == ((), 27, ("tls-root",))
    assert len(keys_of(asked)) == 27


def test_rotating_twice_equals_rotating_once(any_asked):
    any_asked.clock.advance(days=25)
    cas = rows(any_asked.runtime, RESPONDERS)[0][0]
    assert len(any_asked.runtime.responders.rotate().made) == cas
    assert any_asked.runtime.responders.rotate().made == ()
    assert rows(any_asked.runtime, RESPONDERS) == [(2 * cas,)]


def test_a_rotation_that_was_cut_off_goes_on_with_its_key(asked, monkeypatch):
    asked.clock.advance(days=25)
    with monkeypatch.context() as patched:
        patched.setattr(type(asked.runtime.enrollment), "issue", away)
        with pytest.raises(HsmUnavailableError):
            asked.runtime.responders.rotate()
    (begun,) = {name for name in keys_of(asked) if name.endswith("-2")}
    made = asked.runtime.responders.rotate().made
    assert begun in made
    assert len(keys_of(asked)) == 2 * 27


def test_a_responder_is_in_service_with_its_certificate_or_not_at_all(asked, monkeypatch):
    asked.clock.advance(days=25)
    with monkeypatch.context() as patched:
        patched.setattr(FileSigner, "sign", away)
        with pytest.raises(HsmUnavailableError):
            asked.runtime.responders.rotate()
    assert rows(asked.runtime, RESPONDERS) == [(27,)]
    assert rows(asked.runtime, "SELECT count(*) FROM audit WHERE action = 'responder.rotated'") == [(27,)]
    asked.runtime.responders.rotate()
    assert rows(asked.runtime, "SELECT count(*) FROM audit WHERE action = 'responder.rotated'") == [(54,)]


def test_two_rotations_at_once_make_one_responder_each(asked):
    asked.clock.advance(days=25)
    failed = []

    def rotate():
        with closing(open_runtime(asked.runtime.home, asked.clock)) as runtime:
            try:
                runtime.responders.rotate()
            except KeyRejectedError as error:  # the other one is just writing the key's file
                failed.append(error)

    threads = [threading.Thread(target=rotate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked.runtime.responders.rotate()
    found = rows(asked.runtime, "SELECT issuer_id, count(*) FROM responder GROUP BY issuer_id")
    assert {count for _, count in found} == {2}
    assert len(failed) < 2


def test_a_revoked_or_expired_ca_gets_no_responder(asked):
    asked.revoke(asked.serial_of_ca("mo-sub2"), 1)
    asked.clock.advance(days=25)
    assert "mo-sub2" in asked.runtime.responders.rotate().skipped
    asked.clock.advance(days=365 * 60)
    report = asked.runtime.responders.rotate()
    assert (report.made, report.kept) == ((), ())


def test_where_roots_sign_by_ceremony_a_rotation_leaves_them(home, asked):
    with (home / "pncpki.toml").open("a") as file:
        file.write("\n[ocsp]\nrotate_roots = false\n")
    asked.clock.advance(days=25)
    with closing(open_runtime(home, asked.clock)) as runtime:
        report = runtime.responders.rotate()
    assert {"v2g-root", "v2g-root-20", "v2g-root-20-ed448"} <= set(report.skipped)
    assert len(report.made) == 24


def test_the_label_of_a_ca_may_be_as_long_as_any(asked):
    ca = asked.ca("mo-sub2")
    with asked.runtime.store.transaction() as work:
        statement = text("UPDATE issuer SET label = :label WHERE id = :id")
        work.audit._connection.execute(statement, {"label": "m" * 64, "id": ca.id})
    asked.clock.advance(days=25)
    assert f"ocsp-{ca.id}-1" in asked.runtime.responders.rotate().made


# --- signed ahead


def test_every_unexpired_certificate_is_signed_ahead_once(any_asked):
    record, good = any_asked.issue()
    _, revoked = any_asked.issue()
    any_asked.issue(hours=1)
    any_asked.clock.advance(hours=2)
    any_asked.revoke(revoked, 1)
    count = rows(any_asked.runtime, "SELECT count(*) FROM certificate")[0][0] - 1  # the expired one
    unanswered = rows(
        any_asked.runtime,
        "SELECT count(*) FROM certificate c JOIN issuer i ON i.id = c.issuer_id WHERE i.label = 'tls-root'",
    )[0][0]
    first = any_asked.runtime.ocsp_refresh.run()
    assert (first.signed, first.kept, first.dropped) == (2 * (count - unanswered), 0, 0)
    assert first.oldest_this_update == seconds(any_asked.clock.now())
    second = any_asked.runtime.ocsp_refresh.run()
    assert (second.signed, second.kept) == (0, first.signed)
    front = Asked(any_asked.runtime)
    for name in ("sha1", "sha256"):
        assert front.status(record, good, name) == "good"
        assert front.status(record, revoked, name) == "revoked"


def test_what_was_signed_ahead_is_served_without_a_signature(asked, monkeypatch):
    record, serial = asked.issue()
    asked.runtime.ocsp_refresh.run()
    monkeypatch.setattr(FileSigner, "sign", away)
    front = Asked(asked.runtime)
    assert front.status(record, serial, "sha1") == front.status(record, serial, "sha256") == "good"
    assert front.status(record, serial, "sha384") == "try_later"


def test_a_response_is_signed_anew_at_half_its_life_and_dropped_behind_its_end(asked):
    record, serial = asked.issue(hours=30)
    asked.runtime.ocsp_refresh.run()
    count = rows(asked.runtime, STORED)[0][0]
    asked.clock.advance(hours=12, seconds=-1)
    assert asked.runtime.ocsp_refresh.run().signed == 0
    asked.clock.advance(seconds=1)
    report = asked.runtime.ocsp_refresh.run()
    # Certificates of CAs are answered for a week, so theirs are kept.
    assert (report.signed, report.kept) == (count - 2 * 27, 2 * 27)
    asked.clock.advance(hours=24)
    assert asked.runtime.ocsp_refresh.run().dropped == 2  # of the certificate that expired meanwhile
    response = asked.ask(certificate_id(record, serial))
    assert response.singles[0].archive_cutoff is not None


def test_a_certificate_revoked_while_its_response_is_signed_keeps_none(any_asked, monkeypatch):
    record, serial = any_asked.issue()
    any_asked.runtime.ocsp_refresh.run()
    any_asked.clock.advance(hours=13)
    plain = FileSigner.sign
    done = []

    def sign(self, messages):
        if not done and self.label == "ocsp-mo-sub2-1":
            done.append(1)
            any_asked.revoke(serial, 1)
        return plain(self, messages)

    monkeypatch.setattr(FileSigner, "sign", sign)
    any_asked.runtime.ocsp_refresh.run()
    assert done
    statement = f"SELECT count(*) FROM ocsp_response WHERE serial = '{serial:036x}'"  # noqa: S608  # hexadecimal
    assert rows(any_asked.runtime, statement) == [(0,)]
    assert any_asked.status(record, serial) == "revoked"


def test_two_refreshes_at_once_do_not_disturb_each_other(any_asked):
    for _ in range(3):
        any_asked.issue()
    barrier, reports = threading.Barrier(2), []

    def refresh():
        with closing(open_runtime(any_asked.runtime.home, any_asked.clock)) as runtime:
            barrier.wait(10)
            reports.append(runtime.ocsp_refresh.run())

    threads = [threading.Thread(target=refresh) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 2
    report = any_asked.runtime.ocsp_refresh.run()
    assert report.signed == 0
    assert report.kept == rows(any_asked.runtime, STORED)[0][0]


def test_a_refresh_goes_through_all_pages(asked, monkeypatch):
    monkeypatch.setattr("pki_core.services.ocsp_refresh._PAGE", 2)
    record = None
    for _ in range(5):
        record, _ = asked.issue()
    asked.runtime.ocsp_refresh.run()
    statement = f"SELECT count(*) FROM ocsp_response WHERE issuer_id = {record.id}"  # noqa: S608  # a number
    assert rows(asked.runtime, statement) == [(2 * (5 + 1),)]  # and the responder's own


def test_drawn_and_burned_serials_are_not_signed_for(asked):
    record = asked.ca("mo-sub2")
    asked.reserve(record, 77)
    asked.reserve(record, 78)
    asked.set_status(record, 78, CertificateState.VOID)
    asked.runtime.ocsp_refresh.run()
    assert rows(asked.runtime, "SELECT count(*) FROM ocsp_response WHERE serial IN ('4d', '4e')") == [(0,)]
