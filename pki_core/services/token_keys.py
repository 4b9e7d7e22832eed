"""Keys of access tokens: made in the key store, published before they sign, kept until what they signed has expired.

One key signs for ``key_life``; its successor is published an hour before it takes over, so that whoever keeps our JWKS
for an hour never meets a key it does not know. A key that is withdrawn takes its tokens with it at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, InvariantError, KeyRejectedError
from pki_core.model.signer import KeyAlgorithm, KeyStore, Signer
from pki_core.model.tokens import TokenKey, TokenPolicy
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store

_LEAD = timedelta(hours=1)
_LOOK_EVERY = timedelta(seconds=30)  # how long another process may believe a withdrawn key


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """What a rotation did, in labels; "" and () when nothing was due."""

    made: str
    withdrawn: tuple[str, ...]


class TokenKeys:
    """The keys of one environment."""

    def __init__(self, store: Store, key_store: Callable[[], KeyStore], clock: Clock, policy: TokenPolicy) -> None:
        self._store = store
        self._key_store = key_store
        self._clock = clock
        self._policy = policy
        self._lock = Lock()
        self._keys: list[TokenKey] = []
        self._look_at: datetime | None = None
        self._bound: dict[str, Signer] = {}

    def signing(self) -> Signer:
        """Return the key that signs now; the first one is made when it is first needed.

        Raises:
            HsmUnavailableError, StoreUnavailableError: no token can be signed now.
            KeyRejectedError: the key is not the one that is published.
        """
        now = self._clock.now()
        key = _signing_key(self._known(now), now)
        if key is None:
            self._add(now)
            key = _signing_key(self._known(now, again=True), now)
        if key is None:
            raise InvariantError("no key signs tokens")
        signer = self._bound.get(key.key_label)
        if signer is None:
            signer = self._key_store().bind(key.key_label)
            if signer.spki_der != key.spki_der:
                raise KeyRejectedError(f"the key {key.key_label!r} is not the one that is published")
            self._bound[key.key_label] = signer
        return signer

    def published(self) -> list[TokenKey]:
        """Return the keys whose tokens are believed, and the next one."""
        now = self._clock.now()
        keys = [key for key in self._known(now) if key.ended_at is None]
        keep = self._policy.lifetime + _LOOK_EVERY
        return [
            key
            for key, follower in zip(keys, [*keys, None][1:], strict=True)
            if follower is None or now < follower.signs_from + keep
        ]

    def rotate(self) -> KeyRotation:
        """Publish the next key when the newest one nears its end. Running it again does nothing more."""
        now = self._clock.now()
        keys = self._known(now, again=True)
        if not keys or now < keys[-1].signs_from + self._policy.key_life - _LEAD:
            return KeyRotation(made="", withdrawn=())
        return KeyRotation(made=self._add(now + _LEAD), withdrawn=())

    def withdraw(self) -> KeyRotation:
        """Replace every key now: one of them may be known to somebody. All tokens end within half a minute."""
        now = self._clock.now()
        old = [key for key in self._known(now, again=True) if key.ended_at is None]
        made = self._add(now)
        labels = tuple(key.key_label for key in old)
        with self._store.transaction() as work:
            work.token_keys.end([key.number for key in old], now)
            entries = [AuditEntry(actor="operator", action="token_key.withdrawn", detail=label) for label in labels]
            work.audit.append("partners", now, entries)
        self._known(now, again=True)
        return KeyRotation(made=made, withdrawn=labels)

    def _known(self, now: datetime, *, again: bool = False) -> list[TokenKey]:
        with self._lock:
            if again or self._look_at is None or not self._look_at <= now < self._look_at + _LOOK_EVERY:
                with self._store.reading() as work:
                    self._keys = work.token_keys.all()
                self._look_at = now
            return self._keys

    def _add(self, signs_from: datetime) -> str:
        now = self._clock.now()
        with self._store.reading() as work:
            number = len(work.token_keys.all()) + 1
        label = f"tokens-{number}"
        signer = self._key(label)
        key = TokenKey(number=number, key_label=label, spki_der=signer.spki_der, signs_from=signs_from, ended_at=None)
        try:
            with self._store.transaction() as work:
                work.token_keys.add(key)
                work.audit.append(
                    "partners", now, [AuditEntry(actor="rotation", action="token_key.added", detail=label)]
                )
        except ConflictError:
            return label  # another process was quicker, with this very key
        return label

    def _key(self, label: str) -> Signer:
        try:
            return self._key_store().generate(label, KeyAlgorithm.SECP256R1)
        except ConflictError:
            return self._key_store().bind(label)  # made by another process, or by a run that ended before its row


def _signing_key(keys: Sequence[TokenKey], now: datetime) -> TokenKey | None:
    ready = [key for key in keys if key.ended_at is None and key.signs_from <= now]
    return ready[-1] if ready else None
