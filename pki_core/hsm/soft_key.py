"""Private keys in encrypted files (PKCS#8, RFC 5958) for machines without a token; the settings allow it in dev."""

import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from pki_core.hsm.pin import PinSource
from pki_core.model.errors import (
    ConflictError,
    HsmPinRejectedError,
    HsmUnavailableError,
    InvariantError,
    KeyRejectedError,
    SettingsError,
)
from pki_core.model.signer import KeyAlgorithm, TokenIdentity

_PrivateKey = ec.EllipticCurvePrivateKey | Ed448PrivateKey

_KIND = "file"
_SERIAL_FILE = "serial"
_SERIAL_OCTETS = 8
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PEM_HEADER = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_CURVES: dict[KeyAlgorithm, ec.EllipticCurve] = {
    KeyAlgorithm.SECP256R1: ec.SECP256R1(),
    KeyAlgorithm.SECP521R1: ec.SECP521R1(),
}
_HASHES: dict[str, tuple[KeyAlgorithm, hashes.HashAlgorithm]] = {
    "secp256r1": (KeyAlgorithm.SECP256R1, hashes.SHA256()),
    "secp521r1": (KeyAlgorithm.SECP521R1, hashes.SHA512()),
}


class FileSigner:
    """A key from a file, held in memory while the signer lives."""

    def __init__(self, label: str, private_key: _PrivateKey) -> None:
        self._label = label
        self._spki_der = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._key = private_key
        self._algorithm = KeyAlgorithm.ED448
        if isinstance(private_key, ec.EllipticCurvePrivateKey):
            self._algorithm, digest = _HASHES[private_key.curve.name]
            self._ecdsa = ec.ECDSA(digest)

    @property
    def label(self) -> str:
        """The key's label: its file's name."""
        return self._label

    @property
    def algorithm(self) -> KeyAlgorithm:
        """The key's algorithm."""
        return self._algorithm

    @property
    def spki_der(self) -> bytes:
        """The public half as DER SubjectPublicKeyInfo."""
        return self._spki_der

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message, in order (see ``Signer.sign``)."""
        if isinstance(self._key, Ed448PrivateKey):
            return [self._key.sign(message) for message in messages]
        return [self._key.sign(message, self._ecdsa) for message in messages]

    def sign_digests(self, digests: Sequence[bytes]) -> list[bytes]:
        """Sign messages given by their hashes (see ``Signer.sign_digests``)."""
        if isinstance(self._key, Ed448PrivateKey):
            raise InvariantError("an Ed448 key signs whole messages, not hashes")
        scheme = ec.ECDSA(Prehashed(self._ecdsa.algorithm))  # type: ignore[arg-type]  # never itself a Prehashed
        return [self._key.sign(digest, scheme) for digest in digests]

    def __repr__(self) -> str:
        return f"FileSigner({self._label!r}, {self._algorithm})"


class FileKeyStore:
    """A directory of encrypted private keys."""

    def __init__(self, directory: Path, passphrase: PinSource, *, is_founded: bool = False) -> None:
        self._directory = directory
        self._passphrase = passphrase
        self._is_founded = is_founded  # then the directory is there, and is never made anew

    @property
    def identity(self) -> TokenIdentity:
        """The directory and the random serial it got when it was first used."""
        path = self._directory / _SERIAL_FILE
        try:
            self._make_directory()
            with suppress(FileExistsError):
                _create(path, secrets.token_hex(_SERIAL_OCTETS).encode())
            serial = path.read_text(encoding="ascii")
        except OSError as error:
            raise HsmUnavailableError(f"key directory {self._directory}: {error.strerror}") from error
        return TokenIdentity(kind=_KIND, label=self._directory.name, serial=serial)

    def generate(self, label: str, algorithm: KeyAlgorithm) -> FileSigner:
        """Make a new key in a new file; ConflictError when the label is taken."""
        path = self._path(label)
        private_key: _PrivateKey
        if algorithm is KeyAlgorithm.ED448:
            private_key = Ed448PrivateKey.generate()
        else:
            private_key = ec.generate_private_key(_CURVES[algorithm])
        pem = private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(self._passphrase.read().encode())
        )
        try:
            self._make_directory()
            _create(path, pem)
        except FileExistsError:
            raise ConflictError(f"there is a key file {path} already") from None
        except OSError as error:
            raise HsmUnavailableError(f"key file {path}: {error.strerror}") from error
        return self.bind(label)

    def is_taken(self, label: str) -> bool:
        """Tell whether there is a key file of that name."""
        return self._path(label).exists()

    def bind(self, label: str) -> FileSigner:
        """Return the signer for a key file; KeyRejectedError when it is missing, readable by others or damaged."""
        path = self._path(label)
        pem = _read_private(path)
        try:
            private_key = load_pem_private_key(pem, self._passphrase.read().encode())
        except UnsupportedAlgorithm as error:
            raise KeyRejectedError(f"key file {path}: {error}") from error
        except ValueError:
            # The library does not tell a wrong passphrase from damaged bytes.
            raise HsmPinRejectedError(f"the passphrase does not open key file {path}, or it is damaged") from None
        if isinstance(private_key, ec.EllipticCurvePrivateKey) and private_key.curve.name not in _HASHES:
            raise KeyRejectedError(f"key file {path}: {private_key.curve.name} is none of the curves of ISO 15118")
        if not isinstance(private_key, _PrivateKey):
            raise KeyRejectedError(f"key file {path} holds neither an EC nor an Ed448 key")
        return FileSigner(label, private_key)

    def algorithms(self) -> frozenset[KeyAlgorithm]:
        """Return the key algorithms this store can make: all of them."""
        return frozenset(KeyAlgorithm)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def __repr__(self) -> str:
        return f"FileKeyStore({str(self._directory)!r})"

    def _make_directory(self) -> None:
        if self._is_founded and not self._directory.is_dir():
            raise HsmUnavailableError(f"the key directory {self._directory} is gone: put it back")
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, label: str) -> Path:
        if not _LABEL.fullmatch(label):
            raise SettingsError(f"key label {label!r} is not a file name of letters, digits, '.', '_' and '-'")
        return self._directory / f"{label}.pem"


def _create(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read and that did not exist: whole, or not there at all.

    FileExistsError when there is one: of two processes that make one key at once, the second finds the first one's.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(_SERIAL_OCTETS)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            pem = stream.read()
    except OSError as error:
        raise KeyRejectedError(f"key file {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyRejectedError(f"key file {path} is open to its group or to others: chmod 600 it")
    if not pem.startswith(_PEM_HEADER):
        raise KeyRejectedError(f"key file {path} is not an encrypted private key in PEM")
    return pem
