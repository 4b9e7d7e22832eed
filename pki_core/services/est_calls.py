"""One EST enrolment on its way: as it came, once it may be signed, what is written beside it, what it gives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from pki_core.model.clock import Clock
from pki_core.model.credentials import Caller, Presented
from pki_core.model.errors import ConflictError
from pki_core.model.requests import Issued, IssueRequest, Outcome
from pki_core.services.enroll import NoHooks
from pki_core.services.est_offers import Choice, Offer
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class EstCall:
    """One enrolment as it came."""

    choice: Choice
    presented: Presented
    body: bytes
    tls_unique: bytes | None = None
    renews: bool = False
    makes_key: bool = False  # the key of the request is not looked at: another one is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What an enrolment gives: certificates, the new one first; none of them = ask again later."""

    certificates: tuple[bytes, ...] = ()
    offer: Offer
    is_linked: bool = False
    private_key_der: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyRequest:
    """A request that may become a certificate."""

    caller: Caller
    offer: Offer
    request: IssueRequest
    csr_der: bytes
    is_linked: bool


class EnrollmentRows(NoHooks):
    """What is written beside the certificate."""

    def __init__(self, clock: Clock, ready: ReadyRequest, call: EstCall, approved_id: str) -> None:
        self._clock = clock
        self._ready = ready
        self._call = call
        self._approved_id = approved_id

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Use the code or the approval up; say what was renewed, or why it was refused."""
        (outcome,) = outcomes
        caller, now = self._ready.caller, self._clock.now()
        label = self._ready.offer.label
        if not isinstance(outcome, Issued):
            entry = AuditEntry(actor=caller.partner.id, action="est.refused", detail=f"{label} {outcome.code}")
            work.audit.append("est", now, [entry])
            return
        if caller.code_id is not None and not work.credentials.end(caller.code_id, now):
            raise ConflictError("the enrolment code was used by another request at the same time")
        if self._approved_id and not work.est_requests.close(self._approved_id, outcome.certificate_id):
            raise ConflictError("the approved request was answered by another call at the same time; ask again")
        if self._call.renews:
            digest = hashlib.sha256(outcome.certificate_der).digest()
            entry = AuditEntry(
                caller.partner.id,
                "est.renewed",
                certificate_sha256=digest,
                detail=f"{label} instead of {caller.serial}",
            )
            work.audit.append("est", now, [entry])
