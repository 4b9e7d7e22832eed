"""The keys an identity provider signs tokens with (RFC 7517): a file, or a URL that is asked beside the requests.

Whoever has a token of a known key never waits for the provider. For an unknown key one request at a time waits a
moment; all others are refused at once: a provider that hangs, or a flood of forged key ids, takes one thread.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread

import jwt

from pki_core.model.clock import Clock
from pki_core.model.errors import ForbiddenAddressError, NotAuthenticatedError, SettingsError, UnavailableError
from pki_core.model.outbound import OutboundAnswer, OutboundRequest

_KEPT_SECONDS = 300
_ASKED_AGAIN_SECONDS = 30  # for a key that is not known: a forged key id must not become a flood of fetches
_STALE_SECONDS = 3600  # old keys go on while the provider is away; it withdraws a key at most this much later
_AWAY_SECONDS = 5  # a provider that is away is not asked by every request
_WAIT_SECONDS = 5.0  # of the one request that asks for an unknown key
_MAX_JWKS = 1_048_576
_OK = 200

_log = logging.getLogger("pncpki.web")

Call = Callable[[OutboundRequest], OutboundAnswer]
Keys = dict[str, jwt.PyJWK]


class ProviderKeys:
    """Keys by their ids."""

    def __init__(self, source: str, home: Path, clock: Clock, call: Call | None = None) -> None:
        if source.startswith("http:") or (source.startswith("https:") and call is None):
            raise SettingsError("keys of an identity provider are fetched over https only")
        self._source = source
        self._home = home
        self._clock = clock
        self._call = call if source.startswith("https:") else None
        self._keys: Keys = {}
        self._read_at = 0.0
        self._asked_at = 0.0
        self._asking: Event | None = None
        self._lock = Lock()

    def key(self, key_id: str) -> jwt.PyJWK:
        """Return a key; without an id, the only one there is.

        Raises:
            NotAuthenticatedError: there is no such key.
            UnavailableError: there are no keys at all now.
        """
        now = self._clock.now().timestamp()
        with self._lock:
            key = _chosen(self._good(now), key_id)
            asked = self._ask(now) if self._is_due(now, is_known=key is not None) else None
        if key is None and asked is not None:
            asked.wait(_WAIT_SECONDS)
        with self._lock:
            keys = self._good(now)
        key = key or _chosen(keys, key_id)
        if key is not None:
            return key
        if not keys:
            raise UnavailableError("the identity provider's keys cannot be had")
        raise NotAuthenticatedError("the token is signed by a key that is not known")

    def _good(self, now: float) -> Keys:
        return self._keys if now - self._read_at <= _STALE_SECONDS else {}

    def _is_due(self, now: float, *, is_known: bool) -> bool:
        age = now - self._read_at
        if age <= _ASKED_AGAIN_SECONDS or (is_known and age <= _KEPT_SECONDS):
            return False
        return self._asking is None and (self._call is None or now - self._asked_at >= _AWAY_SECONDS)

    def _ask(self, now: float) -> Event:
        """Begin to ask; what is returned is set when that is over."""
        self._asked_at = now
        asked = Event()
        if self._call is None:
            self._take(self._read(), now)  # a file is there at once
            asked.set()
            return asked
        self._asking = asked
        Thread(target=self._ask_provider, args=(asked, now), daemon=True, name="provider-keys").start()
        return asked

    def _ask_provider(self, asked: Event, now: float) -> None:
        found = None
        try:
            found = self._read()
        finally:
            with self._lock:
                self._take(found, now)
                self._asking = None
            asked.set()

    def _take(self, found: Keys | None, now: float) -> None:
        if found is not None:
            self._keys, self._read_at = found, now

    def _read(self) -> Keys | None:
        try:
            document = json.loads(self._octets())
            listed = document.get("keys") if isinstance(document, dict) else None
            if not isinstance(listed, list) or not all(isinstance(key, dict) for key in listed):
                raise ValueError("no JWKS")  # noqa: TRY301  # the one sentence below is for every way to have no keys
            keys = jwt.PyJWKSet.from_dict(document).keys
        except (
            OSError,
            ValueError,
            RecursionError,
            jwt.PyJWTError,
            UnavailableError,
            ForbiddenAddressError,
            SettingsError,
        ) as error:
            _log.warning("the identity provider's keys cannot be had: %s", type(error).__name__)
            return None
        return {key.key_id or "": key for key in keys}

    def _octets(self) -> bytes:
        if self._call is None:
            return (self._home / self._source).read_bytes()
        request = OutboundRequest(url=self._source, headers={"Accept": "application/json"}, max_octets=_MAX_JWKS)
        answer = self._call(request)
        if answer.status != _OK:  # redirects are not followed
            raise UnavailableError(f"the identity provider answered {answer.status}")
        return answer.body


def _chosen(keys: Keys, key_id: str) -> jwt.PyJWK | None:
    if not key_id and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(key_id)
