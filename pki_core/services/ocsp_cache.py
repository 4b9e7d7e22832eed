"""What a process remembers of OCSP: answers by the complete bytes of their CertIDs, and facts about serials.

An answer that was being made while its certificate was revoked must not be kept. So whoever makes one says how many
looks at the feed there had been before it read the store (its ``epoch``); what a later look evicted is not taken.
"""

from collections import OrderedDict
from threading import Lock

from pki_core.model.ocsp import Answer, StatusRecord

Certificate = tuple[int, str]  # issuer and serial

_MOST_EVICTIONS = 50_000
_LONGEST_REMEMBERED = 512  # octets: clients that write more than they need go the longer way


class Entry:
    """An answer in the cache."""

    __slots__ = ("answer", "certificates", "dropped", "key", "renew_at")

    def __init__(self, key: bytes, answer: Answer, certificates: tuple[Certificate, ...]) -> None:
        self.key = key
        self.answer = answer
        self.certificates = certificates
        # For half its life; the other half is for times when nothing can be signed.
        self.renew_at = answer.this_update + (answer.next_update - answer.this_update) // 2
        self.dropped = False


class OcspCache:
    """Bounded; the least recently used answer goes first. Safe among threads."""

    def __init__(self, most: int) -> None:
        self.by_request: dict[bytes, Entry] = {}  # whole requests seen before, to their entry: the shortest way
        self._most = most
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._by_certificate: dict[Certificate, list[Entry]] = {}
        self._facts: OrderedDict[Certificate, StatusRecord] = OrderedDict()
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
            if any(self._changed_since(one, epoch) for one in entry.certificates):
                return
            if entry.key in self._entries:
                self._remove(self._entries[entry.key])
            while len(self._entries) >= self._most:
                self._remove(next(iter(self._entries.values())))
            self._entries[entry.key] = entry
            for certificate in entry.certificates:
                self._by_certificate.setdefault(certificate, []).append(entry)

    def remember(self, request_der: bytes, entry: Entry) -> None:
        """Lead a request to its entry."""
        with self._lock:
            if len(self.by_request) >= self._most:
                self.by_request.clear()
            if not entry.dropped and len(request_der) <= _LONGEST_REMEMBERED:
                self.by_request[request_der] = entry

    def fact(self, certificate: Certificate) -> StatusRecord | None:
        """Return what is known of a certificate since its last change."""
        return self._facts.get(certificate)

    def put_fact(self, certificate: Certificate, record: StatusRecord, epoch: int) -> None:
        """Keep what the store said unless it changed since ``epoch``."""
        with self._lock:
            if self._changed_since(certificate, epoch):
                return
            if len(self._facts) >= self._most:
                self._facts.popitem(last=False)
            self._facts[certificate] = record

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

    def clear(self, epoch: int) -> None:
        """Forget everything: more changed than is worth telling apart."""
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
        self._entries.pop(entry.key, None)
        for certificate in entry.certificates:
            others = [one for one in self._by_certificate.get(certificate, ()) if one is not entry]
            if others:
                self._by_certificate[certificate] = others
            else:
                self._by_certificate.pop(certificate, None)
