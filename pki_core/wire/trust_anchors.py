"""Certificates of other people's CAs: does a device certificate end at one of these trust anchors (RFC 5280 6)?"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from pki_core.model.errors import SettingsError
from pki_core.wire.unreadable import BY_CRYPTOGRAPHY


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchors:
    """Self-signed CA certificates, and others below them that devices do not send."""

    roots: tuple[x509.Certificate, ...]
    below: tuple[x509.Certificate, ...]


def read_trust_anchors(path: Path) -> TrustAnchors:
    """Read a PEM file of CA certificates.

    Raises:
        SettingsError: it cannot be read, or holds no self-signed one.
    """
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"the trust anchors in {path} cannot be read: {type(error).__name__}") from error
    roots = tuple(one for one in certificates if one.issuer == one.subject)
    if not roots:
        raise SettingsError(f"{path} holds no self-signed CA certificate")
    return TrustAnchors(roots=roots, below=tuple(one for one in certificates if one.issuer != one.subject))


def path_to_anchor(certificate_der: bytes, anchors: TrustAnchors, now: datetime) -> tuple[bytes, ...]:
    """Return a path of certificates valid at this moment, from a client certificate to an anchor; () = none."""
    policy = PolicyBuilder().store(Store(list(anchors.roots))).time(now)
    # Device certificates have no alternative names, and often no extended key usage; their CAs are held to the web's.
    policy = policy.extension_policies(
        ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
    )
    try:
        leaf = x509.load_der_x509_certificate(certificate_der)
        verified = policy.build_client_verifier().verify(leaf, list(anchors.below))
    except (*BY_CRYPTOGRAPHY, VerificationError):
        return ()
    return tuple(one.public_bytes(Encoding.DER) for one in verified.chain)
