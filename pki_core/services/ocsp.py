"""OCSP (RFC 6960, profile of RFC 9919): a request in, always a response out.

The way of an answer, the first that leads to one: the process's cache, unless the request carries a nonce; a response
signed ahead in the store; a signature made now. When neither store nor token can be had, what the cache still holds is
good until its next update. ``good`` is said of certificates the store knows as issued by that very CA, of no other.
"""

import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.errors import (
    MalformedError,
    NotAuthorizedError,
    OverloadedError,
    PkiError,
    StoreUnavailableError,
    UnavailableError,
)
from pki_core.model.ocsp import (
    Answer,
    OcspPolicy,
    OcspRequest,
    OcspStatus,
    ResponderRecord,
    StatusAnswer,
    StatusChange,
    StatusRecord,
)
from pki_core.model.states import CertificateState
from pki_core.services.ocsp_cache import FACT_SECONDS, Certificate, Entry, Fact, OcspCache
from pki_core.services.ocsp_directory import AnsweredCa, OcspDirectory
from pki_core.services.ocsp_feed import LOOK_SECONDS, RevocationFeed
from pki_core.services.ocsp_signing import OcspSigner
from pki_core.store.unit_of_work import Store
from pki_core.wire.ocsp_request import parse_request
from pki_core.wire.ocsp_response import error_response

_log = logging.getLogger(__name__)
_ISSUED = frozenset({CertificateState.GOOD, CertificateState.REVOKED, CertificateState.HOLD})
_REFUSALS = {
    status: Answer(status=status, der=error_response(status))
    for status in OcspStatus
    if status is not OcspStatus.SUCCESSFUL
}


class _Question(NamedTuple):
    """A request that was understood: by whom it is answered, and under which key the answer is kept."""

    request: OcspRequest
    ca: AnsweredCa
    key: bytes
    now: int


class OcspResponder:
    """Answers requests. Safe among threads; nothing it meets is raised to the front."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signer: OcspSigner,
        policy: OcspPolicy,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signer = signer
        self._policy = policy
        self._directory = OcspDirectory(store)
        self._cache = OcspCache(policy.cache_entries)
        self._feed = RevocationFeed(store, clock, self._on_change, self._after_look, look_seconds)
        self._looking = _Places(policy.most_looking, "more answers are being looked up than allowed at once")
        self._live = _Places(policy.most_live, "more answers are being signed than allowed at once")
        self.trouble = ""  # code of what kept the last answer from being made; "" = nothing

    def answer(self, request_der: bytes) -> Answer:
        """Return the answer to a request in DER."""
        now = self._now()
        entry = self._cache.by_request.get(request_der)
        if entry is not None and self._feed.is_fresh() and now < entry.believed_until and not entry.dropped:
            return entry.answer
        try:
            return self._answer(request_der, now)
        except MalformedError:
            return _REFUSALS[OcspStatus.MALFORMED_REQUEST]
        except NotAuthorizedError:
            return _REFUSALS[OcspStatus.UNAUTHORIZED]
        except UnavailableError as error:
            self._note(error)
            return _REFUSALS[OcspStatus.TRY_LATER]
        except PkiError as error:
            self._note(error)
            return _REFUSALS[OcspStatus.INTERNAL_ERROR]

    def close(self) -> None:
        """Look at the feed no more."""
        self._feed.close()

    def _answer(self, request_der: bytes, now: int) -> Answer:
        request = parse_request(request_der, self._policy.most_certificates)
        is_fresh = self._feed.is_fresh()
        key = b"".join([one.der for one in request.certificate_ids])
        entry = self._cache.get(key)
        if request.nonce is None and entry is not None and _stands(entry, now, is_fresh=is_fresh):
            self._cache.remember(request_der, entry)
            return entry.answer
        try:
            if not is_fresh:
                raise StoreUnavailableError("the store has not answered for a second")
            with self._looking:
                question = _Question(request, self._directory.find(request.certificate_ids), key, now)
                answer = self._make(question, entry)
        except UnavailableError as error:
            if entry is None or not _is_better_than_none(entry, now, error):
                raise
            self._note(error)
            return entry.answer  # RFC 9919 4.1: without the nonce is better than not at all
        self.trouble = ""
        return answer

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _make(self, question: _Question, known: Entry | None) -> Answer:
        epoch = self._feed.looks
        ids = question.request.certificate_ids
        if known is not None and question.now >= known.believed_until:
            is_so = self._is_still_so(question, known, epoch)  # asked also for a nonce's sake: it is what there is else
            if is_so and question.request.nonce is None and question.now < known.renew_at:
                return known.answer
        responder = question.ca.responder(question.now)
        ahead = None
        if len(ids) == 1 and question.request.nonce is None:
            ahead = self._signed_ahead(question)
            if ahead is not None and question.now < ahead.renew_at:
                self._cache.put(ahead, epoch)
                return ahead.answer
        try:
            with self._live:
                return self._sign(question, responder, epoch)
        except UnavailableError:
            if ahead is None:
                raise
            return ahead.answer

    def _is_still_so(self, question: _Question, known: Entry, epoch: int) -> bool:
        """Tell whether an answer too old to be believed unseen says what the store says; else it is forgotten."""
        # Not the question's moment: the clock may have been set back since, and the epoch tells.
        facts = self._facts(question.ca.record.id, [serial for _, serial in known.records], (self._now(), epoch))
        is_so = {certificate: fact.record for certificate, fact in facts.items()} == known.records
        if is_so and question.ca.is_trusted and question.ca.vouches_for(known.answer.der):
            self._cache.confirm(known, min(fact.until for fact in facts.values()), epoch)
            return True
        self._cache.drop(known)
        return False

    def _signed_ahead(self, question: _Question) -> Entry | None:
        one = question.request.certificate_ids[0]
        ca_id = question.ca.record.id
        until = self._now() + FACT_SECONDS
        with self._store.reading() as work:
            found = work.ocsp.stored(ca_id, one.serial, one.hash_algorithm)
        if found is None:
            return None
        stored, record = found
        if stored.next_update <= question.now or not question.ca.vouches_for(stored.response_der):
            return None
        if (
            one.der not in stored.response_der
        ):  # the CertID goes back as it came; there is more than one way to write it
            return None
        answer = _successful(stored.response_der, stored.this_update, stored.next_update, cacheable=True)
        return Entry(question.key, answer, {(ca_id, one.serial): Fact(record, until)})

    def _sign(self, question: _Question, responder: ResponderRecord, epoch: int) -> Answer:
        request, ca_id = question.request, question.ca.record.id
        ids = request.certificate_ids
        now = self._signer.now()
        facts = self._facts(ca_id, [one.serial for one in ids], (now, epoch))
        ca_serials = self._directory.current().ca_serials
        answers = []
        for one in ids:
            seconds = self._policy.ca_seconds if (ca_id, one.serial) in ca_serials else self._policy.leaf_seconds
            due = min(now + seconds, responder.not_after)
            fact = facts.get((ca_id, one.serial))
            record = fact.record if fact else None
            answers.append(status_answer(one.der, record, (now, due), self._policy.archive_seconds))
        (der,) = self._signer.sign(responder, now, [answers], request.nonce)
        is_for_all = request.nonce is None and all(one.record is not None for one in answers)
        answer = _successful(der, now, min(one.next_update for one in answers), cacheable=is_for_all)
        if is_for_all:
            self._cache.put(Entry(question.key, answer, facts), epoch)
        return answer

    def _facts(self, ca_id: int, serials: list[str], moment: tuple[int, int]) -> dict[Certificate, Fact]:
        """Return what is known of serials: remembered since its last change and not for long, else read.

        ``moment`` is the time, read no earlier than the epoch that stands beside it.
        """
        now, epoch = moment
        asked = dict.fromkeys((ca_id, serial) for serial in serials if serial)
        facts = {one: fact for one in asked if (fact := self._cache.fact(one, now)) is not None}
        if missing := [one[1] for one in asked if one not in facts]:
            with self._store.reading() as work:
                found = work.ocsp.status(ca_id, missing)
            for serial, record in found.items():
                if record.state in _ISSUED:  # a drawn serial becomes good without a line in the feed
                    facts[ca_id, serial] = Fact(record, now + FACT_SECONDS)
                    self._cache.put_fact((ca_id, serial), facts[ca_id, serial], epoch)
        return facts

    def _on_change(self, changes: Sequence[StatusChange] | None, look: int) -> None:
        if changes is None:
            self._directory.forget()
            self._cache.doubt(look)
            return
        if any(self._is_pillar(one) for one in changes):
            self._directory.forget()
            self._cache.clear(look)
        for one in changes:
            self._cache.evict((one.issuer_id, one.serial), look)

    def _after_look(self) -> None:
        with suppress(StoreUnavailableError):
            self._signer.note()

    def _is_pillar(self, one: StatusChange) -> bool:
        try:
            return self._directory.current().is_pillar((one.issuer_id, one.serial))
        except StoreUnavailableError:
            return True

    def _note(self, error: PkiError) -> None:
        """Say a trouble when it begins, not for each request that meets it."""
        if self.trouble != error.code:
            self.trouble = error.code
            _log.warning("OCSP answers cannot be signed: %s: %s", error.code, error)


def _stands(entry: Entry, now: int, *, is_fresh: bool) -> bool:
    """Tell whether an answer is given without a look at the store: it is young, or the store is away."""
    if is_fresh or entry.is_doubted:
        return now < entry.believed_until
    return now < entry.renew_at


def _is_better_than_none(entry: Entry, now: int, error: UnavailableError) -> bool:
    """Tell whether an answer is given that could not be made anew; where the store is there, not for long."""
    if entry.dropped or entry.is_doubted or now >= entry.answer.next_update:
        return False
    return not isinstance(error, OverloadedError) or now < entry.seen_until + FACT_SECONDS


def status_answer(
    certificate_id_der: bytes, record: StatusRecord | None, window: tuple[int, int], archive_seconds: int
) -> StatusAnswer:
    """Return what is said of one certificate; ``window`` is (this_update, next_update).

    Raises:
        NotAuthorizedError: it expired longer ago than is kept.
    """
    cutoff = None
    if record is not None and record.not_after <= window[0]:  # RFC 6960 4.4.4: only then does the cutoff say anything
        cutoff = window[0] - archive_seconds
        if record.not_after < cutoff:
            raise NotAuthorizedError("the certificate expired before the archive cutoff")
    return StatusAnswer(certificate_id_der, record, *window, cutoff)


class _Places:
    """A few places that are taken at once or not at all: OverloadedError. A semaphore costs a live answer 5 us more."""

    def __init__(self, most: int, refusal: str) -> None:
        self._refusal = refusal
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._free.put(None)

    def __enter__(self) -> None:
        try:
            self._free.get_nowait()
        except Empty:
            raise OverloadedError(self._refusal) from None

    def __exit__(self, *_: object) -> None:
        self._free.put(None)


def _successful(der: bytes, this_update: int, next_update: int, *, cacheable: bool) -> Answer:
    return Answer(
        status=OcspStatus.SUCCESSFUL,
        der=der,
        cacheable=cacheable,
        this_update=this_update,
        next_update=next_update,
        etag=hashlib.sha256(der).hexdigest() if cacheable else "",
    )
