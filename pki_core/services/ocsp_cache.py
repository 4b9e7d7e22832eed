"""What a process remembers of OCSP: answers by the complete bytes of their CertIDs, and facts about serials.

An answer that was being made while its certificate was revoked must not be kept. So whoever makes one says how many
looks at the feed there had been before it read the store (its ``epoch``); what a later look evicted is not taken.

The feed tells of changes within a second as long as clocks agree. A change it missed is found by age: what was read of
a certificate is believed for a minute, and so is every answer that says it; then the store is asked again.
"""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

from pki_core.model.ocsp import Answer, StatusRecord

Certificate = tuple[int, str]  # issuer and serial

# For so long a revocation may go unseen that the feed missed, because the clock of whoever wrote it is further behind
# than the feed looks back. One look a minute at each certificate that is asked about costs next to nothing.
FACT_SECONDS = 60
_MOST_EVICTIONS = 50_000
_DOUBTED = 0
_LONGEST_REMEMBERED = 512  # octets: clients that write more than they need go the longer way


class Fact(NamedTuple):
    """What the store said of a certificate."""

    record: StatusRecord
    until: int  # believed till then, in seconds since 1970


class Entry:
    """An answer in the cache."""

    __slots__ = ("answer", "believed_until", "dropped", "key", "records", "renew_at", "seen_until")

    def __init__(self, key: bytes, answer: Answer, facts: Mapping[Certificate, Fact]) -> None:
        self.key = key
        self.answer = answer
        self.records = {certificate: fact.record for certificate, fact in facts.items()}  # what the answer says
        # For half its life; the other half is for times when nothing can be signed.
        self.renew_at = answer.this_update + (answer.next_update - answer.this_update) // 2
        self.seen_until = min(fact.until for fact in facts.values())  # what the store said is believed till then
        self.believed_until = min(self.renew_at, self.seen_until)
        self.dropped = False

    @property
    def is_doubted(self) -> bool:
        """Tell whether nothing is known of it any more: not even a store that is away makes it an answer."""
        return self.believed_until == _DOUBTED


class OcspCache:
    """Bounded; the least recently used answer goes first. Safe among threads."""

    def __init__(self, most: int) -> None:
        self.by_request: dict[bytes, Entry] = {}  # whole requests seen before, to their entry: the shortest way
        self._most = most
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._by_certificate: dict[Certificate, list[Entry]] = {}
        self._facts: OrderedDict[Certificate, Fact] = OrderedDict()
        self._evicted: dict[Certificate, int] = {}
        self._oldest_epoch = 0
        self._lock = Lock()

    def get(self, key: bytes) -> Entry | None:
        """Return the answer to these CertIDs, however old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, entry: Entry, epoch: int) -> None:
        """Keep an answer unless one of its certificates changed since ``epoch``."""
        with self._lock:
            if any(self._changed_since(one, epoch) for one in entry.records):
                return
            if entry.key in self._entries:
                self._remove(self._entries[entry.key])
            while len(self._entries) >= self._most:
                self._remove(next(iter(self._entries.values())))
            self._entries[entry.key] = entry
            for certificate in entry.records:
                self._by_certificate.setdefault(certificate, []).append(entry)

    def remember(self, request_der: bytes, entry: Entry) -> None:
        """Lead a request to its entry."""
        with self._lock:
            if len(self.by_request) >= self._most:
                self.by_request.clear()
            if not entry.dropped and len(request_der) <= _LONGEST_REMEMBERED:
                self.by_request[request_der] = entry

    def confirm(self, entry: Entry, until: int, epoch: int) -> None:
        """Believe an answer for longer, unless one of its certificates changed since ``epoch``."""
        with self._lock:
            if not any(self._changed_since(one, epoch) for one in entry.records):
                entry.seen_until = until
                entry.believed_until = min(entry.renew_at, until)

    def fact(self, certificate: Certificate, now: int) -> Fact | None:
        """Return what is known of a certificate and is not too old to be believed."""
        fact = self._facts.get(certificate)
        return fact if fact is not None and now < fact.until else None

    def put_fact(self, certificate: Certificate, fact: Fact, epoch: int) -> None:
        """Keep what the store said unless it changed since ``epoch``; answers that say otherwise go."""
        with self._lock:
            if self._changed_since(certificate, epoch):
                return
            if len(self._facts) >= self._most:
                self._facts.popitem(last=False)
            self._facts[certificate] = fact
            for entry in list(self._by_certificate.get(certificate, ())):
                if entry.records[certificate] != fact.record:
                    self._remove(entry)

    def evict(self, certificate: Certificate, epoch: int) -> None:
        """Forget everything about a certificate; ``epoch`` is the number of the look that saw it change."""
        with self._lock:
            if len(self._evicted) >= _MOST_EVICTIONS:
                self._evicted.clear()
                self._oldest_epoch = epoch
            self._evicted[certificate] = epoch
            self._facts.pop(certificate, None)
            for entry in list(self._by_certificate.get(certificate, ())):
                self._remove(entry)

    def drop(self, entry: Entry) -> None:
        """Forget one answer."""
        with self._lock:
            self._remove(entry)

    def doubt(self, epoch: int) -> None:
        """Believe nothing that was read before: nobody can tell what changed since."""
        with self._lock:
            self._facts.clear()
            for entry in self._entries.values():
                entry.believed_until = _DOUBTED
            self._oldest_epoch = epoch

    def clear(self, epoch: int) -> None:
        """Forget everything."""
        with self._lock:
            for entry in self._entries.values():
                entry.dropped = True
            for kept in (self._entries, self._by_certificate, self._facts, self._evicted, self.by_request):
                kept.clear()
            self._oldest_epoch = epoch

    def _changed_since(self, certificate: Certificate, epoch: int) -> bool:
        return epoch < self._oldest_epoch or self._evicted.get(certificate, 0) > epoch

    def _remove(self, entry: Entry) -> None:
        entry.dropped = True
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        for certificate in entry.records:
            others = [one for one in self._by_certificate.get(certificate, ()) if one is not entry]
            if others:
                self._by_certificate[certificate] = others
            else:
                self._by_certificate.pop(certificate, None)
