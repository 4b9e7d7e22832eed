"""The hierarchy of a new environment, as ceremony files.

One V2G root an edition and algorithm with four branches and the signer of the provisioning service below; apart from
them the root of our own TLS certificates.
"""

import json
from dataclasses import dataclass

from pki_core.model.ceremonies import Act, CeremonyPlan
from pki_core.model.signer import KeyAlgorithm

TLS_ROOT = "tls-root"  # the CA of our own TLS: the web server, and the clients of partners
_BRANCHES = {"cpo": "CPO", "mo": "MO", "oem": "OEM", "cps": "Prov"}  # the names real V2G hierarchies use


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyNames:
    """What every CA of an environment is called."""

    environment: str
    organization: str
    country: str
    witnesses: tuple[str, ...]


def plan_hierarchy(names: HierarchyNames, *, ed448: bool) -> list[tuple[str, str]]:
    """Return (file name, content) of the ceremony files that make a whole environment, in the order to run them."""
    generations = [("", "", KeyAlgorithm.SECP256R1, ""), ("_20", "-20", KeyAlgorithm.SECP521R1, " -20")]
    if ed448:
        generations.append(("_20", "-20-ed448", KeyAlgorithm.ED448, " -20 Ed448"))
    plans = []
    for profile_suffix, label_suffix, algorithm, title in generations:
        root = f"v2g-root{label_suffix}"
        cas = [(Act.CREATE_ROOT, root, "v2g_root", "", "V2G Root CA")]
        for branch, printed in _BRANCHES.items():
            upper = f"{branch}-sub1{label_suffix}"
            cas.append((Act.CREATE_SUB_CA, upper, f"{branch}_sub1", root, f"{printed} Sub1 CA"))
            cas.append(
                (Act.CREATE_SUB_CA, f"{branch}-sub2{label_suffix}", f"{branch}_sub2", upper, f"{printed} Sub2 CA")
            )
        plans += [
            _plan(names, (act, algorithm), (label, parent), profile + profile_suffix, common_name + title)
            for act, label, profile, parent, common_name in cas
        ]
        signer = (f"cps-signer{label_suffix}-1", f"cps-sub2{label_suffix}")
        act = (Act.CREATE_CPS_SIGNER, algorithm)
        plans.append(_plan(names, act, signer, f"cps_leaf{profile_suffix}", f"CPS 1{title}"))
    plans.append(_plan(names, (Act.CREATE_ROOT, KeyAlgorithm.SECP256R1), (TLS_ROOT, ""), "tls_root", "TLS Root CA"))
    return [(f"{number:02d}-{plan.label}.toml", ceremony_file(plan)) for number, plan in enumerate(plans, start=1)]


def _plan(
    names: HierarchyNames, what: tuple[Act, KeyAlgorithm], where: tuple[str, str], profile: str, common_name: str
) -> CeremonyPlan:
    (act, algorithm), (label, parent) = what, where
    return CeremonyPlan(
        act=act,
        environment=names.environment,
        label=label,
        profile=profile,
        parent=parent,
        key_label=label,
        algorithm=algorithm,
        common_name=common_name,
        organization=names.organization,
        country=names.country,
        witnesses=names.witnesses,
        sha256="",
    )


def ceremony_file(plan: CeremonyPlan) -> str:
    """Return the file of a plan, as two witnesses would review it."""
    # A JSON string is a TOML basic string.
    texts = {
        name: json.dumps(str(getattr(plan, name)), ensure_ascii=False)
        for name in ("act", "environment", "label", "profile", "parent", "key_label", "algorithm")
    }
    names = {name: json.dumps(getattr(plan, name), ensure_ascii=False) for name in ("common_name", "organization")}
    same_name = f"same_name_as = {json.dumps(plan.same_name_as)}\n" if plan.same_name_as else ""
    return f"""\
# One act. Read every line, agree on this file's SHA-256, then: pncpki ceremony run FILE
act = {texts["act"]}
environment = {texts["environment"]}
label = {texts["label"]}  # becomes part of URLs and file names; never used again
profile = {texts["profile"]}
parent = {texts["parent"]}
key_label = {texts["key_label"]}  # in the token
algorithm = {texts["algorithm"]}
common_name = {names["common_name"]}
organization = {names["organization"]}
country = {json.dumps(plan.country)}
witnesses = {json.dumps(list(plan.witnesses), ensure_ascii=False)}
{same_name}"""
