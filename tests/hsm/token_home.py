"""One SoftHSM token in one directory, as tests and the processes they start see it."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pki_core.hsm.pin import PinSource
from pki_core.hsm.pkcs11 import Pkcs11KeyStore
from pki_core.hsm.softhsm import find_softhsm_module, prepare_softhsm
from pki_core.hsm.tokens import create_token
from pki_core.model.signer import KeyAlgorithm

TOKEN_LABEL = "test token"
_HASHES = {KeyAlgorithm.SECP256R1: hashes.SHA256(), KeyAlgorithm.SECP521R1: hashes.SHA512()}


@dataclass(frozen=True)
class TokenHome:
    """A directory with a SoftHSM configuration, a token, its PIN files and its lock file."""

    directory: Path

    @property
    def module_path(self):
        path = find_softhsm_module()
        assert path is not None, "these tests need SoftHSM: apt-get install softhsm2 (or run with -m 'not softhsm')"
        return path

    @property
    def pin_file(self):
        return self.directory / "pin"

    @property
    def lock_file(self):
        return self.directory / "lock"

    def write_pin(self, name):
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_text(f"pin-{secrets.token_hex(8)}\n")
        return PinSource.from_file(file)

    def create(self):
        """Make the token; once a directory."""
        self.prepare()
        create_token(self.module_path, TOKEN_LABEL, self.write_pin("so-pin"), self.write_pin("pin"))

    def prepare(self):
        prepare_softhsm(self.directory)

    def store(self, *, module_path=None, sessions=1, pin=None, label=TOKEN_LABEL, serial=""):
        """A key store on the token, through another module if one is named."""
        return Pkcs11KeyStore(
            module_path or self.module_path,
            label,
            pin or PinSource.from_file(self.pin_file),
            sessions,
            self.lock_file,
            serial,
        )


def verify(signer, message, signature):
    """Raise InvalidSignature unless the signature is the signer's over the message."""
    public_key = load_der_public_key(signer.spki_der)
    if signer.algorithm is KeyAlgorithm.ED448:
        public_key.verify(signature, message)
    else:
        public_key.verify(signature, message, ec.ECDSA(_HASHES[signer.algorithm]))


def verify_all(signer, messages, signatures):
    for message, signature in zip(messages, signatures, strict=True):
        verify(signer, message, signature)
