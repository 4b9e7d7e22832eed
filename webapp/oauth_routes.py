"""The routes of the token endpoint (RFC 6749 4.4, RFC 7517, RFC 8414), and what the API document says of them."""

from functools import partial
from typing import Final

from flask import Blueprint
from werkzeug.exceptions import HTTPException

from pki_core.model.errors import PkiError
from pki_core.runtime import Runtime
from webapp.api_routes import JSON, TEXT, Answer, Body, Route, Schema, add_routes, failures, json_of, object_of
from webapp.oauth import GRANT, MAX_FIELD, OauthViews, failed, routed

_route = partial(Route, tag="Tokens", roles=None)
_FIELD = {"type": "string", "maxLength": MAX_FIELD}
_ASKED: Final[Schema] = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"const": GRANT},
        "client_id": _FIELD,
        "client_secret": _FIELD,
        "audience": {**_FIELD, "description": "Which service; ours when there is none."},
        "scope": {**_FIELD, "description": "Words of services, with spaces in between; all that are allowed if none."},
    },
}
_FAILURE = object_of("OauthFailure", {"error": TEXT, "error_description": TEXT})
_GRANTED = object_of(
    "Token",
    {"access_token": TEXT, "scope": TEXT, "expires_in": {"type": "integer"}, "token_type": {"const": "Bearer"}},
)
_WORDS = {"type": "array", "items": TEXT}
_ADDRESS = {"type": "string", "format": "uri"}
_DESCRIPTION = object_of(
    "TokenServer",
    {
        "issuer": _ADDRESS,
        "token_endpoint": _ADDRESS,
        "jwks_uri": _ADDRESS,
        "scopes_supported": _WORDS,
        "response_types_supported": _WORDS,
        "grant_types_supported": _WORDS,
        "token_endpoint_auth_methods_supported": _WORDS,
    },
)
_KEYS = object_of("TokenKeys", {"keys": {"type": "array", "items": {"type": "object", "required": ["kty", "kid"]}}})
_REFUSED = {JSON: _FAILURE}


def oauth_blueprint(runtime: Runtime) -> Blueprint:
    """Return the routes /oauth/token, /.well-known/jwks.json and /.well-known/oauth-authorization-server."""
    blueprint = Blueprint("oauth", __name__)
    add_routes(blueprint, _routes(OauthViews(runtime)))
    blueprint.register_error_handler(PkiError, failed)
    blueprint.register_error_handler(HTTPException, routed)
    return blueprint


def _routes(views: OauthViews) -> list[Route]:
    return [
        _route(
            method="POST",
            path="/oauth/token",
            view=views.token,
            summary="Grant an access token for a machine secret",
            details="The client's id and secret stand in the body or in HTTP Basic.",
            body=Body(content={JSON: _ASKED, "application/x-www-form-urlencoded": _ASKED}),
            answers={200: json_of(_GRANTED, "The token."), **failures(400, 401, 413, 429, content=_REFUSED)},
        ),
        _route(
            method="GET",
            path="/.well-known/jwks.json",
            view=views.jwks,
            summary="The keys tokens are verified with",
            answers={
                200: Answer(summary="A JWK set (RFC 7517 5).", content={"application/jwk-set+json": _KEYS}),
                **failures(content=_REFUSED),
            },
        ),
        _route(
            method="GET",
            path="/.well-known/oauth-authorization-server",
            view=views.description,
            summary="Describe the token endpoint (RFC 8414)",
            answers={200: json_of(_DESCRIPTION, "Its addresses and abilities."), **failures(content=_REFUSED)},
        ),
    ]
