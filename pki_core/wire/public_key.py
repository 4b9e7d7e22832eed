"""Public keys as DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7, RFC 5480, RFC 8410): read, written, weak ones refused."""

import hashlib
from functools import lru_cache
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from pki_core.model.errors import CsrRejectedError
from pki_core.model.signer import KeyAlgorithm

PublicKey = ec.EllipticCurvePublicKey | ed448.Ed448PublicKey

_CURVES = frozenset({"secp256r1", "secp521r1"})
# RFC 5480 2.1.1, 2.2: a curve by name and an uncompressed point. All that stands before its coordinates is constant.
_SPKI_HEADS = {
    KeyAlgorithm.SECP256R1: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
    KeyAlgorithm.SECP521R1: bytes.fromhex("30819b301006072a8648ce3d020106052b810400230381860004"),
}
_ED448_PRIME = (1 << 448) - (1 << 224) - 1
# RFC 8032 5.2: the points of order 1, 2 and 4 have y = 1, -1 and 0; the last two are 0 and 1 again, not reduced.
_ED448_SMALL_ORDER = frozenset(
    y.to_bytes(56, "little") for y in (0, 1, _ED448_PRIME - 1, _ED448_PRIME, _ED448_PRIME + 1)
)


def load_public_key(spki_der: bytes) -> tuple[KeyAlgorithm, PublicKey]:
    """Load a subject public key; OpenSSL checks that the point lies on its curve.

    Raises:
        CsrRejectedError: ``key.type_not_allowed`` or ``key.invalid`` (off the curve, at infinity, not decodable, or
            in another encoding than readers in the field know).
    """
    try:
        key = load_der_public_key(spki_der)
    except UnsupportedAlgorithm as error:
        raise CsrRejectedError("key.type_not_allowed", "The key's type or curve is not one ISO 15118 uses.") from error
    except ValueError as error:
        raise CsrRejectedError("key.invalid", "The public key is not a valid point of its curve.") from error
    return _known(key, spki_der)


def key_of_certificate(certificate: x509.Certificate) -> tuple[KeyAlgorithm, PublicKey, bytes]:
    """Return a certificate's key, as ``load_public_key`` does, and its DER SubjectPublicKeyInfo.

    Raises:
        ValueError, UnsupportedAlgorithm: cryptography does not read the key.
        CsrRejectedError: it is none that ISO 15118 uses.
    """
    key = certificate.public_key()
    spki_der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return *_known(key, spki_der), spki_der


def _known(key: object, spki_der: bytes) -> tuple[KeyAlgorithm, PublicKey]:
    for algorithm, head in _SPKI_HEADS.items():
        if spki_der.startswith(head):
            return algorithm, cast("ec.EllipticCurvePublicKey", key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in _CURVES:
            raise CsrRejectedError("key.invalid", "The public key is not an uncompressed point of a curve by name.")
        raise CsrRejectedError("key.type_not_allowed", f"The curve {key.curve.name} is not one ISO 15118 uses.")
    if isinstance(key, ed448.Ed448PublicKey):
        return KeyAlgorithm.ED448, key
    kind = type(key).__name__.lstrip("_").removesuffix("PublicKey")
    raise CsrRejectedError("key.type_not_allowed", f"{kind} keys are not used in ISO 15118.")


@asn1.sequence
class _SubjectPublicKeyInfo:
    algorithm: asn1.TLV
    key: asn1.BitString


def key_bits_of(spki_der: bytes) -> bytes:
    """Return the content of the subjectPublicKey BIT STRING (RFC 5280 4.2.1.2 hashes these octets)."""
    for head in _SPKI_HEADS.values():
        if spki_der.startswith(head):
            return spki_der[len(head) - 1 :]  # the 04 of an uncompressed point belongs to the key
    return asn1.decode_der(_SubjectPublicKeyInfo, spki_der).key.as_bytes()


def refuse_weak_key(algorithm: KeyAlgorithm, spki_der: bytes) -> None:
    """Refuse a key whose private half is public knowledge: the first multiples of the generator and their negatives.

    Or that needs none: signatures under an Ed448 point of small order verify without anybody's private key.

    Raises:
        CsrRejectedError: ``key.weak``.
    """
    if algorithm is KeyAlgorithm.ED448:
        weak = spki_der[-57:-1] in _ED448_SMALL_ORDER  # without the octet that holds the sign of x
    else:
        weak = _without_y(spki_der) in _guessable(algorithm)
    if weak:
        raise CsrRejectedError("key.weak", "The private half of this key can be guessed.")


@lru_cache(maxsize=2)
def _guessable(algorithm: KeyAlgorithm) -> frozenset[bytes]:
    curve = ec.SECP256R1() if algorithm is KeyAlgorithm.SECP256R1 else ec.SECP521R1()
    keys = (ec.derive_private_key(scalar, curve).public_key() for scalar in range(1, 33))
    return frozenset(_without_y(spki_of(key)) for key in keys)


def _without_y(spki_der: bytes) -> bytes:
    """Return an uncompressed point's key without its second coordinate: equal for a private key and its negative."""
    for head in _SPKI_HEADS.values():
        if spki_der.startswith(head):
            return spki_der[: (len(head) + len(spki_der)) // 2]
    return spki_der


def spki_of(key: PublicKey) -> bytes:
    """Return a public key as DER SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_name(spki_der: bytes) -> str:
    """Return the name that a public key is remembered by: SHA-256 of its DER, in hexadecimal."""
    return hashlib.sha256(spki_der).hexdigest()


def example_spki(algorithm: KeyAlgorithm) -> bytes:
    """Return a public key that nobody owns alone, for measuring sizes: that of the smallest private one."""
    if algorithm is KeyAlgorithm.ED448:
        return spki_of(ed448.Ed448PrivateKey.from_private_bytes(bytes(57)).public_key())
    curve = ec.SECP256R1() if algorithm is KeyAlgorithm.SECP256R1 else ec.SECP521R1()
    return spki_of(ec.derive_private_key(1, curve).public_key())
