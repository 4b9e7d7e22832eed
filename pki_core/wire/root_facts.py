"""Root certificates as the Root Certificate Pool shows them (RFC 5280 4.1.2): names, serial, key identifier.

Read with asn1crypto: other people's roots are as they are.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from asn1crypto import x509

from pki_core.model.errors import MalformedError
from pki_core.wire.certificate_text import subject_text
from pki_core.wire.unreadable import BY_ASN1CRYPTO

_ALGORITHMS = {"1.2.840.10045.4.3.2": "secp256r1", "1.2.840.10045.4.3.4": "secp521r1", "1.3.101.113": "ed448"}
_KEPT = 256  # a pool has tens of roots


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFacts:
    """What clients show and compare of a root; the certificate itself counts."""

    distinguished_name: str
    common_name: str
    organization: str
    serial: str  # hexadecimal, lower case, no leading zeros
    key_identifier: bytes  # of its key, which is what stands in the certificates below it
    signature_algorithm: str  # as ISO 15118 clients name it; "" = none of theirs
    sha256: str
    sha1: str


@lru_cache(maxsize=_KEPT)
def read_root_facts(certificate_der: bytes) -> RootFacts:
    """Read a root certificate; MalformedError when it is none."""
    try:
        parsed = x509.Certificate.load(certificate_der, strict=True)
        names = {
            attribute["type"].native: str(attribute["value"].native)
            for rdn in parsed.subject.chosen
            for attribute in rdn
        }
        serial, identifier = parsed.serial_number, parsed.key_identifier
        if identifier is None:  # RFC 5280 4.2.1.2, method 1
            identifier = hashlib.sha1(bytes(parsed.public_key["public_key"])).digest()  # noqa: S324  # a name, no proof
        algorithm = parsed["signature_algorithm"]["algorithm"].dotted
    except BY_ASN1CRYPTO as error:
        raise MalformedError("not a DER certificate") from error
    return RootFacts(
        distinguished_name=subject_text(certificate_der),
        common_name=names.get("common_name", ""),
        organization=names.get("organization_name", ""),
        serial=f"{serial:x}",
        key_identifier=identifier,
        signature_algorithm=_ALGORITHMS.get(algorithm, ""),
        sha256=hashlib.sha256(certificate_der).hexdigest(),
        sha1=hashlib.sha1(certificate_der).hexdigest(),  # noqa: S324  # informative, as OPCP shows it
    )
