"""Contract keys made for vehicles (ISO 15118-2 7.9.2.4.3, ISO 15118-20 7.9.2.5): born, wrapped and forgotten here.

A key lives in a ``NewContractKey`` from its making until it is wrapped: nothing else returns, prints or stores it.

For vehicles with an Ed448 certificate ISO 15118-20 wraps 56 octets with X448, but an Ed448 private key is a seed of
57. What has 56 octets is the scalar that follows from the seed (RFC 8032 5.2.5): it is a private key of X448 as well,
and the map of RFC 7748 4.2 leads from the one public key to the other. So the scalar is what is wrapped, and a vehicle
whose certificate names no X448 key agrees with the image of its Ed448 key.
"""

import hashlib
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x448
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import NameOID

from pki_core.model.contracts import AadForm, KeyEnvelope
from pki_core.model.errors import CsrRejectedError, InvariantError, MalformedError
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.contract_envelope import ContractKey, VehiclePublicKey, associated_data, wrap_2, wrap_20
from pki_core.wire.pool_certificate import alternative_public_key
from pki_core.wire.public_key import key_of_certificate, refuse_weak_key, spki_of
from pki_core.wire.unreadable import BY_CRYPTOGRAPHY

_CURVES: Final = {KeyAlgorithm.SECP256R1: ec.SECP256R1(), KeyAlgorithm.SECP521R1: ec.SECP521R1()}
_PRIME: Final = (1 << 448) - (1 << 224) - 1
_D: Final = -39081  # RFC 8032 5.2: the curve is x^2 + y^2 = 1 + d x^2 y^2
_SCALAR_OCTETS, _SEED_HASH_OCTETS = 56, 114
_SIGN_BIT: Final = 1 << 455  # of x, above the 448 bits of y
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1})  # u of all points of order 1, 2 and 4, on Curve448 and its twist


class NewContractKey:
    """A contract's key pair between its making and its wrapping."""

    __slots__ = ("_key", "spki_der")

    def __init__(self, algorithm: KeyAlgorithm) -> None:
        """Make a key pair."""
        self._key: ContractKey
        if algorithm is KeyAlgorithm.ED448:
            own = ed448.Ed448PrivateKey.generate()
            self.spki_der = spki_of(own.public_key())
            self._key = scalar_of(own)
        else:
            pair = ec.generate_private_key(_CURVES[algorithm])
            self.spki_der = spki_of(pair.public_key())
            self._key = pair

    def wrapped_2(self, vehicle_key: VehiclePublicKey) -> KeyEnvelope:
        """Return the private key encrypted for a vehicle of ISO 15118-2."""
        return wrap_2(self._key, vehicle_key)

    def wrapped_20(self, vehicle_key: VehiclePublicKey, form: AadForm, pcid: str, key_identifier: bytes) -> KeyEnvelope:
        """Return the private key encrypted for a vehicle of ISO 15118-20."""
        return wrap_20(self._key, vehicle_key, associated_data(form, pcid, key_identifier))

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: a key in a queue or a cache is one that is stored."""
        raise InvariantError("a contract's private key does not leave its process")


def vehicle_key_of(certificate_der: bytes) -> VehiclePublicKey:
    """Return what a vehicle agrees secrets with: the key of its certificate, or the X448 key that belongs to it.

    Raises:
        MalformedError: not a certificate with a key of ISO 15118, or with one that keeps no secret.
    """
    try:
        algorithm, key, spki_der = key_of_certificate(x509.load_der_x509_certificate(certificate_der))
        refuse_weak_key(algorithm, spki_der)
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("not a DER certificate with a key that is known") from error
    except CsrRejectedError as error:
        raise MalformedError(str(error)) from error
    if isinstance(key, ed448.Ed448PublicKey):
        return _alternative(certificate_der) or x448_of(key)
    return key


def check_agreement_key(algorithm: KeyAlgorithm, octets: bytes) -> None:
    """Hold an ephemeral public key (DHpublickey) to the curve on which a vehicle agrees the secret.

    Raises:
        MalformedError: it is no point of that curve, or one with which every secret is the same.
    """
    try:
        if algorithm is KeyAlgorithm.ED448:
            _of_large_order(x448.X448PublicKey.from_public_bytes(octets))
        else:
            ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[algorithm], octets)
    except (ValueError, MalformedError) as error:
        raise MalformedError("dHpublickey is no point of its curve, or one of small order") from error


def identity_of(certificate_der: bytes) -> tuple[str, KeyAlgorithm, bytes]:
    """Return the common name, the key's algorithm and the DER SubjectPublicKeyInfo of a vehicle's certificate.

    A tenth of what the whole certificate takes to read: the PCP knows the rest.

    Raises:
        MalformedError: not a certificate with one common name and a key of ISO 15118.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        algorithm, _, spki_der = key_of_certificate(certificate)
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("not a DER certificate with a name and a key that is known") from error
    except CsrRejectedError as error:
        raise MalformedError(str(error)) from error
    return str(name.value), algorithm, spki_der


def scalar_of(key: ed448.Ed448PrivateKey) -> x448.X448PrivateKey:
    """Return the secret scalar of an Ed448 key as an X448 key (RFC 8032 5.2.5 prunes as RFC 7748 5 does)."""
    octets = bytearray(hashlib.shake_256(key.private_bytes_raw()).digest(_SEED_HASH_OCTETS)[:_SCALAR_OCTETS])
    octets[0] &= 0xFC
    octets[-1] |= 0x80
    return x448.X448PrivateKey.from_private_bytes(bytes(octets))


def x448_of(key: ed448.Ed448PublicKey) -> x448.X448PublicKey:
    """Return the X448 public key with the same scalar: u = y^2 / x^2 (RFC 7748 4.2), x^2 from the curve's equation.

    Raises:
        MalformedError: the key is no point of its curve, or one of small order.
    """
    y = int.from_bytes(key.public_bytes_raw(), "little") & ~_SIGN_BIT
    square = y * y % _PRIME
    over, under = (square - 1) % _PRIME, (_D * square - 1) % _PRIME  # x^2 = over / under
    if y >= _PRIME or not over or pow(over * under, (_PRIME - 1) // 2, _PRIME) != 1:  # Euler: x^2 is a square
        raise MalformedError("the Ed448 key is no point of its curve, or one of small order")
    u = square * under * pow(over, -1, _PRIME) % _PRIME
    return _of_large_order(x448.X448PublicKey.from_public_bytes(u.to_bytes(_SCALAR_OCTETS, "little")))


def _alternative(certificate_der: bytes) -> x448.X448PublicKey | None:
    """Return the X448 key in subjectAltPublicKeyInfo (X.509 9.8), which Table B.7.2 gives provisioning certificates."""
    spki_der = alternative_public_key(certificate_der)
    if not spki_der:
        return None
    try:
        key = load_der_public_key(spki_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("the alternative public key cannot be read") from error
    return _of_large_order(key) if isinstance(key, x448.X448PublicKey) else None


def _of_large_order(key: x448.X448PublicKey) -> x448.X448PublicKey:
    """Return a key; MalformedError for those with which every secret that is agreed is zero (RFC 7748 6.2)."""
    if int.from_bytes(key.public_bytes_raw(), "little") % _PRIME in _SMALL_ORDER:
        raise MalformedError("the X448 key is a point of small order")
    return key
