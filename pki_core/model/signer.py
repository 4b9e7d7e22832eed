"""The signer protocol: a private key somewhere else (a PKCS#11 token, or a file in dev)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class KeyAlgorithm(StrEnum):
    """Key algorithms of ISO 15118; the signature algorithm follows from the signing key's."""

    SECP256R1 = "secp256r1"  # ISO 15118-2 [V2G2-006]: ecdsa-with-SHA256
    SECP521R1 = "secp521r1"  # ISO 15118-20 [V2G20-2674]: ecdsa-with-SHA512
    ED448 = "ed448"  # ISO 15118-20 [V2G20-2319]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIdentity:
    """Which token holds the keys; QA and PROD never share one."""

    kind: str
    label: str
    serial: str


class Signer(Protocol):
    """One private key."""

    @property
    def label(self) -> str:
        """The key's label in its token."""
        ...

    @property
    def algorithm(self) -> KeyAlgorithm:
        """The key's algorithm."""
        ...

    @property
    def spki_der(self) -> bytes:
        """The public half as DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7)."""
        ...

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message, in order.

        Returns X.509 signature values: ECDSA as DER ECDSA-Sig-Value (RFC 3279 2.2.3), Ed448 as 114 raw octets
        (RFC 8410). The signature is not verified here; ``Issuer.sign`` does that.

        Raises:
            HsmUnavailableError: the token is away; none of the signatures may be used.
        """
        ...

    def sign_digests(self, digests: Sequence[bytes]) -> list[bytes]:
        """Sign messages too large to be held, given their hashes: SHA-256 for P-256, SHA-512 for P-521, in order.

        Returns the same signature values as ``sign``.

        Raises:
            HsmUnavailableError: the token is away.
            InvariantError: the key is Ed448, which signs whole messages only (RFC 8032 5.2.6).
        """
        ...


class KeyStore(Protocol):
    """Where an environment's private keys live."""

    @property
    def identity(self) -> TokenIdentity:
        """The token behind this store."""
        ...

    def generate(self, label: str, algorithm: KeyAlgorithm) -> Signer:
        """Make a new key pair inside the store; ConflictError when the label is taken."""
        ...

    def is_taken(self, label: str) -> bool:
        """Tell whether anything in the store has that label, a key of ours or not."""
        ...

    def bind(self, label: str) -> Signer:
        """Return the signer for a key and check its attributes; KeyRejectedError when they are wrong."""
        ...

    def algorithms(self) -> frozenset[KeyAlgorithm]:
        """Return the key algorithms this store can make."""
        ...

    def close(self) -> None:
        """Give sessions back; the store opens again by itself at the next use."""
        ...
