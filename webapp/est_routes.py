"""The routes of EST (RFC 7030 3.2.2) with the aliases of ``webapp/est.py``, and what the API document says of them."""

from dataclasses import replace
from functools import partial
from typing import Final

from flask import Blueprint

from pki_core.model.errors import PkiError
from pki_core.model.tokens import SCOPE_OF_ISSUING
from pki_core.runtime import Runtime
from webapp.api_routes import (
    PLAIN_TEXT,
    TEXT,
    Answer,
    Body,
    Parameter,
    Route,
    Schema,
    add_routes,
    failures,
    json_of,
    object_of,
)
from webapp.callers import caller_reader
from webapp.est import CSR_TYPE, EstViews
from webapp.est_answers import CA_CERTIFICATES, CSR_ATTRIBUTES

_TAG = "EST"
_OPNC = "/opnc/v1/pki/est"
_BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
_CSR: Final[Schema] = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "PKCS#10; PEM and DER are taken, too.",
}
_TEXT_REFUSAL: Final = {PLAIN_TEXT: TEXT}
_ENCODED = {"Content-Transfer-Encoding": "Always base64; in lines as the label says."}
_LABEL = Parameter(name="label", place="path", summary="A label of the settings: cpo, mo, oem, cps, or one's own.")
_EDITION = Parameter(name="edition", place="path", summary="ISO15118-2 or ISO15118-20.")
_ALGORITHM = Parameter(name="algorithm", place="path", summary="secp256r1, secp521r1 or ed448.")
_CERTIFICATE = Parameter(name="certificate", place="path", summary="base64url(AKI).base64url(serial).")
_OPNC_PARAMETERS = (
    Parameter(name="caDomain", is_required=True, summary="As a label; emsp stands for mo."),
    Parameter(name="iso15118Version", summary="ISO15118-2 or ISO15118-20."),
    Parameter(name="algorithm", summary="secp256r1, secp521r1 or ed448."),
)
_READ = {
    "cacerts": ("The CA certificates of a label: issuing CA, the one above, root (RFC 7030 4.1)", CA_CERTIFICATES),
    "csrattrs": ("What a request should look like (RFC 7030 4.5, RFC 9908)", CSR_ATTRIBUTES),
}
_ASKED = {
    "simpleenroll": "Issue a certificate (RFC 7030 4.2.1)",
    "simplereenroll": "Renew the certificate that is shown as TLS client certificate (RFC 7030 4.2.2)",
    "serverkeygen": "Make a key pair and its certificate (RFC 7030 4.4), where the settings allow it",
}
_WINDOW = object_of(
    "RenewalInfo",
    {
        "suggestedWindow": object_of(
            "RenewalWindow",
            {"start": {"type": "string", "format": "date-time"}, "end": {"type": "string", "format": "date-time"}},
        )
    },
)


def est_blueprint(runtime: Runtime) -> Blueprint:
    """Return the EST routes of one environment."""
    blueprint = Blueprint("est", "pncpki.est")
    views = EstViews(runtime, caller_reader(runtime))
    routes = [_reading(views, operation) for operation in _READ]
    routes += [_asking(views, operation) for operation in _ASKED]
    routes += [_fullcmc(views), _renewal_info(views)]
    routes += [_opnc(views, route) for route in routes if route.name in {"cacerts", "simpleenroll", "simplereenroll"}]
    add_routes(blueprint, routes)
    blueprint.register_error_handler(PkiError, views.failed)
    return blueprint


def _reading(views: EstViews, operation: str) -> Route:
    summary, content_type = _READ[operation]
    is_open = operation == "csrattrs"
    return _everywhere(operation)(
        method="GET",
        view=getattr(views, operation),
        roles=None,
        summary=summary,
        details="" if is_open else "A label may ask for credentials here, too.",
        answers={
            200: Answer(summary=summary, content={content_type: _BASE64}, headers=_ENCODED),
            **failures(404, *(() if is_open else (403, 429)), content=_TEXT_REFUSAL),
            **({} if is_open else {401: _WHO}),
        },
    )


_WHO = Answer(
    summary="Credentials are needed. The body is empty.",
    headers={"WWW-Authenticate": "Which, each in a line of its own."},
)


def _asking(views: EstViews, operation: str) -> Route:
    makes_keys = operation == "serverkeygen"
    issued = {"multipart/mixed": TEXT} if makes_keys else {CA_CERTIFICATES: _BASE64}
    return _everywhere(operation)(
        method="POST",
        view=getattr(views, operation),
        scope=SCOPE_OF_ISSUING,
        summary=_ASKED[operation],
        body=Body(content={CSR_TYPE: _CSR}),
        answers={
            200: Answer(summary="The certificate.", content=issued, headers=_ENCODED),
            202: Answer(summary="A person has to approve it.", headers={"Retry-After": "Seconds; ask again then."}),
            **failures(400, 403, 404, 409, 413, 415, 429, *((501,) if makes_keys else ()), content=_TEXT_REFUSAL),
            401: _WHO,
        },
    )


def _fullcmc(views: EstViews) -> Route:
    return _everywhere("fullcmc")(
        method="POST",
        view=views.fullcmc,
        roles=None,
        summary="Full CMC, which is not offered (RFC 7030 4.3 is optional)",
        answers=failures(404, 501, content=_TEXT_REFUSAL),
    )


def _renewal_info(views: EstViews) -> Route:
    return Route(
        method="GET",
        path="/.well-known/est/<label>/renewal-info/<certificate>",
        aliases=("/.well-known/est/renewal-info/<certificate>",),
        view=views.renewal_info,
        tag=_TAG,
        roles=None,
        summary="When to renew a certificate",
        parameters=(_LABEL, _CERTIFICATE),
        answers={
            200: json_of(_WINDOW, "The window.", {"Retry-After": "Seconds; look again then."}),
            **failures(404, content=_TEXT_REFUSAL),
        },
    )


def _opnc(views: EstViews, route: Route) -> Route:
    return replace(
        route,
        path=f"{_OPNC}/{route.name}",
        aliases=(),
        view=views.opnc(route.name),
        name=f"{route.name}_opnc",
        summary=f"{route.summary}, under OPNC's name",
        parameters=_OPNC_PARAMETERS,
        answers={**route.answers, **failures(400, content=_TEXT_REFUSAL)},
    )


def _everywhere(operation: str) -> partial[Route]:
    """Return what is left to say of an operation: its places, and what may stand in them, are those of all."""
    first, *others = _rules(operation)
    parameters = (_LABEL, _EDITION, _ALGORITHM)
    return partial(
        Route,
        path=first,
        aliases=tuple(others),
        is_slash_optional=True,
        name=operation,
        tag=_TAG,
        parameters=parameters,
    )


def _rules(operation: str) -> list[str]:
    places = [f"/.well-known/est/<label>/{operation}", f"/.well-known/est/{operation}"]
    places.append(f"/.well-known/<label>/{operation}")
    rules = [place + behind for place in places for behind in ("", "/<edition>", "/<edition>/<algorithm>")]
    rules += [f"/<label>/{operation}/<edition>", f"/<label>/{operation}/<edition>/<algorithm>"]
    rules.append(f"/<label>/.well-known/est/{operation}")
    return rules
