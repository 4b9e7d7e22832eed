"""Ceremonies killed anywhere: the same file, run again, ends with one key, one certificate and its own artefacts."""

import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest
from cryptography import x509

from pki_core.model.ceremonies import Act
from pki_core.model.errors import CeremonyError, ConflictError
from pki_core.runtime import open_runtime
from pki_core.services.hierarchy import ceremony_file
from tests.journeys.acts import ROOT, artefact, hold, operator_environment, plan_for, rows, sub2

pytest_plugins = ["tests.journeys.environments"]

PLACES = ("key", "certificate", "service", "rename", "transcript")
RESPONDER = plan_for(Act.CREATE_RESPONDER, "mo-sub2-b", "ocsp_responder", "mo-sub2")
NEW_ROOT = plan_for(Act.CREATE_ROOT, "mo-sub2-b", "v2g_root")


def die(place, home, plan):
    """Run a ceremony in a process of its own that is killed at a place."""
    file = home.parent / "ceremony.toml"
    file.write_text(ceremony_file(plan), encoding="utf-8")
    command = [sys.executable, "-m", "tests.journeys.ceremony_child", place, str(home), str(file)]
    done = subprocess.run(command, cwd=ROOT, env=operator_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def certificates_named(runtime, common_name):
    return rows(runtime, f"SELECT count(*) FROM certificate WHERE common_name = '{common_name}'")[0][0]  # noqa: S608  # ours


@pytest.mark.parametrize("place", PLACES)
def test_the_same_file_goes_on_where_a_killed_ceremony_was(home, place):
    die(place, home, sub2())
    with closing(open_runtime(home)) as runtime:
        hold(runtime, sub2())
        record = runtime.issuers.get("mo-sub2-b").record  # its key is the one its certificate names
        assert record.certificate_der == artefact(runtime, "mo-sub2-b")
        assert certificates_named(runtime, "Test mo-sub2-b") == 1
        serial = f"{x509.load_der_x509_certificate(record.certificate_der).serial_number:036x}"
        transcript = (home / "ca" / "mo-sub2-b.transcript.txt").read_text(encoding="utf-8")
        assert serial in transcript
        assert "ceremony complete" in transcript
        assert not list((home / "ca").glob("*.unfinished"))
        audited = "SELECT count(*) FROM audit WHERE action = 'ceremony.run' AND detail LIKE '%mo-sub2-b%'"
        assert rows(runtime, audited) == [(1,)]
        with pytest.raises(CeremonyError, match="overwrites nothing"):  # nothing is left to go on with
            hold(runtime, sub2())


@pytest.mark.parametrize(("plan", "place"), [(NEW_ROOT, "service"), (RESPONDER, "key")], ids=["root", "responder"])
def test_roots_and_responders_go_on_as_well(home, plan, place):
    die(place, home, plan)
    with closing(open_runtime(home)) as runtime:
        hold(runtime, plan)
        assert certificates_named(runtime, plan.common_name) == 1
        assert artefact(runtime, plan.label)


def test_another_file_does_not_go_on_with_a_key_that_is_not_its_own(home):
    die("key", home, sub2())
    with closing(open_runtime(home)) as runtime:
        with pytest.raises(ConflictError, match="by another file"):
            hold(runtime, sub2(common_name="Mallory Sub2 CA"))
        with pytest.raises(ConflictError, match="there is a key"):
            hold(runtime, sub2(label="mo-sub2-c", key_label="mo-sub2-b"))


def test_a_certificate_revoked_before_it_served_is_not_put_into_service(environment, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(type(environment.ceremonies), "_put_into_service", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            hold(environment, sub2())
    with environment.store.transaction() as work:
        work.audit._connection.exec_driver_sql(
            "UPDATE certificate_status SET status = 2 WHERE certificate_id ="
            " (SELECT certificate_id FROM ceremony WHERE label = 'mo-sub2-b')"
        )
    with pytest.raises(ConflictError, match="was revoked before it served"):
        hold(environment, sub2())
    with pytest.raises(ConflictError, match="no certificate yet"):
        environment.issuers.get("mo-sub2-b")


def test_two_processes_in_one_ceremony_make_one_certificate(environment, monkeypatch):
    """The second looks before the first has its certificate, and records after it."""
    ceremonies = type(environment.ceremonies)
    enroll = ceremonies._enroll

    def overtaken(self, plan, *arguments):
        monkeypatch.setattr(ceremonies, "_enroll", enroll)
        hold(environment, replace(plan, sha256=""))
        return enroll(self, plan, *arguments)

    monkeypatch.setattr(ceremonies, "_enroll", overtaken)
    with pytest.raises(ConflictError, match="another process"):
        hold(environment, sub2())
    assert certificates_named(environment, "Test mo-sub2-b") == 1
    assert rows(environment, "SELECT count(*) FROM reservation") == [(0,)]
