"""Which V2G root a fingerprint names: vehicles list the serials of roots they know, contracts the root of their CPS."""

import hashlib
from datetime import datetime, timedelta
from threading import Lock
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.pools import RootKind
from pki_core.model.profiles import Level
from pki_core.store.unit_of_work import Store
from pki_core.wire.pool_certificate import read_certificate

_LOOK_EVERY = timedelta(minutes=1)


class _Root(NamedTuple):
    serial: int
    certificate_der: bytes


class CpsRoots:
    """Our own roots and the V2G roots of the RCP, by fingerprint; kept for a minute."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._roots: dict[str, _Root] = {}
        self._look_at: datetime | None = None

    def is_known(self, fingerprint: str, serials: frozenset[int]) -> bool:
        """Tell whether a vehicle that lists these serials knows a root. Names come in every notation: serials count.

        Contract data whose root nobody named is given to every vehicle, which judges by itself.
        """
        root = self._known().get(fingerprint)
        return not fingerprint or (root is not None and root.serial in serials)

    def stands(self, fingerprint: str) -> bool:
        """Tell whether a root is ours or in the RCP, and has not ended; nobody can say it of one that nobody named."""
        return not fingerprint or fingerprint in self._known()

    def certificate_of(self, fingerprint: str) -> bytes | None:
        """Return a root that stands, in DER; None for others."""
        root = self._known().get(fingerprint)
        return None if root is None else root.certificate_der

    def standing(self) -> list[str]:
        """Return the fingerprints of all that stand."""
        return sorted(self._known())

    def _known(self) -> dict[str, _Root]:
        now = self._clock.now()
        with self._lock:
            if self._look_at is None or not self._look_at <= now < self._look_at + _LOOK_EVERY:
                with self._store.reading() as work:
                    own = [one for one in work.issuers.all() if one.level is Level.ROOT]
                    ders = [one.certificate_der for one in own if one.not_after is not None and now < one.not_after]
                    pool = work.root_pool.active(RootKind.V2G)
                    ders += [root.certificate_der for root in pool if now < root.valid_to]
                self._roots = {
                    hashlib.sha256(der).hexdigest(): _Root(int(read_certificate(der).serial, 16), der)
                    for der in ders
                    if der
                }
                self._look_at = now
            return self._roots
