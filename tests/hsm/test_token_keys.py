"""Keys in a token: how they are made, and which ones are refused."""

import secrets
from contextlib import contextmanager, suppress

import pytest
from asn1crypto.core import OctetString
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pkcs11 import Attribute, AttributeSensitive, KeyType, MechanismFlag, ObjectClass, SessionHandleInvalid
from pkcs11.util.ec import decode_ec_private_key, decode_ec_public_key, encode_named_curve_parameters

from pki_core.hsm.module import open_module
from pki_core.hsm.token_keys import _spki_der, copied, is_label_taken, read_key
from pki_core.hsm.tokens import find_token
from pki_core.model.errors import ConflictError, KeyRejectedError, SettingsError
from pki_core.model.signer import KeyAlgorithm
from tests.hsm.token_home import TOKEN_LABEL, verify, verify_all

pytestmark = pytest.mark.softhsm


@pytest.fixture
def session(softhsm_home, key_store):
    """A read-write session beside the key store's own, sharing its login."""
    key_store.algorithms()  # logs in
    with open_module(softhsm_home.module_path).alone(softhsm_home.lock_file) as library:
        session = find_token(library, TOKEN_LABEL, "").open(rw=True)
    yield session
    with suppress(SessionHandleInvalid):  # when the test made the store start the module anew
        session.close()


@pytest.fixture
def label():
    return f"key {secrets.token_hex(8)}"


def generate(session, label, curve="secp256r1", **attributes):
    parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
    template = {getattr(Attribute, name.upper()): value for name, value in attributes.items()}
    return session.create_domain_parameters(KeyType.EC, parameters, local=True).generate_keypair(
        store=True,
        label=label,
        id=b"any",
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template=template,
    )


def objects(session, label):
    return {found[Attribute.CLASS]: found for found in session.get_objects({Attribute.LABEL: label})}


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_generated_key_can_sign_and_nothing_else(key_store, session, label, algorithm):
    signer = key_store.generate(label, algorithm)
    private = objects(session, signer.label)[ObjectClass.PRIVATE_KEY]
    holds = (
        Attribute.TOKEN,
        Attribute.PRIVATE,
        Attribute.SENSITIVE,
        Attribute.ALWAYS_SENSITIVE,
        Attribute.NEVER_EXTRACTABLE,
        Attribute.LOCAL,
        Attribute.SIGN,
    )
    not_so = (Attribute.EXTRACTABLE, Attribute.DECRYPT, Attribute.UNWRAP, Attribute.DERIVE)
    assert {name: private[name] for name in holds} == dict.fromkeys(holds, True)
    assert {name: private[name] for name in not_so} == dict.fromkeys(not_so, False)
    assert len(private[Attribute.ID]) == 16


def test_two_keys_have_two_ids(key_store, session, label):
    ids = set()
    for number in range(2):
        key_store.generate(f"{label}{number}", KeyAlgorithm.SECP256R1)
        ids |= {found[Attribute.ID] for found in objects(session, f"{label}{number}").values()}
    assert len(ids) == 2


def test_a_taken_label_is_a_conflict_and_leaves_the_key_alone(key_store, label):
    before = key_store.generate(label, KeyAlgorithm.SECP256R1)
    with pytest.raises(ConflictError, match=label):
        key_store.generate(label, KeyAlgorithm.SECP521R1)
    assert key_store.bind(label).spki_der == before.spki_der


def test_a_key_needs_a_label(key_store):
    with pytest.raises(SettingsError, match="label"):
        key_store.generate("", KeyAlgorithm.SECP256R1)


def test_softhsm_makes_every_algorithm(key_store):
    assert key_store.algorithms() == frozenset(KeyAlgorithm)


def test_an_algorithm_the_token_lacks_is_refused_before_anything_is_made(key_store, label, monkeypatch):
    monkeypatch.setattr("pki_core.hsm.pkcs11.supported_algorithms", lambda _: frozenset({KeyAlgorithm.SECP256R1}))
    with pytest.raises(SettingsError, match="ed448"):
        key_store.generate(label, KeyAlgorithm.ED448)


def test_a_missing_key_is_rejected(key_store):
    with pytest.raises(KeyRejectedError, match="0 private keys labelled 'nobody'"):
        key_store.bind("nobody")


def test_a_doubled_key_is_rejected(key_store, session, label):
    generate(session, label)
    generate(session, label)
    with pytest.raises(KeyRejectedError, match="2 private keys"):
        key_store.bind(label)


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"sensitive": False}, "CKA_SENSITIVE is not True"),
        ({"extractable": True}, "CKA_EXTRACTABLE is not False"),
        ({"sign": False}, "CKA_SIGN is not True"),
    ],
)
def test_a_key_with_a_wrong_attribute_is_rejected_by_name(key_store, session, label, attributes, named):
    generate(session, label, **attributes)
    with pytest.raises(KeyRejectedError, match=named):
        key_store.bind(label)


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ({"extractable": True}, (Attribute.EXTRACTABLE, False), "CKA_NEVER_EXTRACTABLE is not True"),
        ({"sensitive": False}, (Attribute.SENSITIVE, True), "CKA_ALWAYS_SENSITIVE is not True"),
    ],
)
def test_a_key_that_was_open_once_stays_rejected(key_store, session, label, was, becomes, named):
    _, private = generate(session, label, **was)
    private[becomes[0]] = becomes[1]
    with pytest.raises(KeyRejectedError, match=named):
        key_store.bind(label)


def test_an_imported_key_is_rejected(key_store, session, label):
    outside = ec.generate_private_key(ec.SECP256R1())
    private_der = outside.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public_der = outside.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    placed = {Attribute.TOKEN: True, Attribute.LABEL: label, Attribute.ID: b"any"}
    guarded = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.SIGN: True, Attribute.PRIVATE: True}
    session.create_object({**decode_ec_private_key(private_der), **placed, **guarded})
    session.create_object({**decode_ec_public_key(public_der), **placed})
    with pytest.raises(KeyRejectedError, match="CKA_LOCAL is not True"):
        key_store.bind(label)


def test_a_curve_that_iso_15118_does_not_use_is_rejected(key_store, session, label):
    generate(session, label, curve="secp384r1")
    with pytest.raises(KeyRejectedError, match="neither P-256, P-521 nor Ed448"):
        key_store.bind(label)


def test_a_key_without_its_public_half_is_rejected(key_store, session, label):
    public, _ = generate(session, label)
    public.destroy()
    with pytest.raises(KeyRejectedError, match="0 public keys"):
        key_store.bind(label)


def test_what_a_kill_left_of_a_pair_in_the_making_is_made_anew(key_store, session, label):
    key_store.generate(label, KeyAlgorithm.SECP256R1)
    objects(session, label)[ObjectClass.PRIVATE_KEY].destroy()
    assert not key_store.is_taken(label)
    new = key_store.generate(label, KeyAlgorithm.SECP256R1)
    verify(new, b"message", new.sign([b"message"])[0])
    assert len(list(session.get_objects({Attribute.LABEL: label}))) == 2
    assert key_store.is_taken(label)


def test_what_is_not_half_a_pair_of_ours_keeps_its_label(key_store, session, label):
    outside = ec.generate_private_key(ec.SECP256R1()).public_key()
    public_der = outside.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    session.create_object({**decode_ec_public_key(public_der), Attribute.TOKEN: True, Attribute.LABEL: label})
    public, private = generate(session, f"{label}-private")
    public.destroy()
    key_store.generate(f"{label}-renamed", KeyAlgorithm.SECP256R1)
    objects(session, f"{label}-renamed")[ObjectClass.PRIVATE_KEY][Attribute.LABEL] = f"{label}-other"
    for taken in (label, f"{label}-private", f"{label}-renamed"):
        assert key_store.is_taken(taken)
        with pytest.raises(ConflictError):
            key_store.generate(taken, KeyAlgorithm.SECP256R1)
    private.destroy()


def test_a_public_key_of_another_kind_is_rejected(key_store, session, label):
    public, _ = generate(session, label)
    public.destroy()
    _, private = generate(session, label, curve="secp521r1")
    private.destroy()
    with pytest.raises(KeyRejectedError, match="different kinds"):
        key_store.bind(label)


def test_a_key_made_anew_under_an_old_label_is_not_signed_with_by_mistake(key_store, session, label):
    old = key_store.generate(label, KeyAlgorithm.SECP256R1)
    old.sign([b"the handle is cached now"])
    for found in objects(session, label).values():
        found.destroy()
    new = key_store.generate(label, KeyAlgorithm.SECP256R1)
    verify(new, b"message", new.sign([b"message"])[0])
    with pytest.raises(KeyRejectedError, match="0 private keys"):
        old.sign([b"message"])


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.SECP256R1, KeyAlgorithm.SECP521R1])
def test_a_public_point_is_read_with_and_without_its_octet_string(algorithm):
    curve = {KeyAlgorithm.SECP256R1: ec.SECP256R1(), KeyAlgorithm.SECP521R1: ec.SECP521R1()}[algorithm]
    while True:
        public_key = ec.generate_private_key(curve).public_key()
        point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        if algorithm is KeyAlgorithm.SECP521R1 or point[1] == len(point) - 2:  # looks like an OCTET STRING itself
            break
    spki_der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for value in (point, OctetString(point).dump()):
        assert _spki_der({Attribute.EC_POINT: value}, algorithm, "any") == spki_der


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
@pytest.mark.parametrize(
    "value", [None, b"", b"\x04" * 30, b"\x04" + b"\x01" * 64, b"\x04" + b"\x01" * 132, b"\xff" * 200]
)
def test_what_is_no_point_of_the_curve_is_rejected(algorithm, value):
    if algorithm is KeyAlgorithm.ED448 and value is not None:
        value = value[:50]  # Ed448PublicKey takes any 57 octets
    with pytest.raises(KeyRejectedError, match="CKA_EC_POINT"):
        _spki_der({Attribute.EC_POINT: value}, algorithm, "any")


def copies(session):
    return list(session.get_objects({Attribute.TOKEN: False}))


def test_a_copy_is_as_protected_as_its_key_and_hides_it_from_nobody(key_store, session, label):
    signer = key_store.generate(label, KeyAlgorithm.SECP256R1)
    with copied(objects(session, label)[ObjectClass.PRIVATE_KEY]) as copy:
        holds = (Attribute.PRIVATE, Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)
        assert {name: copy[name] for name in holds} == dict.fromkeys(holds, True)
        assert (copy[Attribute.TOKEN], copy[Attribute.EXTRACTABLE]) == (False, False)
        with pytest.raises(AttributeSensitive):
            copy[Attribute.VALUE]
        assert len(copies(session)) == 1
        assert read_key(session, label).spki_der == key_store.bind(label).spki_der == signer.spki_der
        assert is_label_taken(session, label)
    assert copies(session) == []
    assert len(objects(session, label)) == 2


@pytest.mark.parametrize(("count", "made"), [(1, 0), (15, 0), (16, 1), (100, 1)])
def test_many_signatures_at_once_are_made_with_one_copy_of_the_key(
    token_signers, session, monkeypatch, count, made, key_store
):
    seen = []

    @contextmanager
    def told(key):
        with copied(key) as copy:
            seen.append(copy)
            yield copy

    monkeypatch.setattr("pki_core.hsm.connection.copied", told)
    signer = key_store.bind(token_signers[KeyAlgorithm.SECP256R1].label)
    messages = [bytes([number]) for number in range(count)]
    verify_all(signer, messages, signer.sign(messages))
    assert len(seen) == made
    assert None not in seen
    assert copies(session) == []


def test_a_key_that_may_not_be_copied_signs_itself(key_store, session, label):
    generate(session, label, copyable=False)
    with copied(objects(session, label)[ObjectClass.PRIVATE_KEY]) as copy:
        assert copy is None
    signer = key_store.bind(label)
    messages = [bytes([number]) for number in range(40)]
    verify_all(signer, messages, signer.sign(messages))
