"""What the shipped profile files say, read as plain TOML: what holds for them whatever reads them."""

from itertools import pairwise

import pytest

from tests.unit.shipped_profiles import (
    ED448_LEAFS,
    LEAF_BRANCHES,
    PROFILES,
    SHIPPED,
    SUB_CAS,
    all_forms,
    every_file,
    every_profile,
    of,
    under,
)

INSTALLATION_ANSWER = ("contract_leaf", "mo_sub2", "mo_sub1", "cps_leaf", "cps_sub2", "cps_sub1")
CA_USAGES = {"keyCertSign", "cRLSign"}
KEY_EXCHANGE_USAGES = {"keyEncipherment", "dataEncipherment", "keyAgreement"}
KEY_USAGES = {"digitalSignature", "nonRepudiation"} | KEY_EXCHANGE_USAGES | CA_USAGES


# --- hierarchy


@every_profile
def test_level_branch_and_issuer_follow_from_the_name(stem):
    profile = PROFILES[stem]
    kind = stem.removesuffix("_ed448").removesuffix("_20")
    if kind == "v2g_root":
        expected = ("v2g", "root", "")
    elif kind in SUB_CAS:
        branch, level = kind.split("_")
        expected = (branch, level, {"sub1": "root", "sub2": "sub1"}[level])
    elif kind == "ocsp_responder":
        expected = ("v2g", "leaf", "sub2")
    else:
        expected = (LEAF_BRANCHES[kind], "leaf", "sub2")
    assert (profile["branch"], profile["level"], profile["issuer_level"]) == expected


@pytest.mark.parametrize("suffix", ["", "_20"])
@pytest.mark.parametrize(("leaf", "branch"), LEAF_BRANCHES.items())
def test_a_new_hierarchy_gives_leafs_their_full_life(leaf, branch, suffix):
    days = [
        PROFILES[f"{kind}{suffix}"]["validity_days"] for kind in (leaf, f"{branch}_sub2", f"{branch}_sub1", "v2g_root")
    ]
    assert days[0] + 365 <= days[1]  # for a year at least no leaf is cut short
    assert all(shorter < longer for shorter, longer in pairwise(days))


def test_a_root_lives_forty_years():
    assert PROFILES["v2g_root"]["validity_days"] == PROFILES["v2g_root_20"]["validity_days"] == 40 * 365 + 10


def test_a_cps_leaf_outlives_the_contracts_it_signs():
    assert PROFILES["cps_leaf"]["validity_days"] >= PROFILES["contract_leaf"]["validity_days"]


@every_profile
def test_a_leaf_goes_to_its_own_pool_and_nothing_else_to_any(stem):
    kind = stem.removesuffix("_ed448").removesuffix("_20")
    assert PROFILES[stem]["pool"] == {"contract_leaf": "ccp", "oem_provisioning_leaf": "pcp"}.get(kind, "none")


# --- keys


@every_profile
def test_algorithms_and_ceiling_are_those_of_the_edition(stem):
    profile = PROFILES[stem]
    algorithms = profile["key"]["algorithms"]
    if profile["edition"] == "iso15118-2":
        assert (algorithms, profile["max_der_octets"]) == (["secp256r1"], 800)
    else:
        assert algorithms in (["secp521r1", "ed448"], ["secp521r1"], ["ed448"])
        assert profile["max_der_octets"] == 1600


@every_profile
def test_an_ed448_key_never_agrees_on_or_enciphers_a_key(stem):
    # RFC 8410 5
    for form in all_forms(PROFILES[stem]):
        if "ed448" in form["key"]["algorithms"]:
            assert KEY_EXCHANGE_USAGES.isdisjoint(form["extensions"]["key_usage"])


@pytest.mark.parametrize("kind", ED448_LEAFS)
def test_the_ed448_leaf_differs_from_the_p521_leaf_in_key_agreement_only(kind):
    p521, ed448 = PROFILES[f"{kind}_20"], PROFILES[f"{kind}_20_ed448"]
    assert p521["key"]["algorithms"] == ["secp521r1"]
    assert ed448["key"]["algorithms"] == ["ed448"]
    assert [*ed448["extensions"]["key_usage"], "keyAgreement"] == p521["extensions"]["key_usage"]
    same = {"id": "", "key": {}}
    assert {**p521, **same, "extensions": {**p521["extensions"], "key_usage": []}} == {
        **ed448,
        **same,
        "extensions": {**ed448["extensions"], "key_usage": []},
    }


# --- extensions


@every_file
def test_a_ca_signs_certificates_and_a_leaf_does_not_under_any_switch(stem):
    for form in all_forms(SHIPPED[stem]):
        extensions = form["extensions"]
        usages = set(extensions["key_usage"])
        assert usages <= KEY_USAGES
        assert len(usages) == len(extensions["key_usage"])
        if form["level"] == "leaf":
            assert not extensions["ca"]
            assert "path_length" not in extensions
            assert usages.isdisjoint(CA_USAGES)
            assert "digitalSignature" in usages
        else:
            assert extensions["ca"]
            assert "keyCertSign" in usages
            assert usages.isdisjoint(KEY_EXCHANGE_USAGES)
            assert "extended_key_usage" not in extensions
            assert stem == "mo_sub2" or "digitalSignature" not in usages


@every_file
def test_by_default_every_ca_may_sign_its_crl(stem):
    # RFC 5280 4.2.1.3; ISO 15118-20 without the bit is a switch
    if SHIPPED[stem]["extensions"]["ca"]:
        assert "cRLSign" in SHIPPED[stem]["extensions"]["key_usage"]


@every_profile
def test_path_lengths_count_down_to_the_leaf(stem):
    profile = PROFILES[stem]
    expected = {"root": None, "sub1": 1, "sub2": 0, "leaf": None}[profile["level"]]
    assert profile["extensions"].get("path_length") == expected


@pytest.mark.parametrize(
    ("stem", "usages"),
    [
        ("evse_leaf", {"digitalSignature", "keyAgreement"}),
        ("contract_leaf", {"digitalSignature", "nonRepudiation", "keyEncipherment", "keyAgreement"}),
        ("oem_provisioning_leaf", {"digitalSignature", "keyAgreement"}),
        ("cps_leaf", {"digitalSignature"}),
        ("mo_sub2", {"digitalSignature", "nonRepudiation", "keyCertSign", "cRLSign"}),
        ("mo_sub1", {"keyCertSign", "cRLSign"}),
    ],
)
def test_edition_2_key_usages_are_those_of_the_certificates_in_the_field(stem, usages):
    assert set(PROFILES[stem]["extensions"]["key_usage"]) == usages


@every_profile
def test_key_identifiers_are_present_and_of_64_bits(stem):
    extensions = PROFILES[stem]["extensions"]
    assert extensions["key_identifier_octets"] == 8
    assert extensions["authority_key_identifier"]


@every_profile
def test_all_but_roots_and_responders_say_where_ocsp_answers(stem):
    silent = stem.startswith(("v2g_root", "ocsp_responder"))
    assert all(form["extensions"]["ocsp"] is not silent for form in all_forms(PROFILES[stem]))
    assert all(not form["extensions"]["ca_issuers"] for form in all_forms(PROFILES[stem]))


@pytest.mark.parametrize("stem", INSTALLATION_ANSWER)
def test_the_six_certificates_of_an_installation_answer_are_lean(stem):
    profile = PROFILES[stem]
    assert not profile["extensions"]["crl"]
    assert not profile["extensions"]["policies"]
    assert profile["level"] == "leaf" or profile["subject"]["domain_component"] == ""
    full = under(profile, "full_extensions")["extensions"]
    assert full["crl"]
    assert full["policies"]


@pytest.mark.parametrize("stem", [stem for stem, raw in PROFILES.items() if raw["branch"] in {"cpo", "oem"}])
def test_station_and_vehicle_branches_carry_crl_and_policies(stem):
    assert PROFILES[stem]["extensions"]["crl"]
    assert PROFILES[stem]["extensions"]["policies"]


@pytest.mark.parametrize("stem", of("iso15118-20"))
def test_only_the_station_leaf_of_edition_20_and_responders_have_an_extended_key_usage(stem):
    purposes = PROFILES[stem]["extensions"].get("extended_key_usage", [])
    if stem.startswith("evse_leaf"):
        assert purposes == ["1.3.6.1.5.5.7.3.1"]
        assert PROFILES[stem]["extensions"]["extended_key_usage_critical"]
    elif not stem.startswith("ocsp_responder"):
        assert purposes == []


@pytest.mark.parametrize("stem", ["ocsp_responder", "ocsp_responder_20"])
def test_a_responder_signs_ocsp_and_nothing_else_for_a_short_time(stem):
    profile = PROFILES[stem]
    extensions = profile["extensions"]
    assert [name for name, raw in of(profile["edition"]).items() if "ocsp_no_check" in raw["extensions"]] == [stem]
    assert extensions["extended_key_usage"] == ["1.3.6.1.5.5.7.3.9"]
    assert extensions["key_usage"] == ["digitalSignature"]
    assert extensions["ocsp_no_check"]  # RFC 6960 4.2.2.2.1
    assert not any(extensions[pointer] for pointer in ("ocsp", "ca_issuers", "crl"))
    assert profile["validity_days"] <= 30


# --- subject


@every_profile
def test_roots_and_leafs_have_their_domain_component_and_sub_cas_by_switch(stem):
    # [V2G2-925]; a responder has no role of its own
    profile = PROFILES[stem]
    edition_20 = profile["edition"] == "iso15118-20"
    component = profile["subject"]["domain_component"]
    if stem.startswith("ocsp_responder"):
        assert component == ""
    elif profile["level"] == "root":
        assert component == "V2G"
    elif profile["level"] == "leaf":
        assert (
            component
            == {"cpo": "CSO" if edition_20 else "CPO", "mo": "MO", "oem": "OEM", "cps": "CPS"}[profile["branch"]]
        )
    else:
        assert component == ""
        switched = under(profile, "sub_ca_domain_component")["subject"]["domain_component"]
        assert switched == (
            {"cpo": "CSO", "mo": "MO", "oem": "OEM", "cps": "CPS"}[profile["branch"]] if edition_20 else "V2G"
        )


@every_profile
def test_the_subject_is_the_kind_s_identifier_with_organisation_and_country(stem):
    subject = PROFILES[stem]["subject"]
    kind = stem.removesuffix("_ed448").removesuffix("_20")
    rules = {"evse_leaf": "evse", "contract_leaf": "emaid", "oem_provisioning_leaf": "pcid"}
    assert subject["identifier"] == rules.get(kind, "name")
    assert set(subject["keep"]) == {"O", "C"}
    assert set(subject["require"]) <= set(subject["keep"])


# --- switches against RFC 5280


@every_file
def test_by_default_times_are_those_of_rfc_5280(stem):
    assert SHIPPED[stem]["generalized_time_always"] is False


@pytest.mark.parametrize("stem", of("iso15118-20"))
def test_edition_20_has_the_other_time_form_as_a_switch(stem):
    assert under(PROFILES[stem], "iso20_generalized_time")["generalized_time_always"] is True


@pytest.mark.parametrize("stem", [stem for stem, raw in of("iso15118-20").items() if raw["extensions"]["ca"]])
def test_edition_20_drops_crl_sign_by_switch_except_where_a_station_demands_it(stem):
    switched = under(PROFILES[stem], "iso20_ca_without_crl_sign")["extensions"]["key_usage"]
    assert switched == (["keyCertSign", "cRLSign"] if PROFILES[stem]["branch"] == "mo" else ["keyCertSign"])


@pytest.mark.parametrize("stem", of("iso15118-2"))
def test_edition_2_knows_no_switch_of_edition_20(stem):
    assert not [name for name in PROFILES[stem].get("switches", {}) if name.startswith("iso20_")]


@every_profile
def test_expected_lint_codes_cover_what_each_switch_causes(stem):
    for form in all_forms(PROFILES[stem]):
        codes = set(form["expected_lint_codes"])
        extensions = form["extensions"]
        causes = {
            "pkix.name_domain_components_invalid_domain_name": form["subject"]["domain_component"] != "",
            "pkix.key_usage_value_prohibited_for_ec": "keyEncipherment" in extensions["key_usage"],
            "pkix.wrong_time_useful_type": form["generalized_time_always"],
            "pkix.certificate_policies_policy_has_qualifier": extensions.get("cps_qualifier", False),
        }
        assert {code for code, caused in causes.items() if caused} <= codes
        assert codes <= set(causes)


@every_file
def test_without_switches_no_lint_code_is_expected_that_the_profile_does_not_cause(stem):
    profile = SHIPPED[stem]
    expected = set()
    if profile["subject"]["domain_component"]:
        expected.add("pkix.name_domain_components_invalid_domain_name")
    if "keyEncipherment" in profile["extensions"]["key_usage"]:
        expected.add("pkix.key_usage_value_prohibited_for_ec")
    if profile["extensions"].get("subject_alternative_names"):
        expected.add("pkix.invalid_domain_name_syntax")  # localhost
    assert set(profile["expected_lint_codes"]) == expected


# --- TLS of our own services


@pytest.mark.parametrize("stem", of("rfc5280"))
def test_the_tls_branch_stands_apart_from_every_v2g_hierarchy(stem):
    profile = SHIPPED[stem]
    level, above = ("root", "") if stem == "tls_root" else ("leaf", "root")
    assert (profile["branch"], profile["level"], profile["issuer_level"]) == ("tls", level, above)
    assert not profile["subject"]["domain_component"]
    assert profile["key"]["algorithms"] == ["secp256r1"]
    assert profile["pool"] == "none"
    assert not profile["extensions"]["policies"]
    assert "switches" not in profile


def test_tls_certificates_do_one_thing_each():
    root, server, client = (SHIPPED[stem]["extensions"] for stem in ("tls_root", "tls_server", "tls_client"))
    assert (root["ca"], root["path_length"]) == (True, 0)
    assert server["extended_key_usage"] == ["1.3.6.1.5.5.7.3.1"]
    assert client["extended_key_usage"] == ["1.3.6.1.5.5.7.3.2"]
    assert server["key_usage"] == client["key_usage"] == ["digitalSignature"]
    assert [stem for stem, raw in SHIPPED.items() if "subject_alternative_names" in raw["extensions"]] == ["tls_server"]
    assert server["subject_alternative_names"]
