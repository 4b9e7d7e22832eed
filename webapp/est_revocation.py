"""Revocation asked for by a partner: CharIN OPNC ``POST /pki/pki/revokeCertificate``, for own certificates only."""

import json

from flask import Blueprint, Response, request

from pki_core.model.clock import rfc3339
from pki_core.model.credentials import Presented
from pki_core.model.errors import MalformedError, NotAuthenticatedError, NotAuthorizedError, PkiError
from pki_core.model.revocations import PARTNER_REASONS, Reason
from pki_core.model.tokens import SCOPE_OF_ISSUING
from pki_core.runtime import Runtime
from pki_core.wire.pem import base64_to_der, pem_to_der
from webapp.api_routes import JSON, Answer, Body, Named, Route, add_routes, refusals
from webapp.bodies import read_body
from webapp.callers import caller_reader
from webapp.errors import empty_answer, json_answer, message_of, note, status_of

_MAX_BODY = 65_536
_CRL_BY = "X-Pncpki-CRL-By"
_HEADERS = {_CRL_BY: "By when a complete CRL lists it (RFC 3339). None: it has expired, only its key was recorded."}
_WISH = Named(
    name="RevocationWish",
    schema={
        "type": "object",
        "required": ["certificate", "revocationReason"],
        "properties": {
            "certificate": {"type": "string", "description": "DER in base64; base64 of PEM is taken, too."},
            "revocationReason": {"enum": list(PARTNER_REASONS)},
        },
    },
)


def revocation_blueprint(runtime: Runtime) -> Blueprint:
    """Return the route of one environment."""
    callers = caller_reader(runtime)
    blueprint = Blueprint("opnc_revocation", "pncpki.opnc")

    def revoke_certificate() -> Response:
        """Revoke a certificate of the caller's."""
        presented, _ = callers.presented(request)
        caller = None if presented == Presented() else runtime.callers.identify(presented)
        if caller is None:
            raise NotAuthenticatedError("credentials are needed")
        if request.mimetype not in {"application/json", ""}:
            raise MalformedError("the body must be application/json")
        certificate_der, reason = _read(read_body(request, _MAX_BODY))
        if not caller.speaks_for_partner and caller.certificate_der != certificate_der:
            raise NotAuthorizedError("this client certificate may revoke itself and nothing else")
        done = runtime.revocations.revoke_certificate(caller.partner, certificate_der, reason)
        answer = empty_answer(200)
        if done.crl_by is not None:
            answer.headers[_CRL_BY] = rfc3339(done.crl_by)
        return answer

    add_routes(
        blueprint,
        [
            Route(
                method="POST",
                path="/opnc/v1/pki/pki/revokeCertificate",
                view=revoke_certificate,
                tag="Revocation",
                scope=SCOPE_OF_ISSUING,
                summary="Revoke a certificate that was issued to the caller",
                details=f"OCSP tells it within a second; {_CRL_BY} says by when a CRL lists it. keyCompromise and "
                "aACompromise correct another reason, and are taken of expired certificates, whose keys no list names.",
                body=Body(content={JSON: _WISH}),
                answers={
                    200: Answer(
                        summary="It is revoked, or its reason corrected, or its key recorded.", headers=_HEADERS
                    ),
                    **refusals(400, 404, 409, 413),
                },
            )
        ],
    )

    @blueprint.errorhandler(PkiError)
    def failed(error: PkiError) -> Response:
        note(error)
        answer = json_answer(status_of(error), [message_of(error)])
        if isinstance(error, NotAuthenticatedError):
            for scheme in ("Basic", "Bearer"):
                answer.headers.add("WWW-Authenticate", f'{scheme} realm="{runtime.settings.est.realm}"')
        return answer

    return blueprint


def _read(body: bytes) -> tuple[bytes, Reason]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError("the body is not JSON") from error
    if not isinstance(document, dict):
        raise MalformedError("the body must be a JSON object with certificate and revocationReason")
    text, name = document.get("certificate"), document.get("revocationReason")
    if not isinstance(text, str) or not isinstance(name, str):
        raise MalformedError("certificate and revocationReason must be strings")
    if name not in PARTNER_REASONS:
        raise MalformedError(f"revocationReason must be one of {', '.join(PARTNER_REASONS)}")
    der = base64_to_der("".join(text.split()))
    if der.startswith(b"-----BEGIN"):  # the specification says base64 of PEM and shows base64 of DER
        der = pem_to_der(der.decode("latin-1"), ("CERTIFICATE",))
    return der, PARTNER_REASONS[name]
