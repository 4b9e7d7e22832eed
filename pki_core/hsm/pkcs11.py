"""Private keys in a PKCS#11 token: the key store and its signers. Digests are made outside (PKCS#11 2.40, 2.3.6)."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from pathlib import Path

from pki_core.hsm.connection import Fault, TokenAccess, TokenRecord, TokenSession
from pki_core.hsm.ecdsa_value import encode_ecdsa_values
from pki_core.hsm.gate import locked
from pki_core.hsm.pin import PinSource
from pki_core.hsm.token_keys import (
    TokenKey,
    generate_key,
    is_label_taken,
    read_key,
    refuse_taken_label,
    supported_algorithms,
)
from pki_core.hsm.tokens import identity_of
from pki_core.model.errors import InvariantError, SettingsError
from pki_core.model.signer import KeyAlgorithm, TokenIdentity

_GENERATION_PATIENCE_SECONDS = 30.0


class _Slice:
    """A part of the messages and the signatures made so far."""

    __slots__ = ("payloads", "signatures")

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads = payloads
        self.signatures: list[bytes] = []

    def sign(self, access: TokenAccess, key: TokenKey) -> Fault | None:
        """Sign what is left."""
        done = len(self.signatures)
        if done == len(self.payloads):
            return None
        rest = self.payloads[done:] if done else self.payloads
        return access.run(lambda session: session.sign_all(key, rest, self.signatures))


class _Process:
    """What belongs to one process: its way into the token and its signing threads."""

    def __init__(self, record: TokenRecord) -> None:
        self.access = TokenAccess(record)
        self._sessions = record.sessions
        self._executor: ThreadPoolExecutor | None = None
        self._executor_lock = threading.Lock()

    def sign(self, key: TokenKey, payloads: Sequence[bytes]) -> list[bytes]:
        """Return the raw signatures, in order."""
        slices = _cut(payloads, self._sessions)
        if len(slices) == 1:
            self.access.with_recovery(lambda: slices[0].sign(self.access, key))
            return slices[0].signatures
        self.access.with_recovery(lambda: self._sign_at_once(key, slices))
        return [signature for part in slices for signature in part.signatures]

    def close(self) -> None:
        """End the threads, give the sessions back."""
        with self._executor_lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()
        self.access.close()

    def _sign_at_once(self, key: TokenKey, slices: Sequence[_Slice]) -> Fault | None:
        with self._executor_lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._sessions, thread_name_prefix="hsm")
            futures = [self._executor.submit(part.sign, self.access, key) for part in slices]
        wait(futures)  # all of them: none may still be writing when the rest is cut for the second attempt
        return next((fault for fault in (future.result() for future in futures) if fault is not None), None)


class Pkcs11Signer:
    """A key in the token."""

    def __init__(self, key: TokenKey, sign_raw: Callable[[TokenKey, Sequence[bytes]], list[bytes]]) -> None:
        self._key = key
        self._sign_raw = sign_raw

    @property
    def label(self) -> str:
        """The key's label in its token."""
        return self._key.locator[0]

    @property
    def algorithm(self) -> KeyAlgorithm:
        """The key's algorithm."""
        return self._key.algorithm

    @property
    def spki_der(self) -> bytes:
        """The public half as DER SubjectPublicKeyInfo."""
        return self._key.spki_der

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """Sign each message, in order: hash all, sign all, encode all (see ``Signer.sign``)."""
        if not messages:
            return []
        if self._key.algorithm is KeyAlgorithm.ED448:
            return self._sign_raw(self._key, messages)  # RFC 8410: pure, the token hashes
        digest = hashlib.sha256 if self._key.algorithm is KeyAlgorithm.SECP256R1 else hashlib.sha512
        return encode_ecdsa_values(self._sign_raw(self._key, [digest(message).digest() for message in messages]))

    def sign_digests(self, digests: Sequence[bytes]) -> list[bytes]:
        """Sign messages given by their hashes (see ``Signer.sign_digests``)."""
        if self._key.algorithm is KeyAlgorithm.ED448:
            raise InvariantError("an Ed448 key signs whole messages, not hashes")
        return encode_ecdsa_values(self._sign_raw(self._key, digests)) if digests else []

    def __repr__(self) -> str:
        return f"Pkcs11Signer({self.label!r}, {self.algorithm})"


class Pkcs11KeyStore:
    """The private keys of one token. Nothing is opened before the first use, and each process opens for itself."""

    def __init__(
        self,
        module_path: Path,
        token_label: str,
        pin: PinSource,
        sessions: int,
        lock_file: Path,
        expected_serial: str = "",
    ) -> None:
        if sessions < 1:
            raise SettingsError(f"a key store needs at least one session, not {sessions}")
        self._record = TokenRecord(
            module_path=module_path,
            label=token_label,
            serial=expected_serial,
            pin=pin,
            lock_file=lock_file,
            sessions=sessions,
        )
        self._processes: dict[int, _Process] = {}
        self._identities: list[TokenIdentity] = []  # empty until it is asked for

    @property
    def breaker_seconds(self) -> float:
        """How long calls fail at once after a recovery has failed."""
        return self._record.breaker_seconds

    @breaker_seconds.setter
    def breaker_seconds(self, seconds: float) -> None:
        self._record.breaker_seconds = seconds

    @property
    def identity(self) -> TokenIdentity:
        """The token behind this store."""
        if not self._identities:
            self._use(lambda session: self._identities.append(identity_of(session.session.token)))
        return self._identities[0]

    def generate(self, label: str, algorithm: KeyAlgorithm) -> Pkcs11Signer:
        """Make a new key pair inside the token; ConflictError when the label is taken."""
        if not label:
            raise SettingsError("a key needs a label")
        if algorithm not in self.algorithms():
            raise SettingsError(f"token {self._record.label!r} cannot make {algorithm} keys")

        def make(session: TokenSession) -> None:
            with locked(self._record.lock_file, _GENERATION_PATIENCE_SECONDS):  # two processes, one label
                refuse_taken_label(session.session, label)
                writable = session.session.token.open(rw=True)
                try:
                    generate_key(writable, label, algorithm)
                finally:
                    writable.close()

        access = self._here().access
        access.refuse(access.run(make))  # not tried again: the first attempt may have made the key
        return self.bind(label)

    def is_taken(self, label: str) -> bool:
        """Tell whether any object of the token has that label, besides what a kill left of a pair in the making."""
        found: list[bool] = []
        self._use(lambda session: found.append(is_label_taken(session.session, label)))
        return found[-1]

    def bind(self, label: str) -> Pkcs11Signer:
        """Return the signer for a key and check its attributes; KeyRejectedError when they are wrong."""
        found: list[TokenKey] = []
        self._use(lambda session: found.append(read_key(session.session, label)))
        return Pkcs11Signer(found[-1], lambda key, payloads: self._here().sign(key, payloads))

    def algorithms(self) -> frozenset[KeyAlgorithm]:
        """Return the key algorithms this token can make."""
        found: list[frozenset[KeyAlgorithm]] = []
        self._use(lambda session: found.append(supported_algorithms(session.session.token)))
        return found[-1]

    def close(self) -> None:
        """Give sessions back; the store opens again by itself at the next use."""
        process = self._processes.get(os.getpid())
        if process is not None:
            process.close()

    def __repr__(self) -> str:
        return f"Pkcs11KeyStore({self._record.label!r})"

    def _use(self, work: Callable[[TokenSession], None]) -> None:
        access = self._here().access
        access.with_recovery(lambda: access.run(work))

    def _here(self) -> _Process:
        """Return this process's part. After fork there is none yet: what the parent opened is never used (5.4)."""
        process_id = os.getpid()
        return self._processes.get(process_id) or self._processes.setdefault(process_id, _Process(self._record))


def _cut(payloads: Sequence[bytes], parts: int) -> list[_Slice]:
    """Cut into as many runs of nearly equal length as there are sessions, but none empty."""
    if parts == 1 or len(payloads) == 1:
        return [_Slice(payloads)]
    parts = min(parts, len(payloads))
    bounds = [len(payloads) * part // parts for part in range(parts + 1)]
    return [_Slice(payloads[start:end]) for start, end in pairwise(bounds)]
