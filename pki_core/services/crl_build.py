"""Builds and signs one CRL (RFC 5280 5.1) in a temporary file: memory does not grow with the list.

Entries go to the file first; their length decides what stands before them, which is then written in front.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from pki_core.model.errors import StoreUnavailableError
from pki_core.model.signer import KeyAlgorithm, Signer
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.crl import DIGEST_NAMES, CrlPlan, digest_signature_is_valid, outer_frame, tbs_frame
from pki_core.wire.public_key import PublicKey

_FRONT = 65_536  # room for what stands before the entries
_PIECE = 1_048_576


class CrlFile:
    """A CRL in the making, then a signed one. Use it as a context; its file goes with it."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="pncpki-crl-", buffering=_PIECE)  # noqa: SIM115  # __exit__ closes it
        self._start = _FRONT
        self._end = _FRONT

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()

    @property
    def octets(self) -> int:
        """Length of the whole CRL."""
        return self._end - self._start

    def fill(self, blocks: Iterable[bytes]) -> None:
        """Write entries behind those that are there; StoreUnavailableError when the disk is full."""
        try:
            self._file.seek(self._end)
            for block in blocks:
                self._file.write(block)
            self._end = self._file.tell()
        except OSError as error:
            raise StoreUnavailableError(f"the CRL cannot be written to a temporary file: {error.strerror}") from error

    def sign(self, plan: CrlPlan, signer: Signer) -> None:
        """Put the frame around the entries and sign it all.

        Raises:
            HsmUnavailableError: the token is away.
            StoreUnavailableError: the temporary file cannot be written.
        """
        head, tail = tbs_frame(plan, self.octets)
        self._put(head, tail)
        signature = self._signature(plan.algorithm, signer)
        self._put(*outer_frame(plan.algorithm, self.octets, signature))

    def read(self, at: int, count: int) -> bytes:
        """Return octets of the CRL."""
        return os.pread(self._file.fileno(), min(count, self.octets - at), self._start + at)

    def pieces(self, octets: int = _PIECE, first: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the CRL, or a part of it, piece by piece."""
        end = self.octets if end is None else end
        while first < end:
            piece = self.read(first, min(octets, end - first))
            yield piece
            first += len(piece)

    def sha256(self) -> str:
        """Return the hash of the whole CRL, lower hex."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    def is_signed_by(self, key: PublicKey, algorithm: KeyAlgorithm, span: tuple[int, int], signature: bytes) -> bool:
        """Tell whether a signature verifies over a span (first octet, octets) of the CRL."""
        if algorithm is KeyAlgorithm.ED448:
            return signature_is_valid(key, algorithm, self.read(*span), signature)
        return digest_signature_is_valid(key, algorithm, self._digest(algorithm, span[0], sum(span)), signature)

    def _signature(self, algorithm: KeyAlgorithm, signer: Signer) -> bytes:
        if algorithm is KeyAlgorithm.ED448:  # RFC 8410: signs messages, and so holds the whole one
            return signer.sign([self.read(0, self.octets)])[0]
        return signer.sign_digests([self._digest(algorithm, 0, self.octets)])[0]

    def _digest(self, algorithm: KeyAlgorithm, first: int, end: int) -> bytes:
        digest = hashlib.new(DIGEST_NAMES[algorithm])
        for piece in self.pieces(first=first, end=end):
            digest.update(piece)
        return digest.digest()

    def _put(self, head: bytes, tail: bytes) -> None:
        """Write before and behind what is there."""
        self._start -= len(head)
        try:
            for octets, at in ((head, self._start), (tail, self._end)):
                self._file.seek(at)
                self._file.write(octets)
            self._file.flush()
        except OSError as error:
            raise StoreUnavailableError(f"the CRL cannot be written to a temporary file: {error.strerror}") from error
        self._end += len(tail)
