"""Enrolment over Secure Transport (RFC 7030): from an authenticated request to a certificate, by the one path.

The web front hands over bytes and what was shown on the connection; everything RFC 7030 demands of the server beside
HTTP is decided here and in ``est_rules``.
"""

import os

from pki_core.issuance.subject import build_subject
from pki_core.model.clock import Clock
from pki_core.model.credentials import Caller, Presented
from pki_core.model.errors import (
    CsrRejectedError,
    NotAuthenticatedError,
    NotFoundError,
    RequestError,
    TooManyRequestsError,
)
from pki_core.model.est import Approval, PasswordMeaning
from pki_core.model.requests import Issued, IssueRequest, OwnKeyProof
from pki_core.services.enroll import Enrollment, prove_possession
from pki_core.services.est_approvals import Approvals, Asking
from pki_core.services.est_callers import Callers
from pki_core.services.est_calls import Delivery, EnrollmentRows, EstCall, ReadyRequest
from pki_core.services.est_offers import Choice, Offers
from pki_core.services.est_pace import Pace
from pki_core.services.est_rules import accepted, check_authority, check_linking, check_renewal, with_new_name
from pki_core.services.gathering import Gathering
from pki_core.services.issuers import Issuers
from pki_core.services.names import NamePolicy, judge_name
from pki_core.services.orders import Order
from pki_core.services.registrations import UNREGISTERED, are_registered
from pki_core.services.runners import runner_token
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store
from pki_core.wire.csr import parse_csr
from pki_core.wire.csr_body import CsrAttributes, csr_der_of, read_attributes
from pki_core.wire.key_pair import new_key_pair
from pki_core.wire.public_key import load_public_key
from pki_core.wire.shown_certificate import is_registrar


class Est:
    """Answers enrolments."""

    def __init__(
        self,
        store: Store,
        issuing: tuple[Issuers, Enrollment, NamePolicy],
        offers: Offers,
        callers: Callers,
        waiting: tuple[Approvals, Pace],
        clock: Clock,
    ) -> None:
        self._store = store
        self._issuers, enrollment, self._names = issuing
        self._gathering = Gathering(enrollment)
        self.offers = offers
        self._callers = callers
        self._approvals, self._pace = waiting
        self._clock = clock
        self._runner = (0, "")

    def check_reader(self, choice: Choice, presented: Presented) -> None:
        """Refuse a caller who may not read the CA certificates of a label that is not open to all."""
        _, policy = self.offers.label(choice.label)
        if not policy.cacerts_open:
            check_authority(self._callers.identify(accepted(presented, policy, renews=False)), policy, renews=False)

    def enroll(self, call: EstCall) -> Delivery:
        """Issue the certificate a request asks for.

        Raises:
            NotAuthenticatedError, NotAuthorizedError, NotFoundError: nobody, or somebody who may not.
            CsrRejectedError, MalformedError: the request cannot become a certificate; the text says why.
            TooManyRequestsError, ConflictError, UnavailableError: not now.
        """
        ready = self._prepare(call)
        approved_id = ""
        if ready.offer.policy.approval is Approval.MANUAL:
            self._judge(ready)
            renews = (ready.caller.serial,) if call.renews else ()
            asking = Asking(partner_id=ready.caller.partner.id, label=ready.offer.label, renews=renews)
            verdict = self._approvals.look(asking, ready.request, ready.csr_der)
            if verdict.issued is not None:
                return self._delivery(ready, verdict.issued.certificate_der)
            if not verdict.approved_id:
                return Delivery(offer=ready.offer, is_linked=ready.is_linked)
            approved_id = verdict.approved_id
        return self._delivery(ready, self._issue(ready, call, approved_id).certificate_der)

    def make_key(self, call: EstCall) -> Delivery:
        """Make a key pair and its certificate (RFC 7030 4.4); key and signature of the request are not looked at.

        Raises: as ``enroll``; CsrRejectedError for a key that shall be encrypted beside TLS, which is not offered.
        """
        ready = self._prepare(call)
        if ready.offer.policy.approval is Approval.MANUAL:
            raise CsrRejectedError("approval.needed", "Server-side keys are not made under labels with approval.")
        private_key_der, spki_der = new_key_pair(ready.offer.profile.key_algorithms[0])
        request = ready.request._replace(spki_der=spki_der, proof=OwnKeyProof())
        made = ReadyRequest(
            caller=ready.caller, offer=ready.offer, request=request, csr_der=ready.csr_der, is_linked=ready.is_linked
        )
        issued = self._issue(made, call, "")
        return Delivery(
            certificates=(issued.certificate_der,),
            offer=ready.offer,
            is_linked=ready.is_linked,
            private_key_der=private_key_der,
        )

    def _prepare(self, call: EstCall) -> ReadyRequest:
        _, policy = self.offers.label(call.choice.label)
        caller = self._callers.identify(accepted(call.presented, policy, renews=call.renews))
        try:
            if caller is not None or policy.challenge_password is not PasswordMeaning.ENROLLMENT_CODE:
                caller = check_authority(caller, policy, renews=call.renews)
                self._pace.count(caller.partner.id)
            csr_der = csr_der_of(call.body)
            request = parse_csr("est", csr_der)
            attributes = read_attributes(request.proof.signed_bytes)  # type: ignore[union-attr]  # parse_csr's proof
            if caller is None:
                caller = self._by_code(attributes)
                check_authority(caller, policy, renews=call.renews)
            return self._check(call, caller, csr_der, (request, attributes))
        except RequestError as error:
            if caller is not None and not isinstance(error, TooManyRequestsError):
                self._note(caller, call, error)
            raise

    def _check(
        self, call: EstCall, caller: Caller, csr_der: bytes, read: tuple[IssueRequest, CsrAttributes]
    ) -> ReadyRequest:
        request, attributes = read
        _, policy = self.offers.label(call.choice.label)
        password = attributes.challenge_password
        # RFC 7030 3.7: a registrar hands on requests that are bound to connections of its own clients.
        hands_on = bool(password) and caller.certificate_der is not None and is_registrar(caller.certificate_der)
        is_linked = check_linking(policy, password, call.tls_unique, is_registrar=hands_on)
        if call.renews:
            check_renewal(caller, csr_der, attributes)
            offer = self.offers.for_profile(call.choice.label, caller.profile_name)
        else:
            if call.makes_key and attributes.wants_encrypted_key:  # RFC 7030 4.4.1: else an error must be returned
                raise CsrRejectedError("key.encryption_unsupported", "Private keys are protected by TLS alone here.")
            offer = self.offers.find(call.choice if call.makes_key else self._completed(call.choice, request))
        request = with_new_name(caller, request, attributes, renews=call.renews)
        if policy.registered_only:
            self._check_registered(caller, request)
        return ReadyRequest(caller=caller, offer=offer, request=request, csr_der=csr_der, is_linked=is_linked)

    def _check_registered(self, caller: Caller, request: IssueRequest) -> None:
        """Refuse a name the partner has not announced."""
        with self._store.reading() as work:
            (is_registered,) = are_registered(work, caller.partner.id, [request.subject.common_name or ""])
        if not is_registered:
            raise CsrRejectedError(*UNREGISTERED)

    def _completed(self, choice: Choice, request: IssueRequest) -> Choice:
        """Let the key of a request choose the algorithm where the caller did not, if it is one of the edition."""
        _, policy = self.offers.label(choice.label)
        edition = choice.edition or policy.edition
        if choice.algorithm is not None:
            return choice
        algorithm = load_public_key(request.spki_der)[0]
        try:
            self.offers.find(found := Choice(label=choice.label, edition=edition, algorithm=algorithm))
        except NotFoundError:
            return choice  # the refusal of the key names what is needed
        return found

    def _by_code(self, attributes: CsrAttributes) -> Caller:
        if not attributes.challenge_password:
            raise NotAuthenticatedError("credentials are needed: an enrolment code in challengePassword, for one")
        return self._callers.by_code(attributes.challenge_password)

    def _judge(self, ready: ReadyRequest) -> None:
        """Refuse at once what approval could not mend."""
        profile = ready.offer.profile
        name = judge_name(ready.request, profile, ready.caller.partner, self._names)
        build_subject(profile.subject, ready.request.subject, name.common_name)
        prove_possession(ready.request, profile)

    def _issue(self, ready: ReadyRequest, call: EstCall, approved_id: str) -> Issued:
        offer = ready.offer
        order = Order(
            profile=offer.profile,
            profile_id=offer.profile_id,
            profile_hash=offer.profile_hash,
            partner=ready.caller.partner,
            actor=ready.caller.partner.id,
            runner=self._runner_token(),
        )
        hooks = EnrollmentRows(self._clock, ready, call, approved_id)
        outcome = self._gathering.issue(self._issuers.get(offer.issuer_label), order, ready.request, hooks)
        if not isinstance(outcome, Issued):
            raise CsrRejectedError(outcome.code, outcome.message)
        return outcome

    def _runner_token(self) -> str:
        """Return this process's token: it lives as long as the process, and so may what it holds."""
        pid, token = self._runner
        if pid != os.getpid():
            token = runner_token()
            self._runner = (os.getpid(), token)
        return token

    @staticmethod
    def _delivery(ready: ReadyRequest, certificate_der: bytes) -> Delivery:
        # The root is not sent: nobody may trust what comes with the answer.
        above = ready.offer.chain[:-1] if ready.offer.policy.chain_in_answer else ()
        return Delivery(certificates=(certificate_der, *above), offer=ready.offer, is_linked=ready.is_linked)

    def _note(self, caller: Caller, call: EstCall, error: RequestError) -> None:
        """Write a refusal down; refusals of the issuing path are written in its own transaction."""
        now = self._clock.now()
        code = error.reason if isinstance(error, CsrRejectedError) else error.code
        entry = AuditEntry(actor=caller.partner.id, action="est.refused", detail=f"{call.choice.label} {code}")
        with self._store.transaction() as work:
            work.audit.append("est", now, [entry])
