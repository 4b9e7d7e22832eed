"""Approvals: requests that wait until somebody has looked at them (RFC 7030 4.2.3, answer 202)."""

import hashlib
import uuid
from dataclasses import dataclass

from pki_core.model.certificates import CertificateRecord
from pki_core.model.clock import Clock
from pki_core.model.errors import (
    ConflictError,
    CsrRejectedError,
    MalformedError,
    NotFoundError,
    TooManyRequestsError,
)
from pki_core.model.est import EstRequest, EstRequestState
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.requests import IssueRequest
from pki_core.model.states import CertificateState
from pki_core.store.audit import AuditEntry
from pki_core.store.est_requests import Sought
from pki_core.store.unit_of_work import Store
from pki_core.wire.public_key import key_name

_LISTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a request: not decided yet, approved, or issued before."""

    approved_id: str = ""
    issued: CertificateRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks for what, beside what the request says."""

    partner_id: str
    label: str
    renews: tuple[str, ...] = ()  # the serial of the certificate that is renewed


class Approvals:
    """Keeps requests until they are decided."""

    def __init__(self, store: Store, clock: Clock, environment: str, max_pending: int) -> None:
        self._store = store
        self._clock = clock
        self._environment = environment
        self._max_pending = max_pending

    def look(self, asking: Asking, request: IssueRequest, csr_der: bytes) -> Verdict:
        """Return what became of a request; one that was never seen is kept.

        The client repeats it, signed anew perhaps: it is the same one by partner, label, key, subject, and the
        certificate it renews. With the key of that certificate it asks for a new one, not for the old one again.

        Raises:
            CsrRejectedError: ``approval.refused``.
            TooManyRequestsError: too many requests of this partner wait.
        """
        sought = Sought(
            partner_id=asking.partner_id,
            label=asking.label,
            spki_sha256=key_name(request.spki_der),
            subject_sha256=hashlib.sha256("\n".join([*request.subject, *asking.renews]).encode()).hexdigest(),
        )
        with self._store.reading() as work:
            known = work.est_requests.find(sought)
            certificate_id = None if known is None else known.certificate_id
            issued = None if certificate_id is None else work.certificates.of_id(certificate_id)
        if known is not None and known.state is EstRequestState.REFUSED:
            raise CsrRejectedError("approval.refused", "The request was looked at and refused.")
        if issued is not None and issued.state is CertificateState.GOOD and self._clock.now() < issued.not_after:
            return Verdict(issued=issued)  # the answer may have been lost: an approval is good for one certificate
        if known is not None and known.state is EstRequestState.PENDING:
            return Verdict()
        if known is not None and known.state is EstRequestState.APPROVED:
            return Verdict(approved_id=known.id)
        self._keep(known, sought, request, csr_der)
        return Verdict()

    def _keep(self, known: EstRequest | None, sought: Sought, request: IssueRequest, csr_der: bytes) -> None:
        """Keep a request of which nothing was known, or one that has come to its end."""
        now = self._clock.now()
        number = str(uuid.uuid4())
        with self._store.transaction() as work:
            work.partners.lock(sought.partner_id)  # his requests one by one: none waits twice, none above the limit
            if work.est_requests.find(sought) != known:
                return  # it came twice at the same time, and may be decided already
            if work.est_requests.count_pending(sought.partner_id) >= self._max_pending:
                raise TooManyRequestsError(f"{self._max_pending} requests of this partner wait for approval")
            work.est_requests.add(number, sought, csr_der, request.subject.common_name, now)
            entry = AuditEntry(actor=sought.partner_id, action="est.asked", detail=f"{number} {sought.label}")
            work.audit.append("est", now, [entry])

    def pending(self) -> list[EstRequest]:
        """Return the requests that wait, the oldest first."""
        with self._store.reading() as work:
            return work.est_requests.pending(_LISTED)

    def decide(self, number: str, state: EstRequestState, by: str) -> EstRequest:
        """Approve or refuse a request; ``by`` is the name of who decides, and outside dev it must be given.

        Raises:
            MalformedError, NotFoundError, ConflictError: no name, no such request, or it was decided before.
        """
        if not by and self._environment != "dev":
            raise MalformedError("say who decides: --by NAME")
        if len(by) > NAME_LIMIT or not by.isprintable():
            raise MalformedError(f"the name of who decides has at most {NAME_LIMIT} printable characters")
        who, now = by or "operator", self._clock.now()
        with self._store.transaction() as work:
            request = work.est_requests.get(number)
            if request is None:
                raise NotFoundError(f"there is no EST request {number!r}")
            if who == request.partner_id:
                raise ConflictError("whoever asks cannot decide")
            if not work.est_requests.decide(number, state, who, now):
                raise ConflictError(f"EST request {number} was decided before: it is {request.state}")
            work.audit.append("est", now, [AuditEntry(actor=who, action=f"est.{state}", detail=number)])
        return request
