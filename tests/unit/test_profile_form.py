"""The form of the shipped profile files: every kind, every key, a comment on each line and a source for each switch."""

import re

from tests.unit.shipped_profiles import (
    ED448_LEAFS,
    KINDS,
    PROFILES,
    SHIPPED,
    TEXTS,
    every_file,
    of,
    under,
)

EXTENSION_FLAGS = "ca extended_key_usage_critical authority_key_identifier ocsp ca_issuers crl policies cps_qualifier"
SCHEMA = {
    **dict.fromkeys(("id", "edition", "branch", "level", "issuer_level", "pool"), str),
    **dict.fromkeys(("max_der_octets", "validity_days", "backdate_minutes"), int),
    "generalized_time_always": bool,
    "expected_lint_codes": list,
    "key": {"algorithms": list},
    "subject": {"identifier": str, "domain_component": str, "keep": list, "require": list},
    "extensions": {
        **dict.fromkeys(("path_length", "key_identifier_octets"), int),
        **dict.fromkeys(("key_usage", "extended_key_usage"), list),
        **dict.fromkeys((*EXTENSION_FLAGS.split(), "ocsp_no_check", "subject_alternative_names"), bool),
    },
}
OPTIONAL = {"path_length", "extended_key_usage", "extended_key_usage_critical", "cps_qualifier", "ocsp_no_check"} | {
    "subject_alternative_names"
}
SOURCED = re.compile(
    r"Annex [BF]|Tables? [BF]\.|\bB\.\d|\[V2G|RFC \d{4} \d|XSD|Hubject|OPCP|Tinkerforge|tfocpp|EVerest|RISE|budget"
)


def check_schema(raw, schema, *, complete):
    for key, value in raw.items():
        expected = schema[key]
        if isinstance(expected, dict):
            check_schema(value, expected, complete=complete)
        else:
            assert type(value) is expected, key
    if complete:
        assert set(schema) - OPTIONAL <= set(raw)


def test_both_editions_have_every_kind_and_nothing_else_is_shipped():
    assert set(of("iso15118-2")) == set(KINDS)
    assert set(of("rfc5280")) == {"tls_root", "tls_server", "tls_client"}
    assert set(of("iso15118-2")) | set(of("iso15118-20")) == set(PROFILES)
    assert set(of("iso15118-20")) == {f"{kind}_20" for kind in KINDS} | {f"{kind}_20_ed448" for kind in ED448_LEAFS}


@every_file
def test_a_profile_is_named_like_its_file(stem):
    assert SHIPPED[stem]["id"] == stem


@every_file
def test_a_profile_has_every_key_and_no_unknown_one(stem):
    profile = dict(SHIPPED[stem])
    switches = profile.pop("switches", {})
    check_schema(profile, SCHEMA, complete=True)
    for overlay in switches.values():
        assert overlay
        check_schema(overlay, SCHEMA, complete=False)


@every_file
def test_every_line_of_data_carries_a_comment(stem):
    for number, line in enumerate(TEXTS[stem].splitlines(), 1):
        if line and not line.startswith(("#", "[")) and line != "]":
            assert re.search(r"  # \S.{5,}", line), f"{stem}.toml:{number}: {line}"
        assert len(line) <= 120, f"{stem}.toml:{number}"


@every_file
def test_every_switch_names_its_source(stem):
    for name in SHIPPED[stem].get("switches", {}):
        before, after = TEXTS[stem].split(f"\n[switches.{name}]\n")
        reason = before.rpartition("\n\n")[2] + after.partition("\n\n")[0]
        assert before.rpartition("\n")[2].startswith("# "), name
        assert SOURCED.search(reason), name


@every_file
def test_most_lines_cite_a_clause_or_a_measurement(stem):
    comments = re.findall(r"  # (.*)", TEXTS[stem])
    cited = [comment for comment in comments if SOURCED.search(comment)]
    assert len(cited) * 2 > len(comments)


@every_file
def test_a_switch_changes_something(stem):
    profile = SHIPPED[stem]
    for name in profile.get("switches", {}):
        assert under(profile, name) != under(profile), name
