"""pkilint (a public X.509 linter) on CA certificates and on a sample of leafs: 8 ms each, loaded when first used."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pki_core.model.errors import LintError
from pki_core.model.profiles import Profile

# ISO 15118's own shapes, seen on every certificate: DC=V2G|CPO|MO|OEM|CPS is no DNS name, and which RFC 5280 method
# made a key identifier is information, not a fault.
_NOISE = frozenset(
    {
        "pkix.name_domain_components_invalid_domain_name",
        "pkix.subject_key_identifier_method_1_identified",
        "pkix.subject_key_identifier_method_2_identified",
    }
)


def public_lint(certificate_der: bytes) -> list[str]:
    """Return the codes of pkilint's findings, all severities."""
    from pkilint import loader  # noqa: PLC0415  # 0.4 s to import

    document = loader.RFC5280CertificateDocumentLoader().load_der_document(certificate_der)
    results = _container().validate(document.root)
    return [finding.finding.code for result in results for finding in result.finding_descriptions]


def refuse_findings(certificates: Iterable[bytes], profile: Profile) -> None:
    """Raise LintError when pkilint finds anything the profile does not cause on purpose."""
    expected = _NOISE | set(profile.expected_lint_codes)
    for certificate_der in certificates:
        unexpected = [code for code in public_lint(certificate_der) if code not in expected]
        if unexpected:
            raise LintError(f"profile {profile.id}: pkilint reports {', '.join(sorted(set(unexpected)))}")


@lru_cache(maxsize=1)
def _container() -> Any:  # noqa: ANN401  # pkilint is not typed
    from pkilint.pkix import certificate, extension, name  # noqa: PLC0415  # 0.4 s to import

    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
