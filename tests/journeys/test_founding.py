"""Founding: a whole environment at once, its secrets in their files alone, and QA and PROD strangers to each other."""

import sqlite3
import stat
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from pki_core.model.errors import CeremonyError, ConflictError, HsmUnavailableError, KeyRejectedError, SettingsError
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime.founding import DEV_PARTNERS, Founding, found_environment
from pki_core.runtime.founding_files import settings_text
from pki_core.runtime.wiring import migrate_home, open_runtime
from pki_core.settings import DATABASE_VARIABLE
from pki_core.store.unit_of_work import Store
from tests.journeys.acts import GENERATIONS, edit, holders_of, secrets_of

pytest_plugins = ["tests.journeys.environments"]

ROOT = Path(__file__).parents[2]
WITNESSES = ("Ada Lovelace", "Alan Turing")
BRANCHES = ("cpo", "mo", "oem", "cps")


def silent(_line):
    """Say nothing."""


def founding(home, environment="dev", **changes):
    return Founding(**{"environment": environment, "home": home, "key_store": "file", **changes})


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


# --- a development environment


def copy_database(source, target):
    """Copy a SQLite database with what still lies in its write-ahead log."""
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        read.backup(written)


def test_an_environment_has_three_hierarchies_of_nine_cas_and_a_tls_root(untouched):
    labels = [record.label for record in untouched.certificates.issuers()]
    expected = {
        f"{name}{suffix}"
        for suffix in GENERATIONS.values()
        for name in ("v2g-root", *(f"{branch}-sub{level}" for branch in BRANCHES for level in (1, 2)))
    }
    assert sorted(labels) == sorted(expected | {"tls-root"})
    algorithms = {record.label: record.algorithm for record in untouched.certificates.issuers()}
    for algorithm, suffix in GENERATIONS.items():
        assert algorithms[f"mo-sub2{suffix}"] is algorithm


def test_a_development_environment_has_the_demo_partners(untouched):
    assert {partner.id: partner for partner in untouched.partners.all()} == {one.id: one for one in DEV_PARTNERS}
    assert [one.id for one in DEV_PARTNERS] == ["demo-mo", "demo-cpo", "demo-oem"]


def test_every_certificate_of_a_founding_is_in_the_store(untouched):
    with untouched.store.reading() as work:
        # Each CA, its OCSP responder but for the one of TLS, and the signers of contract data.
        assert work.certificates.count() == 28 + 27 + 3
        assert work.reservations.held() == []


def test_what_is_founded_is_its_owners_alone(founded_home):
    assert mode_of(founded_home) == 0o700
    assert mode_of(founded_home / "secrets") == 0o700
    assert {mode_of(path) for path in (founded_home / "secrets").iterdir()} == {0o400}
    assert mode_of(founded_home / "pncpki.toml") == 0o600
    assert {mode_of(path) for path in (founded_home / "keys").glob("*.pem")} == {0o600}


def test_a_pin_is_in_its_own_file_alone(founded_home):
    (pin,) = secrets_of(founded_home)
    assert len(pin) >= 32
    assert holders_of(pin, founded_home) == []


def test_a_pin_is_never_said(tmp_path):
    said = []
    overrides = "[certificates]\ned448_hierarchy = false\n"
    with closing(found_environment(founding(tmp_path / "home", overrides=overrides), said.append)) as runtime:
        (pin,) = secrets_of(tmp_path / "home")
        assert said[0] == "file token pncpki-dev made"
        assert len(said) == 1 + 19 + 2 + 1 + 1 + 1  # token, CAs, signers of contract data, responders, CRLs, audit log
        assert pin not in "\n".join(said)
        assert pin not in repr(runtime.settings)
        assert pin not in repr(vars(runtime.key_store))
        assert KeyAlgorithm.ED448 not in {record.algorithm for record in runtime.certificates.issuers()}


# --- what is not founded


def test_a_directory_with_anything_in_it_is_left_alone(tmp_path):
    (tmp_path / "note").write_text("kept")
    with pytest.raises(ConflictError, match="is not empty"):
        found_environment(founding(tmp_path), silent)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize("environment", ["qa", "prod"])
def test_file_keys_are_refused_outside_dev_before_anything_is_made(tmp_path, environment):
    with pytest.raises(SettingsError, match="file keys are for dev only"):
        found_environment(founding(tmp_path / "home", environment, witnesses=WITNESSES), silent)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("witnesses", [(), ("Ada",), ("Ada", "ada ")])
def test_outside_dev_two_witnesses_are_asked_for_before_anything_is_made(tmp_path, witnesses):
    with pytest.raises(CeremonyError, match="2 different witnesses"):
        found_environment(founding(tmp_path / "home", "qa", key_store="", witnesses=witnesses), silent)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("[", "the overrides are not TOML"),
        ("colour = 1", "colour"),
        ("[certificates]\ncountry = 7\n", "certificates.country"),
        pytest.param(
            '[certificates]\nswitches = ["nonsense"]\n',
            "nonsense",
        ),
    ],
)
def test_settings_that_must_not_run_found_nothing(tmp_path, overrides, message):
    with pytest.raises(SettingsError, match=message):
        found_environment(founding(tmp_path / "home", overrides=overrides), silent)
    assert not (tmp_path / "home").exists()


def test_a_database_that_belongs_to_an_environment_gets_no_second_one(founded_home, tmp_path):
    copy_database(founded_home / "store.db", tmp_path / "taken.db")
    overrides = f'database_url = "sqlite:///{tmp_path / "taken.db"}"\n'
    with pytest.raises(ConflictError, match="belongs to an environment already"):
        found_environment(founding(tmp_path / "home", overrides=overrides), silent)
    assert not (tmp_path / "home" / "keys").exists()


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.text() | st.booleans() | st.integers(0) | st.lists(st.text())))
def test_whatever_a_home_is_told_stands_in_its_file(values):
    assert tomllib.loads(settings_text({**values, "section": values})) == {**values, "section": values}


def test_a_key_directory_that_is_gone_is_not_made_anew(home):
    (home / "keys").rename(home / "away")
    with closing(open_runtime(home)) as runtime:
        with pytest.raises(HsmUnavailableError, match="is gone: put it back"):
            _ = runtime.key_store.identity
        with pytest.raises(HsmUnavailableError, match="is gone: put it back"):
            runtime.key_store.generate("new", KeyAlgorithm.SECP256R1)
    assert not (home / "keys").exists()


# --- what is opened is closed


@pytest.fixture
def stores(monkeypatch):
    """Every store that was opened, and whether it was closed."""
    opened = {}

    class Watched(Store):
        def __init__(self, url):
            super().__init__(url)
            opened[self] = "open"

        def close(self):
            super().close()
            opened[self] = "closed"

    monkeypatch.setattr("pki_core.runtime.wiring.Store", Watched)
    return opened


def test_founding_closes_what_it_opened(tmp_path, stores):
    overrides = "[certificates]\ned448_hierarchy = false\n"
    found_environment(founding(tmp_path / "home", overrides=overrides), silent).close()
    assert set(stores.values()) == {"closed"}


def test_a_refused_environment_is_closed(home, stores):
    edit(home, r'^environment_id = ".*"', 'environment_id = "other"')
    with pytest.raises(SettingsError):
        open_runtime(home)
    assert set(stores.values()) == {"closed"}


# --- what is not opened


def test_an_environment_opens_again(home):
    with closing(open_runtime(home)) as runtime:
        assert runtime.issuers.get("mo-sub2").record.label == "mo-sub2"


CHANGES = {
    "another token": (r'^token_serial = ".*"', 'token_serial = "0123456789abcdef"', "another token"),
    "another environment": (r'^environment_id = ".*"', 'environment_id = "other"', r"another environment \(dev"),
    "production": (r'^environment = "dev"', 'environment = "prod"', "file keys are for dev only"),
}


@pytest.mark.parametrize(("pattern", "replacement", "message"), CHANGES.values(), ids=CHANGES)
def test_settings_that_contradict_the_database_open_nothing(home, pattern, replacement, message):
    edit(home, pattern, replacement)
    with pytest.raises(SettingsError, match=message):
        open_runtime(home)


def test_the_database_of_another_environment_is_refused(home, tmp_path):
    other = tmp_path / "other"
    with closing(found_environment(founding(other, overrides="[certificates]\ned448_hierarchy = false\n"), silent)):
        pass
    copy_database(other / "store.db", home / "store.db")
    with pytest.raises(SettingsError, match="the database belongs to another environment"):
        open_runtime(home)


def test_a_database_without_a_stamp_is_refused(home, sqlite_database_url, monkeypatch):
    monkeypatch.setenv(DATABASE_VARIABLE, sqlite_database_url)
    with pytest.raises(SettingsError, match="belongs to no environment"):
        open_runtime(home)


def test_a_database_that_is_gone_is_refused_and_not_made_anew(home):
    (home / "store.db").unlink()
    with pytest.raises(SettingsError, match="is gone"):
        open_runtime(home)
    assert not (home / "store.db").exists()


def test_a_database_of_another_version_is_refused_with_what_to_do(home):
    with closing(sqlite3.connect(home / "store.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
        connection.commit()
    with pytest.raises(SettingsError, match="pncpki migrate"):
        open_runtime(home)


def test_migrating_a_home_that_is_current_changes_nothing(home):
    before = (home / "pncpki.toml").read_text()
    migrate_home(home)
    assert (home / "pncpki.toml").read_text() == before
    open_runtime(home).close()


@pytest.mark.parametrize(("name", "error"), [("secrets/pin", SettingsError), ("keys/mo-sub2.pem", KeyRejectedError)])
def test_a_secret_that_others_can_read_is_refused(home, name, error):
    (home / name).chmod(0o644)
    with closing(open_runtime(home)) as runtime, pytest.raises(error, match="chmod 600"):
        runtime.issuers.get("mo-sub2")


@pytest.mark.postgres
def test_an_environment_is_founded_on_postgresql(founded_postgres):
    _, databases = founded_postgres
    url = databases.create()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM environment")) == "dev"
        assert connection.scalar(text("SELECT count(*) FROM issuer WHERE certificate_id IS NOT NULL")) == 19
    engine.dispose()
    databases.drop(url)
