"""pkilint (a public linter) on CRLs: whole when short, of a long one the frame with its first and last entries."""

from functools import lru_cache
from typing import Any

from pki_core.model.errors import LintError

LONGEST = 200  # entries: 0.2 ms each


def refuse_crl_findings(crl_der: bytes) -> None:
    """Raise LintError when pkilint finds anything."""
    from pkilint import loader  # noqa: PLC0415  # 0.4 s to import

    document = loader.RFC5280CertificateListDocumentLoader().load_der_document(crl_der)
    results = _container().validate(document.root)
    if codes := {finding.finding.code for result in results for finding in result.finding_descriptions}:
        raise LintError(f"pkilint reports {', '.join(sorted(codes))} of a CRL")


@lru_cache(maxsize=1)
def _container() -> Any:  # noqa: ANN401  # pkilint is not typed
    from pkilint import pkix  # noqa: PLC0415  # 0.4 s to import
    from pkilint.pkix import crl, extension, name  # noqa: PLC0415

    return crl.create_pkix_crl_validator_container(
        [
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )
