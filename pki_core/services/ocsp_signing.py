"""Signing of OCSP responses by delegated responders (RFC 6960 4.2.2.2): every signature is proven before it leaves."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.errors import ClockBehindError, KeyRejectedError, SignatureInvalidError
from pki_core.model.ocsp import ResponderRecord, StatusAnswer
from pki_core.model.signer import KeyAlgorithm, KeyStore, Signer
from pki_core.store.unit_of_work import Store
from pki_core.wire.certificate import key_identifier_of, signature_is_valid
from pki_core.wire.ocsp_response import response_data, signed_response
from pki_core.wire.public_key import PublicKey, load_public_key

_READ_SECONDS = 10  # how old may be what is known of other processes' signatures
_NOTE_SECONDS = 10  # how far the stored time of the last signature may lag behind
_KEY_HASH_OCTETS = 20  # RFC 6960 4.2.1: ResponderID byKey is a SHA-1


class _Bound(NamedTuple):
    """A responder's key."""

    signer: Signer
    algorithm: KeyAlgorithm
    public_key: PublicKey
    key_hash: bytes


class OcspSigner:
    """Signs responses; a responder's key is bound at its first use."""

    def __init__(self, store: Store, key_store: Callable[[], KeyStore], clock: Clock, tolerance_seconds: int) -> None:
        self._store = store
        self._key_store = key_store
        self._clock = clock
        self._tolerance = tolerance_seconds
        self._bound: dict[str, _Bound] = {}
        self._lock = Lock()
        self._last: int | None = None
        self._noted = 0
        self._read_at = 0

    def now(self) -> int:
        """Return the present moment, which becomes thisUpdate and producedAt.

        Raises:
            ClockBehindError: it lies before the last signature of any process, by more than the tolerance.
            StoreUnavailableError: nobody can tell when that was.
        """
        now = int(self._clock.now().timestamp())
        if self._last is None or not 0 <= now - self._read_at < _READ_SECONDS:
            with self._store.reading() as work:
                self._last = max(work.ocsp.last_signed(), self._last or 0)
            self._read_at = now
        last = self._last
        if now < last - self._tolerance:
            raise ClockBehindError(f"the clock is {last - now} s behind the last OCSP signature")
        return now

    def sign(
        self,
        responder: ResponderRecord,
        produced_at: int,
        questions: Sequence[Sequence[StatusAnswer]],
        nonce: bytes | None = None,
    ) -> list[bytes]:
        """Return a response for each list of single answers, in order.

        Raises:
            HsmUnavailableError: the token is away.
            KeyRejectedError, SignatureInvalidError: nothing of this call may be used.
        """
        bound = self._bind(responder)
        datas = [response_data(bound.key_hash, produced_at, answers, nonce) for answers in questions]
        signatures = bound.signer.sign(datas)
        if len(signatures) != len(datas):
            raise SignatureInvalidError(f"key {responder.key_label!r} returned {len(signatures)} signatures")
        for data, signature in zip(datas, signatures, strict=True):
            if not signature_is_valid(bound.public_key, bound.algorithm, data, signature):
                raise SignatureInvalidError(f"key {responder.key_label!r} returned a signature that does not verify")
        self._last = max(self._last or 0, produced_at)
        certificate_der = responder.certificate_der
        return [
            signed_response(data, bound.algorithm, signature, certificate_der)
            for data, signature in zip(datas, signatures, strict=True)
        ]

    def note(self) -> None:
        """Tell the store when this process signed last, so that the next one knows; StoreUnavailableError."""
        last = self._last or 0
        if last >= self._noted + _NOTE_SECONDS:
            with self._store.transaction(forgettable=True) as work:
                work.ocsp.note_signed(last)
            self._noted = last

    def _bind(self, responder: ResponderRecord) -> _Bound:
        with self._lock:
            bound = self._bound.get(responder.key_label)
            if bound is None:
                signer = self._key_store().bind(responder.key_label)
                if signer.spki_der not in responder.certificate_der:
                    raise KeyRejectedError(f"the key {signer.label!r} is not that of responder {responder.label!r}")
                algorithm, public_key = load_public_key(signer.spki_der)
                key_hash = key_identifier_of(signer.spki_der, _KEY_HASH_OCTETS)
                bound = self._bound[responder.key_label] = _Bound(signer, algorithm, public_key, key_hash)
            return bound
