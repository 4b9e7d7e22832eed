"""The CRLs that are served (RFC 5280 5, RFC 9110 13): found by file name, pieces of them kept in the process.

What is kept is held against the pointer row at each request: one narrow read, and never a list that was replaced.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

from pki_core.model.clock import Clock
from pki_core.model.crls import FULL, CrlKind, CrlRecord
from pki_core.model.errors import NotFoundError, StoreUnavailableError
from pki_core.store.crls import PIECE_OCTETS
from pki_core.store.unit_of_work import Store

_NAME = re.compile(r"(?P<label>[A-Za-z0-9][A-Za-z0-9._-]{0,63}?)(?P<shard>-[0-9]{2})?(?P<delta>-delta)?")
_KEPT = 64  # pieces: 64 MiB at the very most, whoever reads them at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCrl:
    """A published CRL."""

    record: CrlRecord
    is_expired: bool  # past its next update: nobody may rely on it
    seconds_left: int  # until its next update


class CrlShelf:
    """Hands out what is published."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pieces: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = Lock()
        self._reading = Lock()  # many who want the same piece get it from one of them

    def find(self, name: str) -> ServedCrl:
        """Return what is published under a file name without its ``.crl``; NotFoundError when nothing is."""
        for label, scope, kind in _readings(name):
            with self._store.reading() as work:
                issuer = work.issuers.find(label)
                record = work.crls.published(issuer.id, scope, kind) if issuer else None
            if record is not None:
                left = int((record.next_update - self._clock.now()).total_seconds())
                return ServedCrl(record=record, is_expired=left <= 0, seconds_left=left)
        raise NotFoundError("there is no such CRL")

    def is_only_one_of_its_time(self, record: CrlRecord) -> bool:
        """Tell whether no other list of its scope and kind was issued in its second, or later."""
        with self._store.reading() as work:
            return not work.crls.has_another_since(record)

    def octets(self, record: CrlRecord) -> Iterator[bytes]:
        """Yield a CRL piece by piece.

        Raises:
            StoreUnavailableError: the database is away, or the list was removed while it was read.
        """
        for seq in range(-(-record.octets // PIECE_OCTETS)):
            yield self._kept(record.id, seq) or self._read(record.id, seq)

    def _kept(self, crl_id: int, seq: int) -> bytes | None:
        with self._lock:
            piece = self._pieces.get((crl_id, seq))
            if piece is not None:
                self._pieces.move_to_end((crl_id, seq))
            return piece

    def _read(self, crl_id: int, seq: int) -> bytes:
        with self._reading:
            piece = self._kept(crl_id, seq) or self._piece(crl_id, seq)
            with self._lock:
                self._pieces[crl_id, seq] = piece
                while len(self._pieces) > _KEPT:
                    self._pieces.popitem(last=False)
        return piece

    def _piece(self, crl_id: int, seq: int) -> bytes:
        with self._store.reading() as work:
            piece = work.crls.piece(crl_id, seq)
        if piece is None:
            raise StoreUnavailableError("this CRL was replaced while it was read")
        return piece


def _readings(name: str) -> Iterator[tuple[str, str, CrlKind]]:
    """Yield (issuer label, scope, kind) that a name may stand for: a label may end in two digits itself."""
    found = _NAME.fullmatch(name)
    if found is None:
        return
    kind = CrlKind.DELTA if found["delta"] else CrlKind.COMPLETE
    if found["shard"]:
        yield found["label"] + found["shard"], FULL, kind
        yield found["label"], found["shard"].removeprefix("-"), kind
    else:
        yield found["label"], FULL, kind
