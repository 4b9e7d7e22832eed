"""Settings: shipped files and a home's own make one checked object, or nothing starts."""

import tomllib
from importlib.resources import files

import pytest

from pki_core.issuance.load import load_profiles
from pki_core.model.errors import SettingsError
from pki_core.model.identifiers import ISO_3166_ALPHA_2, CheckDigitPolicy
from pki_core.settings import (
    DATABASE_VARIABLE,
    ENVIRONMENTS,
    HOME_FILE,
    Settings,
    check_settings,
    load_settings,
    load_shipped,
)
from tests.conftest import drop_operators_variables


@pytest.fixture(autouse=True)
def no_database_variable(monkeypatch):
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)


def checked(tmp_path, environment="dev", **own):
    return check_settings({"environment": environment, **own}, tmp_path)


def written(tmp_path, text):
    (tmp_path / HOME_FILE).write_text(text, encoding="utf-8")
    return load_settings(tmp_path)


def leaves(document, path=()):
    for key, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


# --- the shipped files


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_shipped_file_is_whole_by_itself(tmp_path, environment):
    settings = checked(tmp_path, environment)
    assert settings.environment == environment
    assert len(load_profiles(settings.environment_values)) > 20


def test_the_shipped_files_have_the_same_keys_and_differ_in_values_only():
    keys = {environment: {path for path, _ in leaves(load_shipped(environment))} for environment in ENVIRONMENTS}
    assert keys["qa"] == keys["prod"] == keys["dev"]


def test_every_setting_is_in_the_shipped_files_or_made_for_each_environment():
    shipped = {path[:2] for path, _ in leaves(load_shipped("prod"))}  # labels below a section have names of their own
    known = {
        (name, *inner)
        for name, field in Settings.model_fields.items()
        for inner in (
            [(key,) for key in field.annotation.model_fields] if hasattr(field.annotation, "model_fields") else [()]
        )
    }
    of_a_home = {
        ("environment_id",),
        ("key_store", "module"),
        ("key_store", "token_serial"),
        ("key_store", "pin_file"),
        ("key_store", "pin_variable"),
    }
    assert known - shipped == of_a_home


def test_qa_and_prod_share_no_token_address_policy_or_organisation():
    qa, prod = (dict(leaves(load_shipped(environment))) for environment in ("qa", "prod"))
    names = ("ocsp_url", "ca_issuers_url", "crl_url", "cps_uri", "policy_oid", "organization")
    assert qa["key_store", "token_label"] != prod["key_store", "token_label"]
    assert all(qa["certificates", name] != prod["certificates", name] for name in names)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_shipped_file_holds_a_secret(environment):
    text = files("deployments").joinpath(f"{environment}.toml").read_text(encoding="utf-8").lower()
    paths = {path for path, _ in leaves(tomllib.loads(text))}
    assert not [path for path in paths if {"pin", "password", "secret", "passphrase"} & set(path)]
    assert "postgresql://" not in text


@pytest.mark.parametrize("environment", ["qa", "prod"])
def test_keys_of_the_shipped_files_live_in_a_token_outside_dev(tmp_path, environment):
    assert checked(tmp_path, environment).key_store.kind in {"softhsm", "pkcs11"}


def test_production_takes_identifiers_at_their_word_and_dev_does_not(tmp_path):
    assert checked(tmp_path, "prod").name_policy.check_digit is CheckDigitPolicy.REJECT
    assert checked(tmp_path, "prod").name_policy.countries == ISO_3166_ALPHA_2
    assert checked(tmp_path, "dev").name_policy.countries is None


# --- a home's own


def test_a_homes_own_settings_lie_over_the_shipped_ones(tmp_path):
    settings = written(tmp_path, 'environment = "qa"\n[issuance]\nchunk_rows = 7\n')
    assert settings.issuance.chunk_rows == 7
    shipped = load_shipped("qa")
    assert settings.issuance.lease_seconds == shipped["issuance"]["lease_seconds"]
    assert settings.key_store.token_label == shipped["key_store"]["token_label"]


def test_the_home_stands_in_the_database_url(tmp_path):
    assert checked(tmp_path).database_url == f"sqlite:///{tmp_path.resolve()}/store.db"


def test_the_environment_variable_names_another_database(tmp_path, monkeypatch):
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://db.example/pki")
    assert checked(tmp_path, database_url="sqlite:///mine.db").database_url == "postgresql://db.example/pki"


def test_switches_reach_the_profiles(tmp_path):
    values = checked(tmp_path, certificates={"switches": ["full_extensions"]}).environment_values
    assert load_profiles(values)["contract_leaf"].extensions.crl_url


def test_settings_cannot_be_changed(tmp_path):
    settings = checked(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        settings.environment = "prod"
    with pytest.raises(ValueError, match="frozen"):
        settings.key_store.kind = "file"


# --- what must not run

REFUSED = {
    "an unknown key": ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    "an unknown key in a section": ({"issuance": {"speed": 9}}, "issuance.speed: Extra inputs"),
    "an unknown kind of key store": ({"key_store": {"kind": "yubikey"}}, "key_store.kind"),
    "no token label": ({"key_store": {"token_label": ""}}, "key_store.token_label"),
    "a token label that no token can hold": ({"key_store": {"token_label": "x" * 33}}, "key_store.token_label"),
    "no session": ({"key_store": {"sessions": 0}}, "key_store.sessions"),
    "a policy that is no OID": ({"certificates": {"policy_oid": "1.2.x"}}, "certificates.policy_oid"),
    "an OID with a leading zero": ({"certificates": {"policy_oid": "1.02"}}, "certificates.policy_oid"),
    "a country that is none": ({"certificates": {"country": "Germany"}}, "certificates.country"),
    "no organisation": ({"certificates": {"organization": ""}}, "certificates.organization"),
    "a serial prefix of zero": ({"issuance": {"serial_prefix": 0}}, "issuance.serial_prefix"),
    "a serial prefix that makes serials negative": ({"issuance": {"serial_prefix": 128}}, "issuance.serial_prefix"),
    "chunks larger than a reservation": ({"issuance": {"chunk_rows": 2001}}, "issuance.chunk_rows"),
    "a lease shorter than a chunk takes": ({"issuance": {"lease_seconds": 1}}, "issuance.lease_seconds"),
    "no rows": ({"batches": {"max_rows": 0}}, "batches.max_rows"),
    "an unknown check digit policy": ({"identifiers": {"emaid_check_digit": "maybe"}}, "identifiers.emaid_check_digit"),
    "a section that is a value": ({"issuance": 3}, "issuance"),
    "a number that is a text": ({"batches": {"max_rows": "many"}}, "batches.max_rows"),
}


@pytest.mark.parametrize(("own", "message"), REFUSED.values(), ids=REFUSED)
def test_what_must_not_run_is_refused_with_its_place(tmp_path, own, message):
    with pytest.raises(SettingsError, match=HOME_FILE) as caught:
        checked(tmp_path, **own)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_is_a_section_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="database_url"):
        checked(tmp_path, database_url={"file": "store.db"})


@pytest.mark.parametrize("environment", ["qa", "prod"])
def test_file_keys_are_refused_outside_dev(tmp_path, environment):
    with pytest.raises(SettingsError, match="file keys are for dev only"):
        checked(tmp_path, environment, key_store={"kind": "file"})
    assert checked(tmp_path, "dev", key_store={"kind": "file"}).key_store.kind == "file"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_crl_that_does_not_outlive_two_periods_is_refused(tmp_path, environment):
    assert checked(tmp_path, environment, crl={"validity_hours": 12, "period_minutes": 360})
    with pytest.raises(SettingsError, match="does not outlive two periods"):
        checked(tmp_path, environment, crl={"validity_hours": 12, "period_minutes": 361})


def test_a_delta_that_tells_nothing_sooner_is_refused(tmp_path):
    assert checked(tmp_path, crl={"delta_minutes": 59}).crl_policy.delta_period
    with pytest.raises(SettingsError, match="delta"):
        checked(tmp_path, crl={"delta_minutes": 60})


def test_roots_sign_crls_by_themselves_but_not_in_production(tmp_path):
    by_itself = {name: checked(tmp_path, name).crl_policy.automatic_roots for name in ENVIRONMENTS}
    assert by_itself == {"dev": True, "qa": True, "prod": False}


def test_shards_do_not_reach_the_labels_of_the_second_edition(tmp_path):
    assert checked(tmp_path, certificates={"crl_shards": 20})
    with pytest.raises(SettingsError, match="crl_shards"):
        checked(tmp_path, certificates={"crl_shards": 21})


@pytest.mark.parametrize("environment", ["", "production", "QA", "dev.toml", "../dev"])
def test_there_are_three_environments(tmp_path, environment):
    with pytest.raises(SettingsError, match="there are dev, qa, prod"):
        checked(tmp_path, environment)


def test_a_directory_without_an_environment_says_how_to_make_one(tmp_path):
    with pytest.raises(SettingsError, match="pncpki init --env dev --home"):
        load_settings(tmp_path)


@pytest.mark.parametrize("text", ["environment = ", "= 3", 'environment = "dev"\nenvironment = "qa"', "\0"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path, text):
    with pytest.raises(SettingsError, match=HOME_FILE):
        written(tmp_path, text)


def test_a_file_without_an_environment_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="there is no environment ''"):
        written(tmp_path, "[issuance]\nchunk_rows = 7\n")


@pytest.mark.parametrize(
    "own",
    [
        {"pin": "1234-secret"},
        {"key_store": {"pin": "1234-secret"}},
        {"key_store": {"sessions": "1234-secret"}},
        {"database_url": 5, "key_store": {"token_label": ["1234-secret"]}},
    ],
)
def test_a_refusal_never_shows_what_was_written(tmp_path, own):
    with pytest.raises(SettingsError) as caught:
        checked(tmp_path, **own)
    assert "1234-secret" not in str(caught.value)
    assert caught.value.__cause__ is None  # its text would show it


def test_what_an_operator_set_in_his_shell_is_dropped_before_tests_run():
    told = {"PNCPKI_DATABASE_URL": "postgresql://his", "PNCPKI_PIN": "1", "PNCPKI_VECTORS": "there", "PATH": "/bin"}
    drop_operators_variables(told)
    assert told == {"PNCPKI_VECTORS": "there", "PATH": "/bin"}
