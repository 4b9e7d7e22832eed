"""The key of the web server (RFC 8446 4.4.3): a software key, since every process signs handshakes with it."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


def new_tls_key() -> tuple[str, bytes]:
    """Return a new P-256 key as PKCS#8 PEM, not encrypted, and its public half as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
    return pem, key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certificate_with_key(pem: bytes) -> bytes | None:
    """Return the certificate (DER) of a PEM text that holds a key and its certificate; None when they do not fit."""
    try:
        key = load_pem_private_key(pem, None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError):  # TypeError: an encrypted key, which is none of ours
        return None
    if key.public_key() != certificate.public_key():
        return None
    return certificate.public_bytes(Encoding.DER)
