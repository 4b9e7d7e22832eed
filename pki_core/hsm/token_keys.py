"""Key pairs inside a token: made there, found by label, refused unless they never were outside (PKCS#11 2.40, 4.9)."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from pki_core.model.errors import ConflictError, KeyRejectedError
from pki_core.model.signer import KeyAlgorithm

_KEY_ID_OCTETS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """How PKCS#11 speaks of an algorithm: 2.3.3 curve parameters (an OID, or for Edwards curves also a name)."""

    key_type: KeyType
    generate: Mechanism
    sign: Mechanism
    bits: int
    parameters: tuple[bytes, ...]
    point_octets: int


_KINDS = {
    KeyAlgorithm.SECP256R1: _Kind(
        key_type=KeyType.EC,
        generate=Mechanism.EC_KEY_PAIR_GEN,
        sign=Mechanism.ECDSA,
        bits=256,
        parameters=(bytes.fromhex("06082a8648ce3d030107"),),
        point_octets=65,
    ),
    KeyAlgorithm.SECP521R1: _Kind(
        key_type=KeyType.EC,
        generate=Mechanism.EC_KEY_PAIR_GEN,
        sign=Mechanism.ECDSA,
        bits=521,
        parameters=(bytes.fromhex("06052b81040023"),),
        point_octets=133,
    ),
    KeyAlgorithm.ED448: _Kind(
        key_type=KeyType.EC_EDWARDS,
        generate=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        sign=Mechanism.EDDSA,
        bits=448,
        parameters=(bytes.fromhex("06032b6571"), b"\x13\x0aedwards448"),
        point_octets=57,
    ),
}
_CURVES: dict[KeyAlgorithm, ec.EllipticCurve] = {
    KeyAlgorithm.SECP256R1: ec.SECP256R1(),
    KeyAlgorithm.SECP521R1: ec.SECP521R1(),
}
# A key is ours only if all of these hold: made in this token, never readable, and allowed to sign.
_REQUIRED = (
    (Attribute.LOCAL, True),
    (Attribute.SENSITIVE, True),
    (Attribute.EXTRACTABLE, False),
    (Attribute.NEVER_EXTRACTABLE, True),
    (Attribute.ALWAYS_SENSITIVE, True),
    (Attribute.SIGN, True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A checked key pair; ``locator`` is its label and CKA_ID, the same in every session."""

    locator: tuple[str, bytes]
    algorithm: KeyAlgorithm
    spki_der: bytes


def read_key(session: pkcs11.Session, label: str) -> TokenKey:
    """Return the one key pair of that label; KeyRejectedError names what is wrong with it."""
    private = _only(session, _labelled(label) | {Attribute.CLASS: ObjectClass.PRIVATE_KEY}, "private key")
    for attribute, wanted in _REQUIRED:
        if _read(private, attribute) is not wanted:
            raise KeyRejectedError(f"private key {label!r}: CKA_{attribute.name} is not {wanted}")
    identifier = _read(private, Attribute.ID)
    locator = (label, identifier if isinstance(identifier, bytes) else b"")
    public = _only(session, _template(ObjectClass.PUBLIC_KEY, locator), "public key")
    algorithm = _algorithm(public, label)
    if _algorithm(private, label) is not algorithm:
        raise KeyRejectedError(f"key {label!r}: the public and the private key are of different kinds")
    return TokenKey(locator=locator, algorithm=algorithm, spki_der=_spki_der(public, algorithm, label))


def find_private_key(session: pkcs11.Session, key: TokenKey) -> pkcs11.Object:
    """Return the private key's object in this session."""
    return _only(session, _template(ObjectClass.PRIVATE_KEY, key.locator), "private key")


@contextmanager
def copied(key: pkcs11.Object) -> Iterator[pkcs11.Object | None]:
    """Give a copy of a private key that lives no longer than this and is as protected (5.7); None = there is none."""
    try:
        copy: pkcs11.Object | None = key.copy({Attribute.TOKEN: False})
    except pkcs11.PKCS11Error:
        copy = None
    try:
        yield copy
    finally:
        if copy is not None:
            with suppress(pkcs11.PKCS11Error):  # gone with its session
                copy.destroy()


def is_label_taken(session: pkcs11.Session, label: str) -> bool:
    """Tell whether any object of the token has that label, besides what a kill left of a pair that was being made."""
    found = list(session.get_objects(_labelled(label)))
    return bool(found) and not all(_is_remnant(session, one) for one in found)


def refuse_taken_label(session: pkcs11.Session, label: str) -> None:
    """Raise ConflictError when a label is taken."""
    if is_label_taken(session, label):
        raise ConflictError(f"the token has an object labelled {label!r} already")


def _is_remnant(session: pkcs11.Session, found: pkcs11.Object) -> bool:
    """Tell whether an object is part of a pair that a kill kept from being made; nothing can be signed with it.

    SoftHSM 2.6.1 writes the public key, then the private one, each first without its values. Public keys that were
    brought from outside, and those whose private key has another label, are none of ours.
    """
    object_class = _read(found, Attribute.CLASS)
    if object_class == ObjectClass.PRIVATE_KEY:
        return not _read(found, Attribute.EC_PARAMS)
    if object_class != ObjectClass.PUBLIC_KEY:
        return False
    if not _read(found, Attribute.EC_POINT):
        return True
    own = {
        Attribute.TOKEN: True,
        Attribute.CLASS: ObjectClass.PRIVATE_KEY,
        Attribute.ID: _read(found, Attribute.ID) or b"",
    }
    has_private = any(_read(one, Attribute.EC_PARAMS) for one in session.get_objects(own))
    return _read(found, Attribute.LOCAL) is True and not has_private


def generate_key(session: pkcs11.Session, label: str, algorithm: KeyAlgorithm) -> None:
    """Make a key pair that never leaves the token and can do nothing but sign; the label is not taken.

    Needs a read-write session. What a kill left of an earlier attempt is removed first.
    """
    for remnant in list(session.get_objects(_labelled(label))):
        remnant.destroy()
    kind = _KINDS[algorithm]
    domain = session.create_domain_parameters(kind.key_type, {Attribute.EC_PARAMS: kind.parameters[0]}, local=True)
    domain.generate_keypair(
        id=secrets.token_bytes(_KEY_ID_OCTETS),
        label=label,
        store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        mechanism=kind.generate,
        # Said again although python-pkcs11 says some of it by default: a default may change.
        private_template={
            Attribute.TOKEN: True,
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.SIGN: True,
            Attribute.DECRYPT: False,
            Attribute.UNWRAP: False,
            Attribute.DERIVE: False,
        },
    )


def supported_algorithms(token: pkcs11.Token) -> frozenset[KeyAlgorithm]:
    """Return what the token can both make and sign with."""
    slot = token.slot
    mechanisms = slot.get_mechanisms()

    def can(mechanism: Mechanism, bits: int) -> bool:
        if mechanism not in mechanisms:
            return False
        largest = slot.get_mechanism_info(mechanism).max_key_length
        return not largest or largest >= bits  # some tokens leave the sizes blank

    return frozenset(
        algorithm for algorithm, kind in _KINDS.items() if can(kind.generate, kind.bits) and can(kind.sign, kind.bits)
    )


def _labelled(label: str) -> dict[Attribute, object]:
    # A key's copies for one call of many signatures bear its label as well, and every session of the process sees them.
    return {Attribute.TOKEN: True, Attribute.LABEL: label}


def _template(object_class: ObjectClass, locator: tuple[str, bytes]) -> dict[Attribute, object]:
    return _labelled(locator[0]) | {Attribute.CLASS: object_class, Attribute.ID: locator[1]}


def _only(session: pkcs11.Session, template: dict[Attribute, object], what: str) -> pkcs11.Object:
    found = list(session.get_objects(template))
    if len(found) != 1:
        raise KeyRejectedError(f"the token has {len(found)} {what}s labelled {template[Attribute.LABEL]!r}, not one")
    return found[0]


def _read(found: pkcs11.Object, attribute: Attribute) -> object:
    try:
        value: object = found[attribute]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive):
        return None
    return value


def _algorithm(found: pkcs11.Object, label: str) -> KeyAlgorithm:
    key_type, parameters = _read(found, Attribute.KEY_TYPE), _read(found, Attribute.EC_PARAMS)
    for algorithm, kind in _KINDS.items():
        if key_type == kind.key_type and parameters in kind.parameters:
            return algorithm
    raise KeyRejectedError(f"key {label!r}: CKA_KEY_TYPE and CKA_EC_PARAMS name neither P-256, P-521 nor Ed448")


def _spki_der(public: pkcs11.Object, algorithm: KeyAlgorithm, label: str) -> bytes:
    # python-pkcs11's encode_ec_public_key writes id-ecPublicKey for Ed448 as well, which RFC 8410 does not know.
    octets = _KINDS[algorithm].point_octets
    value = _read(public, Attribute.EC_POINT)
    # 2.3.3: a DER OCTET STRING around the point; older tokens return the point itself. Told apart by length, since a
    # bare P-256 point may begin like an OCTET STRING.
    point = value[-octets:] if isinstance(value, bytes) and octets <= len(value) <= octets + 3 else b""
    try:
        if algorithm is KeyAlgorithm.ED448:
            return Ed448PublicKey.from_public_bytes(point).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        public_key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[algorithm], point)
    except ValueError as error:
        raise KeyRejectedError(f"public key {label!r}: CKA_EC_POINT is not a point of {algorithm}") from error
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
