"""EST over HTTP (RFC 7030 3.2): routes, and their aliases of gateways in the field, on the same code.

/.well-known/est[/LABEL]/OPERATION[/EDITION[/ALGORITHM]]   RFC 7030, and the published V2G form of it
/.well-known/LABEL/OPERATION[/EDITION[/ALGORITHM]]         as deployed V2G gateways have it
/LABEL/OPERATION/EDITION[/ALGORITHM]                       older clients of the same
/LABEL/.well-known/est/OPERATION                           strongSwan, which knows no labels
/opnc/v1/pki/est/OPERATION?caDomain=..&iso15118Version=..  CharIN OPNC
"""

import base64
import json
from collections.abc import Callable

from flask import Response, request
from werkzeug.exceptions import UnsupportedMediaType

from pki_core.model.clock import rfc3339
from pki_core.model.credentials import Presented
from pki_core.model.errors import (
    LimitExceededError,
    MalformedError,
    NotAuthenticatedError,
    NotFoundError,
    PkiError,
)
from pki_core.model.est import PasswordMeaning, algorithm_of, edition_of
from pki_core.runtime import Runtime
from pki_core.services.est_calls import EstCall
from pki_core.services.est_offers import Choice
from webapp.bodies import read_body
from webapp.callers import CallerReader
from webapp.errors import message_of, note, status_of, text_answer
from webapp.est_answers import CA_CERTIFICATES, CERTS_ONLY, CSR_ATTRIBUTES, EstAnswers

CSR_TYPE = "application/pkcs10"
_NOT_IMPLEMENTED = 501
_INFO_KEPT_SECONDS = "21600"  # renewal-info: six hours
_OPNC_DOMAINS = {"emsp": "mo"}  # OPNC's word for a mobility operator

View = Callable[..., Response]


class EstViews:
    """One function for each operation."""

    def __init__(self, runtime: Runtime, callers: CallerReader) -> None:
        settings = runtime.settings.est
        self._runtime = runtime
        self._callers = callers
        self._limit = settings.max_body_octets
        self._makes_keys = settings.server_side_keys
        self.answers = EstAnswers(realm=settings.realm, retry_after_seconds=settings.retry_after_seconds)

    def cacerts(self, label: str = "", edition: str = "", algorithm: str = "") -> Response:
        """Return the CA certificates: issuing CA, the one above, root (RFC 7030 4.1)."""
        choice = choice_of(label, edition, algorithm)
        _, policy = self._runtime.est_offers.label(choice.label)
        if not policy.cacerts_open:
            presented, _ = self._callers.presented(request)
            self._runtime.est.check_reader(choice, presented)
        offer = self._runtime.est_offers.find(choice)
        is_alias = "/.well-known/est/" not in request.path or bool(edition)
        return self.answers.der(offer.ca_certificates_der, CERTS_ONLY if is_alias else CA_CERTIFICATES, offer.policy)

    def csrattrs(self, label: str = "", edition: str = "", algorithm: str = "") -> Response:
        """Return what a request should look like (RFC 7030 4.5, RFC 9908)."""
        offer = self._runtime.est_offers.find(choice_of(label, edition, algorithm))
        return self.answers.der(offer.csr_attributes_der, CSR_ATTRIBUTES, offer.policy)

    def simpleenroll(self, label: str = "", edition: str = "", algorithm: str = "") -> Response:
        """Issue a certificate (RFC 7030 4.2.1)."""
        call = self._call(choice_of(label, edition, algorithm), renews=False)
        return self.answers.delivery(self._runtime.est.enroll(call))

    def simplereenroll(self, label: str = "", edition: str = "", algorithm: str = "") -> Response:
        """Renew a certificate (RFC 7030 4.2.2)."""
        call = self._call(choice_of(label, edition, algorithm), renews=True)
        return self.answers.delivery(self._runtime.est.enroll(call))

    def serverkeygen(self, label: str = "", edition: str = "", algorithm: str = "") -> Response:
        """Make a key pair and its certificate (RFC 7030 4.4), where the settings allow it."""
        choice = choice_of(label, edition, algorithm)
        if not self._makes_keys:
            self._runtime.est_offers.label(choice.label)
            return text_answer(_NOT_IMPLEMENTED, "keys are not made here: they belong where they are used")
        call = self._call(choice, renews=False, makes_key=True)
        return self.answers.delivery(self._runtime.est.make_key(call))

    def fullcmc(self, label: str = "", edition: str = "", algorithm: str = "") -> Response:
        """Say that Full CMC is not offered (RFC 7030 4.3 is optional)."""
        self._runtime.est_offers.label(choice_of(label, edition, algorithm).label)
        return text_answer(_NOT_IMPLEMENTED, "Full CMC is not offered; use simpleenroll")

    def renewal_info(self, certificate: str, label: str = "") -> Response:
        """Suggest when to renew a certificate, named ``base64url(AKI).base64url(serial)``."""
        self._runtime.est_offers.label(label)
        key_identifier, _, serial = certificate.partition(".")
        window = self._runtime.renewal_info.window(_from_base64url(key_identifier), _from_base64url(serial))
        start, end = (rfc3339(moment) for moment in (window.start, window.end))
        answer = Response(json.dumps({"suggestedWindow": {"start": start, "end": end}}))
        answer.content_type = "application/json"
        answer.headers["Retry-After"] = _INFO_KEPT_SECONDS
        return answer

    def opnc(self, operation: str) -> View:
        """Return the view of an operation that takes label, edition and algorithm from OPNC's parameters."""
        view: View = getattr(self, operation)

        def with_parameters() -> Response:
            label = _opnc_label()
            if not label:
                raise MalformedError("the parameter caDomain is missing")
            return view(label, request.args.get("iso15118Version", ""), request.args.get("algorithm", ""))

        return with_parameters

    def failed(self, error: PkiError) -> Response:
        """Answer an error."""
        note(error)
        if isinstance(error, NotAuthenticatedError):
            view_args = request.view_args or {}
            label = view_args.get("label") or _opnc_label()
            try:
                return self.answers.who_are_you(self._runtime.est_offers.label(label)[1])
            except NotFoundError:
                return self.answers.who_are_you(None)
        answer = text_answer(status_of(error), message_of(error))
        if isinstance(error, LimitExceededError):
            answer.headers["Connection"] = "close"  # the rest of the body is not read
        return answer

    def _call(self, choice: Choice, *, renews: bool, makes_key: bool = False) -> EstCall:
        _, policy = self._runtime.est_offers.label(choice.label)  # one that does not exist asks for no credentials
        presented, peer = self._callers.presented(request)
        if presented == Presented() and policy.challenge_password is not PasswordMeaning.ENROLLMENT_CODE:
            raise NotAuthenticatedError("credentials are needed")  # before a body of anybody is read
        if request.mimetype not in {CSR_TYPE, ""}:
            raise UnsupportedMediaType
        return EstCall(
            choice=choice,
            presented=presented,
            body=read_body(request, self._limit),
            tls_unique=peer.tls_unique,
            renews=renews,
            makes_key=makes_key,
        )


def _opnc_label() -> str:
    """Return the label that OPNC's parameter names, "" when there is none."""
    prefix, dash, domain = request.args.get("caDomain", "").rpartition("-")
    return prefix + dash + _OPNC_DOMAINS.get(domain, domain) if domain else ""


def choice_of(label: str, edition: str, algorithm: str) -> Choice:
    """Return what a path or its parameters ask for; NotFoundError for an edition or algorithm that does not exist."""
    chosen = Choice(
        label=label,
        edition=edition_of(edition) if edition else None,
        algorithm=algorithm_of(algorithm) if algorithm else None,
    )
    if (edition and chosen.edition is None) or (algorithm and chosen.algorithm is None):
        raise NotFoundError("there is no such edition of ISO 15118, or no such key algorithm in it")
    return chosen


def _from_base64url(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise NotFoundError("there is no such certificate") from error
