"""The envelope of a contract's private key (ISO 15118-2 7.9.2.4.3, ISO 15118-20 7.9.2.5): wrapped for one vehicle.

An ephemeral key agrees a secret with the vehicle's static one (NIST SP 800-56A, C(1, 1)), the concatenation KDF makes
the session key of it, and AES encrypts the private key. The ephemeral private key never leaves ``wrap_2`` and
``wrap_20``; what fails says that it failed, and nothing of what it was about.
"""

import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x448
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki_core.model.contracts import AadForm, KeyEnvelope
from pki_core.model.errors import InvariantError, MalformedError, RequestError

VehiclePublicKey = ec.EllipticCurvePublicKey | x448.X448PublicKey
VehiclePrivateKey = ec.EllipticCurvePrivateKey | x448.X448PrivateKey
ContractKey = ec.EllipticCurvePrivateKey | x448.X448PrivateKey

ENVELOPE_2_OCTETS: Final = 48  # [V2G2-822]: IV, then the scalar
ENVELOPE_P521_OCTETS: Final = 94  # [V2G20-2499]: IV, scalar, tag
ENVELOPE_X448_OCTETS: Final = 84  # [V2G20-2502]
_OTHER_INFO: Final = bytes((0x01, 0x55, 0x56))  # [V2G2-818], [V2G20-2535]: algorithm 1, party U, party V
_CBC_IV, _GCM_IV = 16, 12
_P256_OCTETS, _P521_OCTETS = 32, 66
_UNCOMPRESSED: Final = b"\x04"  # SEC 1 2.3.3


def associated_data(form: AadForm, pcid: str, key_identifier: bytes) -> bytes:
    """Return what AES-GCM binds the key to: the vehicle's PCID and the contract certificate's subject key identifier.

    [V2G20-2492] counts 18 characters of a PCID and 16 of an identifier: capital hexadecimal digits of 8 octets.
    """
    match form:
        case AadForm.NONE:
            return b""
        case AadForm.PCID_SKI_RAW:
            return pcid.upper().encode("ascii") + key_identifier
        case AadForm.PCID_SKI_HEX:
            return (pcid.upper() + key_identifier.hex().upper()).encode("ascii")


def wrap_2(contract_key: ContractKey, vehicle_key: VehiclePublicKey) -> KeyEnvelope:
    """Encrypt a P-256 contract key for the P-256 key of an OEM provisioning certificate (ISO 15118-2).

    Raises:
        RequestError: the vehicle's key is another one than ISO 15118-2 knows.
        InvariantError: the contract's key is.
    """
    public = _on_curve(vehicle_key, "secp256r1")
    plain = _scalar(contract_key, "secp256r1", _P256_OCTETS)
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    iv = secrets.token_bytes(_CBC_IV)
    encryptor = Cipher(_session_cipher_2(ephemeral.exchange(ec.ECDH(), public)), modes.CBC(iv)).encryptor()
    return KeyEnvelope(
        dh_public_key=_point(ephemeral.public_key()),
        encrypted_private_key=iv + encryptor.update(plain) + encryptor.finalize(),
    )


def unwrap_2(envelope: KeyEnvelope, vehicle_key: ec.EllipticCurvePrivateKey) -> ec.EllipticCurvePrivateKey:
    """Decrypt an envelope of ISO 15118-2, as a vehicle does.

    CBC notices no change: that the key belongs to its certificate is for the caller to check [V2G2-823].

    Raises:
        MalformedError: lengths, point or scalar are not what they have to be.
    """
    if len(envelope.encrypted_private_key) != ENVELOPE_2_OCTETS:
        raise MalformedError(f"the encrypted private key has not {ENVELOPE_2_OCTETS} octets")
    iv, encrypted = envelope.encrypted_private_key[:_CBC_IV], envelope.encrypted_private_key[_CBC_IV:]
    secret = _agree(vehicle_key, envelope.dh_public_key)
    decryptor = Cipher(_session_cipher_2(secret), modes.CBC(iv)).decryptor()
    return _elliptic_key(decryptor.update(encrypted) + decryptor.finalize(), ec.SECP256R1())


def wrap_20(contract_key: ContractKey, vehicle_key: VehiclePublicKey, associated: bytes) -> KeyEnvelope:
    """Encrypt a contract key for a vehicle of ISO 15118-20: P-521 for P-521, X448 for X448; see ``associated_data``.

    Raises:
        RequestError: the vehicle's key is another one than ISO 15118-20 knows.
        InvariantError: the contract's key is not of the same kind as the vehicle's. Keys of 57 octets, as RFC 8032 has
            them for Ed448, are none: X448_EncryptedPrivateKey holds 56.
    """
    if isinstance(vehicle_key, x448.X448PublicKey):
        if not isinstance(contract_key, x448.X448PrivateKey):
            raise InvariantError("an X448 envelope holds a key of 448 bits")
        plain = contract_key.private_bytes_raw()
        ephemeral = x448.X448PrivateKey.generate()
        try:
            secret = ephemeral.exchange(vehicle_key)
        except ValueError:
            raise RequestError("the vehicle's X448 key is a point of small order") from None
        public = ephemeral.public_key().public_bytes_raw()
    else:
        on_curve = _on_curve(vehicle_key, "secp521r1")
        plain = _scalar(contract_key, "secp521r1", _P521_OCTETS)
        ephemeral_p521 = ec.generate_private_key(ec.SECP521R1())
        secret = ephemeral_p521.exchange(ec.ECDH(), on_curve)
        public = _point(ephemeral_p521.public_key())
    iv = secrets.token_bytes(_GCM_IV)
    encrypted = AESGCM(_session_key_20(secret)).encrypt(iv, plain, associated)
    return KeyEnvelope(dh_public_key=public, encrypted_private_key=iv + encrypted)


def unwrap_20(envelope: KeyEnvelope, vehicle_key: VehiclePrivateKey, associated: bytes) -> ContractKey:
    """Decrypt an envelope of ISO 15118-20, as a vehicle does.

    Raises:
        MalformedError: lengths, point, tag or scalar are not what they have to be.
    """
    is_x448 = isinstance(vehicle_key, x448.X448PrivateKey)
    octets = ENVELOPE_X448_OCTETS if is_x448 else ENVELOPE_P521_OCTETS
    if len(envelope.encrypted_private_key) != octets:
        raise MalformedError(f"the encrypted private key has not {octets} octets")
    iv, encrypted = envelope.encrypted_private_key[:_GCM_IV], envelope.encrypted_private_key[_GCM_IV:]
    secret = _agree(vehicle_key, envelope.dh_public_key)
    try:
        plain = AESGCM(_session_key_20(secret)).decrypt(iv, encrypted, associated)
    except InvalidTag:
        raise MalformedError("the encrypted private key was changed, or is for another vehicle or contract") from None
    return x448.X448PrivateKey.from_private_bytes(plain) if is_x448 else _elliptic_key(plain, ec.SECP521R1())


def _agree(own: VehiclePrivateKey, public: bytes) -> bytes:
    if isinstance(own, ec.EllipticCurvePrivateKey) and not public.startswith(_UNCOMPRESSED):
        raise MalformedError("the DH public key is not an uncompressed point")
    try:
        if isinstance(own, x448.X448PrivateKey):
            return own.exchange(x448.X448PublicKey.from_public_bytes(public))
        return own.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(own.curve, public))
    except ValueError:
        raise MalformedError("the DH public key is no point of the vehicle's curve") from None


def _session_cipher_2(secret: bytes) -> algorithms.AES:
    return algorithms.AES(ConcatKDFHash(hashes.SHA256(), 16, _OTHER_INFO).derive(secret))


def _session_key_20(secret: bytes) -> bytes:
    return ConcatKDFHash(hashes.SHA512(), 32, _OTHER_INFO).derive(secret)


def _on_curve(key: VehiclePublicKey, curve: str) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve:
        raise RequestError(f"the vehicle's key is not of the curve {curve}")
    return key


def _scalar(key: ContractKey, curve: str, octets: int) -> bytes:
    """Return a private key as its edition writes it: big-endian, with all its leading zeros."""
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve:
        raise InvariantError(f"the contract's key is not of the curve {curve}")
    return key.private_numbers().private_value.to_bytes(octets)


def _elliptic_key(plain: bytes, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(plain), curve)
    except ValueError:
        raise MalformedError("the decrypted private key is no scalar of its curve") from None


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
