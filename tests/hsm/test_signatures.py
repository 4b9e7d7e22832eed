"""Signatures of both key stores: valid, in order, in the form X.509 wants."""

import hashlib
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from pki_core.hsm.pin import PinSource
from pki_core.hsm.soft_key import FileKeyStore
from pki_core.model.errors import InvariantError
from pki_core.model.signer import KeyAlgorithm
from tests.hsm.token_home import verify_all

ECDSA = [KeyAlgorithm.SECP256R1, KeyAlgorithm.SECP521R1]


@pytest.fixture(params=[pytest.param("token", marks=pytest.mark.softhsm), "file"])
def signers(request, tmp_path, monkeypatch):
    """A signer of every algorithm, from the token and from files."""
    if request.param == "token":
        return request.getfixturevalue("token_signers")
    monkeypatch.setenv("PASSPHRASE", "any passphrase")
    store = FileKeyStore(tmp_path / "keys", PinSource.from_environment("PASSPHRASE"))
    return {algorithm: store.generate(f"any-{algorithm}", algorithm) for algorithm in KeyAlgorithm}


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_every_signature_verifies_and_keeps_its_place(signers, algorithm):
    messages = [bytes([number]) * number for number in range(200)]  # the empty message among them
    signatures = signers[algorithm].sign(messages)
    verify_all(signers[algorithm], messages, signatures)


@pytest.mark.parametrize("algorithm", ECDSA)
def test_ecdsa_values_are_strict_der(signers, algorithm):
    for signature in signers[algorithm].sign([bytes([number]) for number in range(150)]):
        assert encode_dss_signature(*decode_dss_signature(signature)) == signature


@pytest.mark.parametrize("algorithm", ECDSA)
def test_a_message_given_by_its_hash_gets_the_same_kind_of_signature(signers, algorithm):
    digest = hashlib.sha256 if algorithm is KeyAlgorithm.SECP256R1 else hashlib.sha512
    messages = [bytes([number]) * number for number in range(20)]
    signatures = signers[algorithm].sign_digests([digest(message).digest() for message in messages])
    verify_all(signers[algorithm], messages, signatures)
    assert signers[algorithm].sign_digests([]) == []


def test_an_ed448_key_signs_no_hashes(signers):
    with pytest.raises(InvariantError):
        signers[KeyAlgorithm.ED448].sign_digests([bytes(64)])


def test_an_ed448_signature_is_114_raw_octets(signers):
    (signature,) = signers[KeyAlgorithm.ED448].sign([b"message"])
    assert len(signature) == 114


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_nothing_to_sign_gives_nothing(signers, algorithm):
    assert signers[algorithm].sign([]) == []


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_the_public_key_is_a_canonical_spki(signers, algorithm):
    signer = signers[algorithm]
    public_key = load_der_public_key(signer.spki_der)
    assert public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == signer.spki_der
    assert signer.algorithm is algorithm
    assert signer.label == f"any-{algorithm}"


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_openssl_accepts_the_signature(signers, algorithm, tmp_path):
    openssl = shutil.which("openssl")
    assert openssl, "this test needs openssl"
    (signature,) = signers[algorithm].sign([b"message"])
    hash_name = {KeyAlgorithm.SECP256R1: "sha256", KeyAlgorithm.SECP521R1: "sha512"}.get(algorithm)
    (tmp_path / "in").write_bytes(hashlib.new(hash_name, b"message").digest() if hash_name else b"message")
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "key").write_bytes(signers[algorithm].spki_der)
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key", "-in", "in"]
    command += ["-sigfile", "signature", *([] if hash_name else ["-rawin"])]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in result.stdout, result.stderr


@pytest.mark.softhsm
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 97])
def test_several_sessions_keep_the_order_of_the_messages(softhsm_home, token_signers, count):
    store = softhsm_home.store(sessions=4)
    signer = store.bind(token_signers[KeyAlgorithm.SECP256R1].label)
    messages = [f"message {number}".encode() for number in range(count)]
    verify_all(signer, messages, signer.sign(messages))
    store.close()
