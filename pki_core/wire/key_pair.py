"""Key pairs made here for somebody else (RFC 7030 4.4, RFC 5958): in software, because the key must leave us."""

from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.public_key import spki_of

_CURVES = {KeyAlgorithm.SECP256R1: ec.SECP256R1(), KeyAlgorithm.SECP521R1: ec.SECP521R1()}


def new_key_pair(algorithm: KeyAlgorithm) -> tuple[bytes, bytes]:
    """Return a new private key as DER PrivateKeyInfo, and its public half as DER SubjectPublicKeyInfo."""
    key = (
        ed448.Ed448PrivateKey.generate()
        if algorithm is KeyAlgorithm.ED448
        else ec.generate_private_key(_CURVES[algorithm])
    )
    private_key_der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return private_key_der, spki_of(key.public_key())
