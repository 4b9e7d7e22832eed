"""Certificate extensions (RFC 5280 4.2): encoded by cryptography, read back by asn1crypto for the lints.

Two libraries on purpose: a fault in one encoder does not hide in its own decoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from pki_core.model.errors import MalformedError
from pki_core.model.profiles import Extensions, KeyUsage
from pki_core.wire.unreadable import BY_ASN1CRYPTO

_KEY_USAGE_ARGUMENT = {
    KeyUsage.DIGITAL_SIGNATURE: "digital_signature",
    KeyUsage.NON_REPUDIATION: "content_commitment",
    KeyUsage.KEY_ENCIPHERMENT: "key_encipherment",
    KeyUsage.DATA_ENCIPHERMENT: "data_encipherment",
    KeyUsage.KEY_AGREEMENT: "key_agreement",
    KeyUsage.KEY_CERT_SIGN: "key_cert_sign",
    KeyUsage.CRL_SIGN: "crl_sign",
}
_KEY_USAGE_READ = {
    "digital_signature": KeyUsage.DIGITAL_SIGNATURE,
    "non_repudiation": KeyUsage.NON_REPUDIATION,
    "key_encipherment": KeyUsage.KEY_ENCIPHERMENT,
    "data_encipherment": KeyUsage.DATA_ENCIPHERMENT,
    "key_agreement": KeyUsage.KEY_AGREEMENT,
    "key_cert_sign": KeyUsage.KEY_CERT_SIGN,
    "crl_sign": KeyUsage.CRL_SIGN,
}

BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
AUTHORITY_INFORMATION_ACCESS = "1.3.6.1.5.5.7.1.1"
CRL_DISTRIBUTION_POINTS = "2.5.29.31"
CERTIFICATE_POLICIES = "2.5.29.32"
OCSP_NO_CHECK = "1.3.6.1.5.5.7.48.1.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionValues:
    """What the extensions of one certificate say, as plain values; None = the extension is absent."""

    critical: frozenset[str]
    basic_constraints: tuple[bool, int | None] | None = None
    key_usage: frozenset[KeyUsage] | None = None
    extended_key_usage: tuple[str, ...] | None = None
    authority_key_identifier: bytes | None = None
    ocsp_urls: tuple[str, ...] = ()
    ca_issuers_urls: tuple[str, ...] = ()
    crl_urls: tuple[str, ...] | None = None
    policies: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    ocsp_no_check: bool = False
    alternative_names: tuple[str, ...] = ()


def constant_extensions(
    extensions: Extensions, issuer_label: str, issuer_key_identifier: bytes
) -> list[tuple[x509.ObjectIdentifier, bool, bytes]]:
    """Return (id, critical, value) of every extension that no request changes; basic constraints come first."""
    usage = {argument: bit in extensions.key_usage for bit, argument in _KEY_USAGE_ARGUMENT.items()}
    built: list[tuple[x509.ExtensionType, bool]] = [
        # RFC 5280 4.2.1.9 and [V2G2-009]: present and critical, on leafs too.
        (x509.BasicConstraints(ca=extensions.ca, path_length=extensions.path_length), True),
        (x509.KeyUsage(**usage, encipher_only=False, decipher_only=False), True),
    ]
    if extensions.authority_key_identifier:
        built.append((x509.AuthorityKeyIdentifier(issuer_key_identifier, None, None), False))
    if extensions.extended_key_usage:
        purposes = [x509.ObjectIdentifier(oid) for oid in extensions.extended_key_usage]
        built.append((x509.ExtendedKeyUsage(purposes), extensions.extended_key_usage_critical))
    if access := _access_descriptions(extensions, issuer_label):
        built.append((x509.AuthorityInformationAccess(access), False))
    if extensions.crl_url:
        name = x509.UniformResourceIdentifier(extensions.crl_url.format(issuer=issuer_label))
        built.append((x509.CRLDistributionPoints([x509.DistributionPoint([name], None, None, None)]), False))
    if extensions.policy_oids:
        qualifiers = [extensions.cps_uri] if extensions.cps_uri else None
        policies = [x509.PolicyInformation(x509.ObjectIdentifier(oid), qualifiers) for oid in extensions.policy_oids]
        built.append((x509.CertificatePolicies(policies), False))
    if extensions.ocsp_no_check:
        built.append((x509.OCSPNoCheck(), False))
    return [(extension.oid, critical, extension.public_bytes()) for extension, critical in built]


def alternative_names_value(names: tuple[str, ...]) -> bytes:
    """Return the value of a subject alternative name extension: IP addresses and, what is none, DNS names.

    Raises:
        ValueError: a name is not ASCII.
    """
    return x509.SubjectAlternativeName([_general_name(name) for name in names]).public_bytes()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _access_descriptions(extensions: Extensions, issuer_label: str) -> list[x509.AccessDescription]:
    methods = [
        (AuthorityInformationAccessOID.OCSP, extensions.ocsp_url),
        (AuthorityInformationAccessOID.CA_ISSUERS, extensions.ca_issuers_url),
    ]
    return [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url.format(issuer=issuer_label)))
        for method, url in methods
        if url
    ]


@lru_cache(maxsize=256)
def read_extensions(extensions: tuple[tuple[str, bool, bytes], ...]) -> ExtensionValues:
    """Read (id, critical, value) extensions; a subject key identifier is left to the caller.

    Raises:
        MalformedError: a value does not decode, an id is unknown or stands twice.
    """
    ids = [oid for oid, _, _ in extensions]
    if len(set(ids)) != len(ids):
        raise MalformedError("an extension stands twice")  # RFC 5280 4.2
    found: dict[str, object] = {}
    for oid, _, value in extensions:
        if oid not in _READERS:
            raise MalformedError(f"the extension {oid} is not one of ours")
        structure, reader = _READERS[oid]
        try:
            decoded = structure.load(value, strict=True)
            found.update(reader(decoded))
            is_der = decoded.dump(force=True) == value  # asn1crypto also reads BER, and passes over what it need not
        except BY_ASN1CRYPTO as error:
            raise MalformedError(f"the extension {oid} does not decode") from error
        if not is_der:
            raise MalformedError(f"the extension {oid} is not DER, or holds more than it should")
    critical = frozenset(oid for oid, is_critical, _ in extensions if is_critical)
    return ExtensionValues(critical=critical, **found)  # type: ignore[arg-type]


def _read_basic_constraints(value: asn1_x509.BasicConstraints) -> dict[str, object]:
    return {"basic_constraints": (value["ca"].native, value["path_len_constraint"].native)}


def _read_key_usage(value: asn1_x509.KeyUsage) -> dict[str, object]:
    return {"key_usage": frozenset(_KEY_USAGE_READ[bit] for bit in value.native)}


def _read_extended_key_usage(value: asn1_x509.ExtKeyUsageSyntax) -> dict[str, object]:
    return {"extended_key_usage": tuple(purpose.dotted for purpose in value)}


def _read_authority_key_identifier(value: asn1_x509.AuthorityKeyIdentifier) -> dict[str, object]:
    if len([part for part in value.native.values() if part is not None]) > 1:
        raise ValueError("names the issuer's certificate beside its key")
    return {"authority_key_identifier": value["key_identifier"].native}


def _read_access(value: asn1_x509.AuthorityInfoAccessSyntax) -> dict[str, object]:
    urls: dict[str, list[str]] = {"ocsp": [], "ca_issuers": []}
    for description in value:
        urls[description["access_method"].native].append(description["access_location"].native)
    return {"ocsp_urls": tuple(urls["ocsp"]), "ca_issuers_urls": tuple(urls["ca_issuers"])}


def _read_crl_points(value: asn1_x509.CRLDistributionPoints) -> dict[str, object]:
    if any(point["reasons"].native is not None or point["crl_issuer"].native is not None for point in value):
        raise ValueError("a distribution point for some reasons or of another issuer")
    return {"crl_urls": tuple(name for point in value for name in point["distribution_point"].native)}


def _read_alternative_names(value: asn1_x509.GeneralNames) -> dict[str, object]:
    if any(name.name not in {"dns_name", "ip_address"} for name in value):
        raise ValueError("an alternative name is neither a DNS name nor an IP address")
    return {"alternative_names": tuple(name.native for name in value)}


def _read_policies(value: asn1_x509.CertificatePolicies) -> dict[str, object]:
    return {
        "policies": tuple(
            (
                policy["policy_identifier"].dotted,
                tuple(qualifier["qualifier"] for qualifier in policy["policy_qualifiers"].native or ()),
            )
            for policy in value
        )
    }


def _read_no_check(_value: core.Null) -> dict[str, object]:
    return {"ocsp_no_check": True}


_READERS: dict[str, tuple[Any, Callable[[Any], dict[str, object]]]] = {
    BASIC_CONSTRAINTS: (asn1_x509.BasicConstraints, _read_basic_constraints),
    KEY_USAGE: (asn1_x509.KeyUsage, _read_key_usage),
    EXTENDED_KEY_USAGE: (asn1_x509.ExtKeyUsageSyntax, _read_extended_key_usage),
    SUBJECT_ALTERNATIVE_NAME: (asn1_x509.GeneralNames, _read_alternative_names),
    AUTHORITY_KEY_IDENTIFIER: (asn1_x509.AuthorityKeyIdentifier, _read_authority_key_identifier),
    AUTHORITY_INFORMATION_ACCESS: (asn1_x509.AuthorityInfoAccessSyntax, _read_access),
    CRL_DISTRIBUTION_POINTS: (asn1_x509.CRLDistributionPoints, _read_crl_points),
    CERTIFICATE_POLICIES: (asn1_x509.CertificatePolicies, _read_policies),
    OCSP_NO_CHECK: (core.Null, _read_no_check),
}
