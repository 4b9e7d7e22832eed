"""Keys in encrypted files: private, exclusive, and refused when they are not what they should be."""

import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from pki_core.hsm.pin import PinSource
from pki_core.hsm.soft_key import FileKeyStore
from pki_core.model.errors import (
    ConflictError,
    HsmPinRejectedError,
    HsmUnavailableError,
    KeyRejectedError,
    SettingsError,
)
from pki_core.model.signer import KeyAlgorithm
from tests.hsm.token_home import verify

PASSPHRASE = "a passphrase for tests"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSPHRASE", PASSPHRASE)
    return FileKeyStore(tmp_path / "keys", PinSource.from_environment("PASSPHRASE"))


def place(tmp_path, private_key, encryption):
    (tmp_path / "keys").mkdir(exist_ok=True)
    file = tmp_path / "keys" / "placed.pem"
    file.touch(mode=0o600)
    file.write_bytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_key_is_found_again_by_another_store(store, tmp_path, algorithm):
    made = store.generate("key", algorithm)
    found = FileKeyStore(tmp_path / "keys", PinSource.from_environment("PASSPHRASE")).bind("key")
    assert (found.label, found.algorithm, found.spki_der) == ("key", algorithm, made.spki_der)
    verify(made, b"message", found.sign([b"message"])[0])


def test_a_key_file_is_encrypted_and_its_owners_alone(store, tmp_path):
    store.generate("key", KeyAlgorithm.SECP256R1)
    file = tmp_path / "keys" / "key.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_a_taken_label_is_a_conflict_and_leaves_the_key_alone(store):
    before = store.generate("key", KeyAlgorithm.SECP256R1)
    with pytest.raises(ConflictError):
        store.generate("key", KeyAlgorithm.ED448)
    assert store.bind("key").spki_der == before.spki_der


def test_a_key_is_there_whole_or_not_at_all(store, tmp_path, monkeypatch):
    """While one process writes its key, another one has none, makes its own, and that is the key of both."""
    other = FileKeyStore(tmp_path / "keys", PinSource.from_environment("PASSPHRASE"))
    made = []

    def meanwhile(_descriptor):
        if made:
            return
        made.append(None)
        assert not other.is_taken("key")
        with pytest.raises(KeyRejectedError, match="No such file"):
            other.bind("key")
        made[0] = other.generate("key", KeyAlgorithm.SECP256R1)

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(ConflictError):
        store.generate("key", KeyAlgorithm.SECP256R1)
    assert store.bind("key").spki_der == made[0].spki_der
    assert [file.name for file in (tmp_path / "keys").iterdir()] == ["key.pem"]


def test_a_missing_key_is_rejected(store):
    with pytest.raises(KeyRejectedError, match="No such file"):
        store.bind("nobody")


@pytest.mark.parametrize("label", ["", "../key", "a/b", ".hidden", "x" * 101, "blank space"])
def test_a_label_that_is_no_plain_file_name_is_refused(store, label):
    for call in (store.bind, lambda name: store.generate(name, KeyAlgorithm.ED448)):
        with pytest.raises(SettingsError, match="label"):
            call(label)


def test_a_key_file_open_to_others_is_rejected(store, tmp_path):
    store.generate("key", KeyAlgorithm.SECP256R1)
    (tmp_path / "keys" / "key.pem").chmod(0o640)
    with pytest.raises(KeyRejectedError, match="chmod 600"):
        store.bind("key")


def test_a_wrong_passphrase_is_refused_without_being_shown(store, monkeypatch):
    store.generate("key", KeyAlgorithm.SECP256R1)
    monkeypatch.setenv("PASSPHRASE", "another")
    with pytest.raises(HsmPinRejectedError) as caught:
        store.bind("key")
    assert "another" not in str(caught.value)
    assert PASSPHRASE not in repr(store) + repr(vars(store))


def test_a_key_in_the_clear_is_rejected(store, tmp_path):
    place(tmp_path, ec.generate_private_key(ec.SECP256R1()), NoEncryption())
    with pytest.raises(KeyRejectedError, match="not an encrypted private key"):
        store.bind("placed")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "secp384r1 is none of the curves"),
        (lambda: rsa.generate_private_key(65537, 2048), "neither an EC nor an Ed448 key"),
    ],
)
def test_a_key_of_a_kind_that_iso_15118_does_not_use_is_rejected(store, tmp_path, make, named):
    place(tmp_path, make(), BestAvailableEncryption(PASSPHRASE.encode()))
    with pytest.raises(KeyRejectedError, match=named):
        store.bind("placed")


def test_the_identity_is_drawn_once_a_directory(store, tmp_path):
    identity = store.identity
    assert (identity.kind, identity.label, len(identity.serial)) == ("file", "keys", 16)
    assert FileKeyStore(tmp_path / "keys", PinSource.from_environment("PASSPHRASE")).identity == identity
    other = FileKeyStore(tmp_path / "other", PinSource.from_environment("PASSPHRASE"))
    assert other.identity.serial != identity.serial


def test_a_directory_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").touch()
    store = FileKeyStore(tmp_path / "file" / "keys", PinSource.from_environment("PASSPHRASE"))
    with pytest.raises(HsmUnavailableError, match="Not a directory"):
        _ = store.identity


def test_every_algorithm_can_be_made(store):
    assert store.algorithms() == frozenset(KeyAlgorithm)
    store.close()
