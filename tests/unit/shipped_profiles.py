"""The shipped profile files as plain TOML, their kinds, and what their switches make of them."""

import tomllib
from itertools import product
from pathlib import Path

import pytest

import pki_core.issuance

FOLDER = Path(pki_core.issuance.__file__).parent / "profiles"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.toml"))}
SHIPPED = {stem: tomllib.loads(text) for stem, text in TEXTS.items()}
PROFILES = {stem: raw for stem, raw in SHIPPED.items() if raw["edition"] != "rfc5280"}  # those of ISO 15118
BRANCHES = ("cpo", "mo", "oem", "cps")
LEAF_BRANCHES = {"evse_leaf": "cpo", "contract_leaf": "mo", "oem_provisioning_leaf": "oem", "cps_leaf": "cps"}
SUB_CAS = tuple(f"{branch}_{level}" for branch, level in product(BRANCHES, ("sub1", "sub2")))
KINDS = ("v2g_root", *SUB_CAS, *LEAF_BRANCHES, "ocsp_responder")
ED448_LEAFS = ("evse_leaf", "contract_leaf", "oem_provisioning_leaf")  # their key usage depends on the algorithm
every_profile = pytest.mark.parametrize("stem", PROFILES)
every_file = pytest.mark.parametrize("stem", SHIPPED)


def of(edition):
    return {stem: profile for stem, profile in SHIPPED.items() if profile["edition"] == edition}


def under(profile, *names):
    """The profile with these switches turned on."""
    merged = {key: value for key, value in profile.items() if key != "switches"}
    for name in names:
        for key, value in profile.get("switches", {}).get(name, {}).items():
            merged[key] = {**merged[key], **value} if isinstance(value, dict) else value
    return merged


def all_forms(profile):
    """The profile as it stands, under each of its switches, and under all of them."""
    names = list(profile.get("switches", {}))
    return [under(profile), *(under(profile, name) for name in names), under(profile, *names)]
