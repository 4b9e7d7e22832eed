"""The command line: what scripts rely on. Key files instead of a token, since a process holds one SoftHSM only."""

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli import app
from flows.sample_batch import write_sample
from pki_core.runtime.founding import Founding, found_environment
from tests.journeys.acts import ROOT, operator_environment

RUNNER = CliRunner()
SETTINGS = "[certificates]\ned448_hierarchy = false\n[issuance]\nchunk_rows = 20\n"


@pytest.fixture(scope="module")
def founded(tmp_path_factory):
    home = tmp_path_factory.mktemp("founded") / "home"
    found_environment(
        Founding(environment="dev", home=home, key_store="file", overrides=SETTINGS), lambda _line: None
    ).close()
    return home


@pytest.fixture
def home(founded, tmp_path, monkeypatch):
    copied = tmp_path / "home"
    shutil.copytree(founded, copied)
    monkeypatch.setenv("PNCPKI_HOME", str(copied))
    monkeypatch.delenv("PNCPKI_DATABASE_URL", raising=False)
    return copied


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.csv"
    write_sample(path, 50, bad=5)
    return path


def pncpki(*arguments, code=0):
    done = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return done.stdout


def as_json(*arguments, code=0):
    out = pncpki(*arguments, "--json", code=code)
    answer = json.loads(out)
    assert isinstance(answer, dict)
    assert out.count("\n") == 1
    return answer


@pytest.mark.usefixtures("home")
def test_a_batch_goes_from_file_to_verified_bundle(sample, tmp_path):
    submitted = as_json("batch", "submit", sample, "--partner", "demo-mo")
    assert submitted["total"] == 50
    batch_id = submitted["batch_id"]
    before = as_json("batch", "status", batch_id)
    # Three of the five bad rows are seen to be no requests while the file is read.
    assert (before["state"], before["issued"], before["refused"], before["pending"]) == ("queued", 0, 2, 48)
    signed = as_json("batch", "sign", batch_id, "--direct")
    assert (signed["state"], signed["issued"], signed["refused"], signed["pending"]) == ("done", 45, 5, 0)
    as_json("batch", "result", batch_id, "--out", tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["row_id", "verdict", "code", "message", "common_name", "serial", "not_after", "certificate_pem"]
    assert list(rows[0]) == columns
    assert [row["verdict"] for row in rows].count("issued") == 45
    with zipfile.ZipFile(tmp_path / "out" / "certificates.zip") as archive:
        assert len(archive.namelist()) == 45
        assert archive.read(archive.namelist()[0]).count(b"BEGIN CERTIFICATE") == 3
    issued = next(row for row in rows if row["verdict"] == "issued")
    shown = as_json("certificate", "show", issued["serial"])
    assert shown["status"] == "good"
    assert shown["common_name"] == issued["common_name"]
    assert shown["pem"] == issued["certificate_pem"]
    assert len(shown["profile_sha256"]) == 64
    assert len(issued["serial"]) == 36


@pytest.mark.usefixtures("home")
def test_the_same_file_twice_is_the_same_batch(sample):
    first = as_json("batch", "submit", sample, "--partner", "demo-mo")
    second = as_json("batch", "submit", sample, "--partner", "demo-mo")
    assert second["batch_id"] == first["batch_id"]
    assert (first["new"], second["new"]) == (True, False)


@pytest.mark.usefixtures("home")
def test_signing_twice_changes_nothing(sample):
    batch_id = as_json("batch", "submit", sample, "--partner", "demo-mo")["batch_id"]
    first = as_json("batch", "sign", batch_id, "--direct")
    assert as_json("batch", "resume", batch_id, "--direct") == first


@pytest.mark.usefixtures("home")
def test_two_worker_processes_sign_one_batch(sample):
    batch_id = as_json("batch", "submit", sample, "--partner", "demo-mo")["batch_id"]
    signed = as_json("batch", "sign", batch_id, "--direct", "--workers", "2")
    assert (signed["issued"], signed["refused"]) == (45, 5)


@pytest.mark.usefixtures("home")
def test_a_result_is_to_be_asked_for_again_while_rows_are_open(sample, tmp_path):
    batch_id = as_json("batch", "submit", sample, "--partner", "demo-mo")["batch_id"]
    refused = as_json("batch", "result", batch_id, "--out", tmp_path / "out", code=3)
    assert refused == {"error": "request.conflict", "message": "48 rows of this batch have no verdict yet"}
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("home")
def test_charge_points_and_vehicles_have_their_own_profiles(tmp_path):
    sample = tmp_path / "sample.csv"
    write_sample(sample, 4, bad=0)
    refused = as_json("batch", "submit", sample, "--partner", "demo-cpo", code=1)
    assert refused["error"] == "partner.not_authorized"
    accepted = as_json("batch", "submit", sample, "--partner", "demo-cpo", "--profile", "evse_leaf")
    signed = as_json("batch", "sign", accepted["batch_id"], "--direct")
    assert signed["refused"] == 4  # EMAIDs are no EVSEIDs


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["batch", "status", "no-such-batch"], "request.not_found"),
        (["certificate", "show", "00ff"], "request.not_found"),
        (["certificate", "show", "not hex"], "request.malformed"),
        (["run", "no_such_flow"], "request.malformed"),
        (["partner", "add", "demo-mo", "--role", "mo"], "request.conflict"),
        (["partner", "add", "new", "--role", "king"], "request.malformed"),
        (["partner", "add", "new", "--role", "mo", "--provider", "TOOLONG"], "request.malformed"),
    ],
)
def test_a_refused_command_says_why_in_one_object_and_exits_with_1(arguments, error):
    assert as_json(*arguments, code=1)["error"] == error


NOT_UTF8 = os.fsdecode(b"bad\xffname")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "arguments",
    [
        ["batch", "status", NOT_UTF8],
        ["batch", "sign", NOT_UTF8],
        ["batch", "submit", __file__, "--partner", NOT_UTF8],
        ["certificate", "show", NOT_UTF8],
        ["partner", "add", "new", "--role", "mo", "--role", NOT_UTF8],
    ],
    ids=repr,
)
def test_an_argument_that_is_not_utf8_is_refused_with_one_sentence(arguments):
    refused = as_json(*arguments, code=1)
    assert refused == {"error": "request.malformed", "message": "the argument 'bad\ufffdname' is not UTF-8"}


@pytest.mark.usefixtures("home")
def test_files_and_directories_may_have_names_that_are_not_utf8(sample, tmp_path):
    odd = sample.rename(tmp_path / f"{NOT_UTF8}.csv")
    batch_id = as_json("batch", "submit", odd, "--partner", "demo-mo")["batch_id"]
    as_json("batch", "sign", batch_id, "--direct")
    written = as_json("batch", "result", batch_id, "--out", tmp_path / NOT_UTF8)
    assert written["out"] == str(tmp_path / "bad\ufffdname")
    manifest = json.loads((tmp_path / NOT_UTF8 / "manifest.json").read_text())
    assert manifest["batch"]["source_name"] == "bad\ufffdname.csv"
    missing = as_json("sample", tmp_path / "nowhere" / NOT_UTF8, code=1)
    assert missing["error"] == "file.unusable"


@pytest.mark.usefixtures("home")
def test_octets_that_are_not_utf8_are_refused_in_a_real_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "flows", "batch", "status", b"\xff", "--json"], capture_output=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["error"] == "request.malformed"


@pytest.mark.usefixtures("home")
def test_without_json_a_refusal_is_one_sentence_on_standard_error():
    done = RUNNER.invoke(app, ["batch", "status", "no-such-batch"])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == "pncpki: there is no batch 'no-such-batch'\n"


@pytest.mark.usefixtures("home")
def test_the_list_of_cas_tells_label_branch_edition_subject_fingerprint_and_pem():
    cas = as_json("ca", "list")["cas"]
    assert len(cas) == 19
    assert [ca["label"] for ca in cas if ca["branch"] == "tls"] == ["tls-root"]
    contract = next(ca for ca in cas if ca["label"] == "mo-sub2")
    assert contract["branch"] == "mo"
    assert contract["edition"] == "iso15118-2"
    assert contract["subject"] == "CN=MO Sub2 CA, O=pncpki dev, C=DE"
    assert len(contract["fingerprint"]) == 64
    assert contract["pem"].startswith("-----BEGIN CERTIFICATE-----\n")


@pytest.mark.usefixtures("home")
def test_a_new_partner_may_ask_for_its_own_prefix_only(tmp_path):
    as_json("partner", "add", "acme-mo", "--role", "mo", "--provider", "DEACM")
    sample = tmp_path / "sample.csv"
    write_sample(sample, 3, bad=0)
    batch_id = as_json("batch", "submit", sample, "--partner", "acme-mo")["batch_id"]
    assert as_json("batch", "sign", batch_id, "--direct")["refused"] == 3


def test_a_directory_without_an_environment_is_refused_with_the_way_out(tmp_path):
    refused = as_json("ca", "list", "--home", tmp_path, code=1)
    assert refused["error"] == "settings.invalid"
    assert "pncpki init" in refused["message"]


def test_no_environment_chosen_is_refused(monkeypatch):
    monkeypatch.delenv("PNCPKI_HOME", raising=False)
    assert as_json("ca", "list", code=1)["error"] == "settings.invalid"


def test_help_and_the_module_start_without_heavy_imports():
    code = (
        "import sys, flows.cli; "
        "print([m for m in ('prefect', 'pandas', 'sqlalchemy', 'cryptography', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    helped = subprocess.run([sys.executable, "-m", "flows", "--help"], capture_output=True, text=True, check=True)
    for word in ("init", "batch", "ceremony", "certificate", "ca", "partner", "demo"):
        assert word in helped.stdout


def test_the_web_front_answers_health_questions(home):
    from pki_core.runtime import open_runtime
    from webapp import create_app

    client = create_app(open_runtime(home)).test_client()
    assert client.get("/healthz").json == {"status": "alive"}
    assert client.get("/readyz").status_code == 200


@pytest.mark.usefixtures("home")
def test_a_bundle_is_written_again_but_never_over_another_batchs(sample, tmp_path):
    batch_ids = []
    for rows in (sample, tmp_path / "other.csv"):
        if rows is not sample:
            write_sample(rows, 20, bad=0)
        batch_ids.append(as_json("batch", "submit", rows, "--partner", "demo-mo")["batch_id"])
        as_json("batch", "sign", batch_ids[-1], "--direct")
    out = tmp_path / "out"
    for _ in range(2):
        as_json("batch", "result", batch_ids[0], "--out", out)
    before = (out / "results.csv").read_bytes()
    assert as_json("batch", "result", batch_ids[1], "--out", out, code=1)["error"] == "request.conflict"
    assert as_json("batch", "result", batch_ids[0], "--out", "/proc/results", code=1)["error"] == "file.unusable"
    assert (out / "results.csv").read_bytes() == before


def test_a_usage_error_is_one_object_too():
    done = subprocess.run(
        [sys.executable, "-m", "flows", "batch", "status", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "usage"


def commands(group, *names):
    """Every command below a group: its name, and its options."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, *names, name)
        else:
            yield " ".join([*names, name]), {option for parameter in one.params for option in parameter.opts}


def test_commands_take_json_and_home_as_the_readme_says():
    options = dict(commands(get_command(app)))
    assert len(options) > 30
    assert {name for name in options if "--json" not in options[name]} == {"demo", "schedule", "prefect-server"}
    assert {name for name in options if "--home" not in options[name]} == {"demo", "sample", "prefect-server"}


def test_what_commands_and_servers_write_is_their_owners_alone_whatever_the_umask(tmp_path):
    (tmp_path / "settings.toml").write_text(SETTINGS)
    init = ["flows", "init", "--home", "home", "--key-store", "file", "--settings", "settings.toml"]
    for arguments in (init, ["webapp", "openapi", "--home", "home", "--out", "home/openapi.json"]):
        environment = operator_environment(PYTHONPATH=str(ROOT))
        subprocess.run([sys.executable, "-m", *arguments], cwd=tmp_path, env=environment, umask=0, check=True)
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").rglob("*")}
    assert {"openapi.json", "v2g-root.pem", "01-v2g-root.toml"} <= {Path(path).name for path in modes}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "/nonexistent/x.csv"],
        ["init", "--settings", "/nonexistent.toml", "--home", "/nonexistent/home"],
        ["sample", "x.csv", "--rows", "5", "--bad", "6"],
    ],
)
def test_files_that_cannot_be_used_are_one_sentence(arguments):
    assert as_json(*arguments, code=1)["error"] in {"file.unusable", "request.malformed"}
