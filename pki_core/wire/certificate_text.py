"""Certificates for people: names in one line (RFC 4514 order reversed, as operators write them).

Read with asn1crypto, which also accepts the field's real certificates with an explicit ``cA FALSE``.
"""

from asn1crypto import x509

from pki_core.model.errors import MalformedError
from pki_core.wire.unreadable import BY_ASN1CRYPTO

_SHORT = {
    "common_name": "CN",
    "country_name": "C",
    "organization_name": "O",
    "organizational_unit_name": "OU",
    "domain_component": "DC",
    "locality_name": "L",
    "state_or_province_name": "ST",
}


def subject_text(certificate_der: bytes) -> str:
    """Return the subject as ``CN=..., DC=..., O=..., C=...``.

    Raises:
        MalformedError: the bytes are not a certificate.
    """
    try:
        subject = x509.Certificate.load(certificate_der, strict=True).subject
        parts = [
            f"{_SHORT.get(attribute['type'].native, attribute['type'].dotted)}={attribute['value'].native}"
            for rdn in subject.chosen
            for attribute in rdn
        ]
    except BY_ASN1CRYPTO as error:
        raise MalformedError("not a DER certificate") from error
    return ", ".join(reversed(parts))
