"""QA and PROD, founded with SoftHSM: no PIN leaves its file, nothing is shared, each refuses what is the other's."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from pki_core.model.ceremonies import Act
from pki_core.model.errors import SettingsError
from pki_core.runtime.wiring import open_runtime
from pki_core.services.hierarchy import ceremony_file
from pki_core.settings import DATABASE_VARIABLE, load_settings
from tests.journeys.acts import artefact, edit, holders_of, plan_for, secrets_of

pytestmark = [pytest.mark.softhsm, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
WITNESSES = ("Ada Lovelace", "Alan Turing")


@dataclass(frozen=True)
class Founded:
    """An environment founded by the command line in a process of its own, and what it said and did."""

    home: Path
    stdout: str
    stderr: str
    record: dict

    @property
    def database(self):
        return f"sqlite:///{self.home / 'store.db'}"

    def root(self):
        return x509.load_der_x509_certificate(artefact(self, "v2g-root"))


def child(*arguments, **variables):
    environment = {
        name: value for name, value in os.environ.items() if name not in {"SOFTHSM2_CONF", DATABASE_VARIABLE}
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.journeys.founding_child", *map(str, arguments)],
        cwd=ROOT,
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def attempt(home, *attempts):
    with child("attempt", home, *attempts) as process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return list(json.loads(output).values())


@pytest.fixture(scope="module")
def qa_and_prod(tmp_path_factory):
    """A QA and a PROD environment with SoftHSM, founded side by side."""
    directory = tmp_path_factory.mktemp("two")
    (directory / "settings.toml").write_text("[certificates]\ned448_hierarchy = false\n")
    witnesses = [option for name in WITNESSES for option in ("--witness", name)]
    processes = {
        env: child(
            "init",
            directory / f"{env}.json",
            *("--env", env, "--home", directory / env, "--settings", directory / "settings.toml", "--json"),
            *witnesses,
        )
        for env in ("qa", "prod")
    }
    founded = []
    for env, process in processes.items():
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        record = json.loads((directory / f"{env}.json").read_text())
        founded.append(Founded(directory / env, stdout, stderr, record))
    return founded


@pytest.fixture
def copies(qa_and_prod, tmp_path):
    """Copies of both, for tests that change something."""
    homes = []
    for one in qa_and_prod:
        homes.append(tmp_path / one.home.name)
        shutil.copytree(one.home, homes[-1])
    return homes


def test_init_answers_one_json_object_and_nothing_else(qa_and_prod):
    for one, env in zip(qa_and_prod, ("qa", "prod"), strict=True):
        answer = json.loads(one.stdout)
        assert (answer["environment"], answer["home"]) == (env, str(one.home))
        assert len(answer["issuers"]) == 19  # two hierarchies of nine, and the TLS root
        (line,) = one.stderr.splitlines()  # what an operator keeps elsewhere
        assert line.startswith("audit checkpoint ")


def test_no_pin_leaves_its_file(qa_and_prod):
    for one in qa_and_prod:
        pins = secrets_of(one.home)
        assert len(set(pins)) == 2  # the user's and the security officer's
        for pin in pins:
            assert holders_of(pin, one.home) == []
            assert pin not in one.stdout + one.stderr
            assert pin not in json.dumps(one.record)  # arguments and environment of every process that was started


def test_founding_starts_no_process_that_could_see_a_pin(qa_and_prod):
    assert [one.record["spawned"] for one in qa_and_prod] == [[], []]


def test_qa_and_prod_share_nothing(qa_and_prod):
    qa, prod = qa_and_prod
    settings = [load_settings(one.home) for one in qa_and_prod]
    for value in (
        lambda one: one.environment_id,
        lambda one: one.database_url,
        lambda one: one.key_store.token_label,
        lambda one: one.key_store.token_serial,
        lambda one: one.certificates.ocsp_url,
    ):
        assert value(settings[0]) != value(settings[1])
    assert all(one.key_store.token_serial for one in settings)
    assert qa.root().public_key() != prod.root().public_key()
    assert qa.root().subject != prod.root().subject
    keys = [
        {record.spki_der for record in runtime.certificates.issuers()}
        for runtime in map(open_runtime, (one.home for one in qa_and_prod))
    ]
    assert keys[0].isdisjoint(keys[1])


def test_there_are_no_demo_partners_outside_dev(qa_and_prod):
    for one in qa_and_prod:
        with closing(open_runtime(one.home)) as runtime:
            assert runtime.partners.all() == []


def test_each_refuses_the_others_database(qa_and_prod, monkeypatch):
    for one, other in (qa_and_prod, qa_and_prod[::-1]):
        monkeypatch.setenv(DATABASE_VARIABLE, other.database)
        with pytest.raises(SettingsError, match=rf"belongs to another environment \({other.home.name}"):
            open_runtime(one.home)


def test_each_refuses_settings_that_name_the_others_token(copies):
    settings = [load_settings(home).key_store for home in copies]
    for home, other in zip(copies, settings[::-1], strict=True):
        edit(home, r'^token_serial = ".*"', f'token_serial = "{other.token_serial}"')
        with pytest.raises(SettingsError, match="another token"):
            open_runtime(home)


def test_each_refuses_the_others_token_in_its_place(copies):
    for home, other in (copies, copies[::-1]):
        place = home.parent / f"swapped-{home.name}"
        shutil.copytree(home, place)
        shutil.rmtree(place / "token")
        shutil.copytree(other / "token", place / "token")
        (refusal,) = attempt(place, "key=mo-sub2")
        assert re.match(r"(HsmUnavailable|KeyRejected|Settings)Error: ", refusal)
    (label,) = attempt(copies[0], "key=mo-sub2")
    assert label == "mo-sub2"


def test_a_ceremony_outside_dev_needs_its_own_file_and_the_reviewed_hash(copies):
    home = copies[0]
    plans = {}
    for env in ("qa", "prod", "dev"):
        plan = plan_for(Act.CREATE_SUB_CA, f"mo-sub2-{env}", "mo_sub2", "mo-sub1", environment=env, witnesses=WITNESSES)
        plans[env] = home / f"{env}.toml"
        plans[env].write_text(ceremony_file(plan))
    prod, dev, unreviewed, reviewed, key = attempt(
        home,
        f"read={plans['prod']}",
        f"read={plans['dev']}",
        f"run={plans['qa']}",
        f"reviewed={plans['qa']}",
        "key=mo-sub2-qa",
    )
    assert prod == "CeremonyError: this file is for 'prod', but this environment is 'qa'"
    assert dev == "CeremonyError: this file is for 'dev', but this environment is 'qa'"
    assert unreviewed.startswith("CeremonyError: the reviewed hash is not this file's")
    assert [Path(path).name for path in reviewed] == ["mo-sub2-qa.pem", "mo-sub2-qa.transcript.txt"]
    transcript = Path(reviewed[1]).read_text()
    assert "made in the token: sensitive, never extractable" in transcript
    assert re.search(rf"token pncpki-qa \(\w+, serial {load_settings(home).key_store.token_serial}\)", transcript)
    assert key == "mo-sub2-qa"
    for pin in secrets_of(home):
        assert pin not in transcript
