"""A public linter's opinion (pkilint): nothing but the codes that ISO 15118 itself or a documented switch explains."""

import subprocess
import sys
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from pki_core.issuance.public_lint import public_lint
from tests.builders import MemorySigner, draft, issuer_for, prepare, profile, profiles

pytest_plugins = ["tests.journeys.environments"]

DOMAIN_COMPONENT = "pkix.name_domain_components_invalid_domain_name"  # DC=MO is a role, not a DNS domain
KEY_ENCIPHERMENT = "pkix.key_usage_value_prohibited_for_ec"  # ISO 15118-2 Annex F asks for it in contract leafs
TIME_TYPE = "pkix.wrong_time_useful_type"  # the switch iso20_generalized_time
POLICY_QUALIFIER = "pkix.certificate_policies_policy_has_qualifier"  # the switch iso20_cps_qualifier
INFORMATION = {
    "pkix.subject_key_identifier_method_1_identified",
    "pkix.subject_key_identifier_method_2_identified",
}


@cache
def linter():
    """pkilint's validators, put together here once more: the code under test has its own."""
    from pkilint import loader
    from pkilint.pkix import certificate, extension, name

    container = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
    return loader.RFC5280CertificateDocumentLoader(), container


def findings(certificate_der):
    loader, container = linter()
    results = container.validate(loader.load_der_document(certificate_der).root)
    return {description.finding.code for result in results for description in result.finding_descriptions}


def explained(wanted):
    """What a profile causes, from what it says: the only codes its certificates may have."""
    codes = set()
    if wanted.subject.domain_component:
        codes.add(DOMAIN_COMPONENT)
    if "keyEncipherment" in wanted.extensions.key_usage:
        codes.add(KEY_ENCIPHERMENT)
    if wanted.generalized_time_always:
        codes.add(TIME_TYPE)
    if wanted.extensions.cps_uri:
        codes.add(POLICY_QUALIFIER)
    return codes


def test_every_kind_has_the_explained_findings_and_no_other(every_kind):
    for one in every_kind:
        found = findings(one.certificate_der) - INFORMATION
        wanted = profile(one.profile)
        assert found == explained(wanted), f"{one.profile} {one.label}"
        assert explained(wanted) <= set(wanted.expected_lint_codes)


def forms():
    """Every profile under each of its switches and under all of them, where that changes it."""
    for name, plain in profiles().items():
        seen = {plain}
        for switches in [*((switch,) for switch in all_switches()), tuple(all_switches())]:
            switched = profile(name, *switches)
            if switched not in seen:
                seen.add(switched)
                yield pytest.param(switched, id=f"{name}+{'+'.join(switches) if len(switches) == 1 else 'all'}")


@cache
def all_switches():
    folder = files("pki_core.issuance").joinpath("profiles")
    documents = (tomllib.loads(entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return sorted({switch for document in documents for switch in document.get("switches", {})})


@pytest.mark.parametrize("wanted", [*forms()])
def test_a_switch_causes_its_documented_findings_and_no_other(wanted):
    signer = MemorySigner(wanted.key_algorithms[0])
    component = (("DC", wanted.subject.domain_component),) if wanted.subject.domain_component else ()
    subject = (("C", "DE"), ("O", "Test Mobility Ltd"), *component, ("CN", "DEPNCC00000001A"))
    issuer = issuer_for(wanted, signer=signer)
    (one,) = prepare(issuer, wanted, draft(subject=subject, key=signer.key))
    (certificate_der,) = issuer.sign([one])
    found = findings(certificate_der) - INFORMATION
    assert found == explained(wanted)
    assert found <= set(wanted.expected_lint_codes)
    assert len(certificate_der) <= wanted.max_der_octets


def test_our_own_call_of_pkilint_finds_the_same(every_kind):
    for one in {one.profile: one for one in every_kind}.values():
        assert set(public_lint(one.certificate_der)) == findings(one.certificate_der)


@pytest.mark.slow
def test_the_command_of_pkilint_agrees_on_issuer_and_leaf(every_kind, tmp_path):
    leaf = next(one for one in every_kind if one.profile == "contract_leaf")
    paths = []
    for number, der in enumerate((leaf.chain[0], leaf.certificate_der)):
        paths.append(tmp_path / f"{number}.der")
        paths[-1].write_bytes(der)
    command = Path(sys.executable).with_name("lint_pkix_signer_signee_cert_chain")
    result = subprocess.run([command, "lint", *paths], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr
