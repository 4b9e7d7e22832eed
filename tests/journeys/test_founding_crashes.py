"""A founding that is killed: no command works on the half of it, and the same command ends it."""

import hashlib
import signal
import subprocess
import sys
from contextlib import closing

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pki_core.model.errors import ConflictError, HsmUnavailableError, SettingsError
from pki_core.runtime import migrate_home, open_runtime
from pki_core.runtime.founding import DEV_PARTNERS, Founding, found_environment
from pki_core.settings import FOUNDING_FILE
from tests.journeys.acts import ROOT, artefact, operator_environment, rows

OVERRIDES = "[certificates]\ned448_hierarchy = false\n"


def child(act, *arguments):
    command = [sys.executable, "-m", "tests.journeys.founding_child", act, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=operator_environment(), capture_output=True, text=True, check=False)


def die(at, home, *arguments):
    """Start founding; the process is killed when a file would get its name."""
    settings = home.with_name("settings.toml")
    settings.write_text(OVERRIDES)
    done = child("die", at, "--home", home, "--settings", settings, *arguments)
    assert done.returncode == -signal.SIGKILL, done.stderr


def go_on(home, **changes):
    told = {"environment": "dev", "home": home, "key_store": "file", "overrides": OVERRIDES}
    return found_environment(Founding(**{**told, **changes}), lambda _line: None)


def hashes(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_a_killed_founding_is_ended_by_the_same_command_and_makes_nothing_twice(tmp_path):
    home = tmp_path / "home"
    die(FOUNDING_FILE, home, "--key-store", "file")  # before anything is written
    die("pncpki.toml", home, "--key-store", "file")  # the token is made, nobody knows its serial
    die("mo-sub1.pem", home, "--key-store", "file")  # in the middle of a ceremony
    for opened in (open_runtime, migrate_home):
        with pytest.raises(SettingsError, match="not finished: give the same pncpki init again"):
            opened(home)
    listed = CliRunner().invoke(app, ["ca", "list", "--home", str(home)])
    assert (listed.exit_code, "not finished" in listed.stderr) == (1, True)
    before = hashes(home / "keys")
    with closing(go_on(home)) as runtime:
        assert before.items() <= hashes(home / "keys").items()
        assert len(runtime.certificates.issuers()) == 19
        for record in runtime.certificates.issuers():
            assert artefact(runtime, record.label) == record.certificate_der
        twice = "SELECT common_name FROM certificate GROUP BY issuer_id, common_name HAVING count(*) > 1"
        assert rows(runtime, twice) == []
        assert len(runtime.partners.all()) == len(DEV_PARTNERS)
    assert not list(home.glob("founding.*"))
    assert not list((home / "ca").glob("*.unfinished"))
    with pytest.raises(ConflictError, match="is not empty"):
        go_on(home)


def test_an_interrupted_founding_goes_on_with_what_it_was_told_and_in_one_process(tmp_path, monkeypatch):
    home = tmp_path / "home"

    def broken(*_arguments):
        raise HsmUnavailableError("the token is away")

    monkeypatch.setattr("pki_core.runtime.founding.make_token", broken)
    with pytest.raises(HsmUnavailableError, match="the same command goes on from here"):
        go_on(home)
    with pytest.raises(ConflictError, match="was told something else"):
        go_on(home, overrides="[certificates]\ned448_hierarchy = true\n")

    def meanwhile(*_arguments):
        with pytest.raises(HsmUnavailableError, match="another process holds"):
            go_on(home)
        raise HsmUnavailableError("the token is away")

    monkeypatch.setattr("pki_core.runtime.founding.make_token", meanwhile)
    with pytest.raises(HsmUnavailableError, match="the token is away"):
        go_on(home)


@pytest.mark.softhsm
@pytest.mark.slow
def test_a_killed_founding_with_a_token_goes_on_with_its_own_keys(tmp_path):
    home = tmp_path / "home"
    witnesses = ("--env", "qa", "--witness", "Ada Lovelace", "--witness", "Alan Turing")
    die("pncpki.toml", home, *witnesses)  # a token is made and has no key yet
    die("tls-root.transcript.txt", home, *witnesses)  # every key is made
    settings = home.with_name("settings.toml")
    done = child("init", tmp_path / "record", "--home", home, "--settings", settings, *witnesses)
    assert done.returncode == 0, done.stderr
    assert len(list((home / "ca").glob("*.pem"))) == 21
    done = child("attempt", home, "key=mo-sub2", "key=tls-root")
    assert done.stdout == '{"key=mo-sub2": "mo-sub2", "key=tls-root": "tls-root"}\n'
