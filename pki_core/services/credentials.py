"""Credentials: machine secrets, client certificates and one-time codes of partners, made and withdrawn by the operator.

A secret has 256 random bits, so its SHA-256 tells nothing about it and a slow hash would only cost time.
"""

import hashlib
import secrets
from collections.abc import Sequence

from pki_core.model.clock import Clock
from pki_core.model.credentials import Credential, CredentialKind
from pki_core.model.errors import ConflictError, CsrRejectedError, NotFoundError
from pki_core.model.profiles import Profile
from pki_core.model.requests import Issued, Outcome, RequestedSubject
from pki_core.services.enroll import Enrollment, NoHooks
from pki_core.services.issuers import Issuers
from pki_core.services.orders import Order
from pki_core.services.runners import runner_token
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.csr import parse_csr

CLIENT_PROFILE = "tls_client"
CLIENT_ISSUER = "tls-root"
_SECRET_OCTETS = 32
_ACTOR = "operator"


class Credentials:
    """Makes, lists and withdraws credentials."""

    def __init__(self, store: Store, clock: Clock, issuers: Issuers, enrollment: Enrollment) -> None:
        self._store = store
        self._clock = clock
        self._issuers = issuers
        self._enrollment = enrollment

    def make_secret(self, partner_id: str, kind: CredentialKind = CredentialKind.SECRET) -> str:
        """Return a new machine secret, or a one-time code; it can be shown this once only.

        Raises:
            NotFoundError: there is no such partner.
        """
        secret = secrets.token_urlsafe(_SECRET_OCTETS)
        now = self._clock.now()
        with self._store.transaction() as work:
            work.partners.get(partner_id)
            number = work.credentials.add(partner_id, kind, sha256_text(secret.encode()), now)
            work.audit.append("partners", now, [_entry("credential.added", f"{partner_id} {kind} {number}")])
        return secret

    def issue_certificate(self, partner_id: str, csr_der: bytes, profile: Profile) -> Issued:
        """Issue a TLS client certificate in the name of a partner and make it a credential, in one transaction.

        Raises:
            NotFoundError: there is no such partner.
            CsrRejectedError: the request's key or proof is not good.
        """
        with self._store.transaction() as work:
            partner = work.partners.get(partner_id)
            order = Order.pinned(work, profile, self._clock.now(), runner=runner_token(), actor=_ACTOR, partner=partner)
        # Whatever the request calls itself: the name in a client certificate is the partner's.
        request = parse_csr(partner_id, csr_der)._replace(subject=RequestedSubject(common_name=partner_id))
        hooks = _Registration(partner_id, self._clock)
        (outcome,) = self._enrollment.issue(self._issuers.get(CLIENT_ISSUER), order, [request], hooks)
        if not isinstance(outcome, Issued):
            raise CsrRejectedError(outcome.code, outcome.message)
        return outcome

    def of_partner(self, partner_id: str) -> list[Credential]:
        """Return every credential of a partner; NotFoundError when there is no such partner."""
        with self._store.reading() as work:
            work.partners.get(partner_id)
            return work.credentials.of_partner(partner_id)

    def withdraw(self, partner_id: str, number: int) -> None:
        """Withdraw a credential: it counts for nothing from the next request on.

        Raises:
            NotFoundError, ConflictError: the partner has no such credential, or it was withdrawn before.
        """
        now = self._clock.now()
        with self._store.transaction() as work:
            if number not in {one.id for one in work.credentials.of_partner(partner_id)}:
                raise NotFoundError(f"partner {partner_id!r} has no credential {number}")
            if not work.credentials.end(number, now):
                raise ConflictError(f"credential {number} was withdrawn before")
            work.audit.append("partners", now, [_entry("credential.withdrawn", f"{partner_id} {number}")])


class _Registration(NoHooks):
    """Writes the credential beside the certificate."""

    def __init__(self, partner_id: str, clock: Clock) -> None:
        self._partner_id = partner_id
        self._clock = clock

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Write beside the certificate."""
        now = self._clock.now()
        for outcome in outcomes:
            if isinstance(outcome, Issued):
                digest = sha256_text(outcome.certificate_der)
                number = work.credentials.add(
                    self._partner_id, CredentialKind.CERTIFICATE, digest, now, outcome.not_after
                )
                detail = f"{self._partner_id} {CredentialKind.CERTIFICATE} {number}"
                work.audit.append("partners", now, [_entry("credential.added", detail)])


def sha256_text(value: bytes) -> str:
    """Return the hash a credential is known by."""
    return hashlib.sha256(value).hexdigest()


def _entry(action: str, detail: str) -> AuditEntry:
    return AuditEntry(actor=_ACTOR, action=action, detail=detail)
