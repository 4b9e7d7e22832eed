"""Profiles resolved: every shipped file for every shipped environment under every switch, and what is refused."""

import itertools
import tomllib
from dataclasses import replace
from importlib.resources import files

import pytest

from pki_core.issuance import load
from pki_core.issuance.load import load_profiles
from pki_core.model.errors import SettingsError
from pki_core.model.profiles import Edition, Level, Profile
from pki_core.settings import ENVIRONMENTS, check_settings
from tests.builders import VALUES, issuer_for, profile, profiles

SHIPPED = {
    entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
    for entry in files("pki_core.issuance").joinpath("profiles").iterdir()
    if entry.name.endswith(".toml")
}
SWITCHES_OF = {name: tuple(tomllib.loads(text).get("switches", {})) for name, text in SHIPPED.items()}
SWITCHES = sorted(set(itertools.chain.from_iterable(SWITCHES_OF.values())))


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def environment_values(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return check_settings({"environment": request.param}, home).environment_values


def with_switches(*switches):
    return load_profiles(replace(VALUES, switches=frozenset(switches)))


@pytest.mark.parametrize("switches", [(), *[(name,) for name in SWITCHES], tuple(SWITCHES)], ids="+".join)
def test_every_shipped_profile_resolves_in_every_environment_under_every_switch(environment_values, switches):
    resolved = load_profiles(replace(environment_values, switches=frozenset(switches)))
    assert set(resolved) == set(SHIPPED)
    for name, one in resolved.items():
        assert one.id == name
        urls = (one.extensions.ocsp_url, one.extensions.ca_issuers_url, one.extensions.crl_url, one.extensions.cps_uri)
        shipped = (
            environment_values.ocsp_url,
            environment_values.ca_issuers_url,
            environment_values.crl_shard_url if one.extensions.crl_shards else environment_values.crl_url,
            environment_values.cps_uri,
        )
        assert all(url in ("", wanted) for url, wanted in zip(urls, shipped, strict=True))
        assert one.extensions.policy_oids in ((), (environment_values.policy_oid,))


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_changes_the_profiles_that_know_it_and_no_other(switch):
    plain, switched = with_switches(), with_switches(switch)
    assert {name for name in plain if plain[name] != switched[name]} == {
        name for name, known in SWITCHES_OF.items() if switch in known
    }


def test_a_switch_no_profile_knows_is_refused_with_those_there_are():
    with pytest.raises(
        SettingsError, match=r"no profile knows the switch 'iso20_everything'; known: .*full_extensions"
    ):
        with_switches("iso20_everything")


@pytest.mark.parametrize("field", ["ocsp_url", "ca_issuers_url", "crl_url", "cps_uri"])
@pytest.mark.parametrize(
    "url",
    ["http://x.test/{label}", "http://x.test/{", "http://x.test/{}", "http://x.test/{issuer.a}", "http://ü.test/"],
)
def test_an_address_that_cannot_stand_in_a_certificate_is_refused_at_once(field, url):
    with pytest.raises(SettingsError, match=f"certificates.{field}"):
        load_profiles(replace(VALUES, **{field: url}))


def test_urls_and_oids_come_from_the_environment():
    extensions = profiles()["evse_leaf"].extensions
    assert extensions.ocsp_url == VALUES.ocsp_url
    assert extensions.crl_url == VALUES.crl_url
    assert extensions.policy_oids == (VALUES.policy_oid,)
    assert (extensions.ca_issuers_url, extensions.cps_uri) == ("", "")


def test_every_profile_has_an_issuer_among_the_others_and_every_ca_issues_something():
    resolved = profiles()
    for one in resolved.values():
        issuers = [
            other
            for other in resolved.values()
            if (other.level, other.edition) == (one.issuer_level, one.edition)
            and other.branch in ({one.branch, "v2g"} if one.branch != "v2g" else {"v2g", "mo", "cpo", "oem", "cps"})
            and set(other.key_algorithms) & set(one.key_algorithms)
        ]
        assert issuers or one.level is Level.ROOT, one.id
        assert not (issuers and one.level is Level.ROOT), one.id


@pytest.mark.parametrize("profile_name", SHIPPED)
def test_a_profile_survives_being_stored(profile_name):
    for switches in ((), SWITCHES_OF[profile_name]):
        one = profile(profile_name, *switches)
        again = Profile.from_json(one.to_json())
        assert again == one
        assert (again.hash, again.to_json()) == (one.hash, one.to_json())


def test_the_hash_of_a_profile_depends_on_every_one_of_its_values():
    one = profile("evse_leaf_20")
    changed = [
        replace(one, validity_days=one.validity_days + 1),
        replace(one, edition=Edition.ISO_2),
        replace(one, key_algorithms=()),
        replace(one, expected_lint_codes=()),
        replace(one, subject=replace(one.subject, domain_component="")),
        replace(one, extensions=replace(one.extensions, crl_url="http://other.test")),
        replace(one, extensions=replace(one.extensions, key_usage=one.extensions.key_usage[::-1])),
    ]
    assert len({one.hash, *(other.hash for other in changed)}) == len(changed) + 1


def test_no_two_shipped_profiles_share_a_hash():
    hashes = [one.hash for one in profiles().values()]
    assert len(set(hashes)) == len(hashes)


def test_every_shipped_profile_and_switch_makes_a_template():
    for name, switches in SWITCHES_OF.items():
        for chosen in ((), switches):
            issuer_for(profile(name, *chosen))


# --- files that are refused

GOOD = SHIPPED["contract_leaf"]
BROKEN = {
    "a key nobody knows": (GOOD + "\n[extensions2]\n", "unknown key extensions2"),
    "an extension nobody knows": (
        GOOD.replace("[extensions]", "[extensions]\nname_constraints = true"),
        "extensions.name_",
    ),
    "a key setting nobody knows": (GOOD.replace("[key]", "[key]\nlength = 3"), "unknown key key.length"),
    "a subject rule nobody knows": (GOOD.replace("[subject]", "[subject]\ndrop = []"), "unknown key subject.drop"),
    "a missing key": (GOOD.replace("validity_days", "#"), "validity_days"),
    "a missing section": (GOOD.replace("[key]", "[keys]"), "key"),
    "an unknown edition": (GOOD.replace('"iso15118-2"', '"iso15118-3"'), "iso15118-3"),
    "an unknown level": (GOOD.replace('"sub2"', '"sub9"'), "sub9"),
    "an unknown algorithm": (GOOD.replace('["secp256r1"]', '["rsa2048"]'), "rsa2048"),
    "an unknown key usage": (GOOD.replace('"digitalSignature"', '"digitalSigning"'), "digitalSigning"),
    "an unknown identifier": (GOOD.replace('"emaid"', '"vin"'), "vin"),
    "a section that is a value": (GOOD.replace("[key]\nalgorithms", "key"), "TypeError|ValueError"),
    "another name than its file": (GOOD.replace('id = "contract_leaf"', 'id = "contract"'), "names itself 'contract'"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_breaks_the_schema_is_refused_by_name(monkeypatch, text, message):
    assert text != GOOD
    monkeypatch.setattr(load, "_shipped", lambda: {"contract_leaf": text})
    with pytest.raises(SettingsError, match=rf"contract_leaf\.toml.*({message})"):
        load_profiles(VALUES)


def test_a_switch_that_overlays_what_is_not_there_is_refused(monkeypatch):
    text = GOOD.replace("[switches.full_extensions]", "[switches.full_extensions]\nnames.keep = []")
    monkeypatch.setattr(load, "_shipped", lambda: {"contract_leaf": text})
    assert load_profiles(VALUES)
    with pytest.raises(SettingsError, match="names"):
        load_profiles(replace(VALUES, switches=frozenset({"full_extensions"})))


def test_a_value_younger_than_stored_profiles_leaves_their_hashes_alone():
    stored = profile().to_json()
    assert "subject_alternative_names" not in stored
    assert Profile.from_json(stored).hash == profile().hash
    assert "subject_alternative_names" in profile("tls_server").to_json()
