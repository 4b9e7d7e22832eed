"""OAuth 2.0 token endpoint (RFC 6749 4.4, client credentials), its keys (RFC 7517) and its description (RFC 8414).

Bodies are JSON, as clients of existing gateways send them, or a form; the credentials stand in it or in HTTP Basic.
Errors have the two members of RFC 6749 5.2; a wrong secret in a body is ``access_denied``, as those clients know it.
"""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_plus

from flask import Request, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from pki_core.model.errors import (
    InvariantError,
    MalformedError,
    NotAuthenticatedError,
    NotAuthorizedError,
    PkiError,
    TooManyRequestsError,
    UnavailableError,
)
from pki_core.model.tokens import TokenRequest
from pki_core.runtime import Runtime
from pki_core.services.tokens import UnknownAudienceError, UnknownScopeError
from webapp.errors import RETRY_AFTER_SECONDS, note
from webapp.refusal_log import claim

_MAX_BODY = 8192
MAX_FIELD = 512
_JWKS_SECONDS = 900
GRANT = "client_credentials"
_RETRY_SECONDS = 60
_ANSWERS: tuple[tuple[type[PkiError], int, str], ...] = (
    (TooManyRequestsError, 429, "access_denied"),
    (NotAuthenticatedError, 401, "access_denied"),
    (UnknownAudienceError, 400, "invalid_target"),  # RFC 8707 2
    (UnknownScopeError, 400, "invalid_scope"),
    (NotAuthorizedError, 400, "unauthorized_client"),
    (MalformedError, 400, "invalid_request"),
    (UnavailableError, 503, "temporarily_unavailable"),
    (InvariantError, 500, "server_error"),
)


class UnknownGrantError(MalformedError):
    """Another way to a token than client credentials."""


class OauthViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def token(self) -> Response:
        """Grant a token."""
        grant = self._runtime.access.tokens.grant(_asked(request))
        return _fresh(
            jsonify(
                access_token=grant.access_token,
                scope=grant.scope,
                expires_in=grant.expires_in,
                token_type="Bearer",  # noqa: S106  # the word of RFC 6750
            )
        )

    def jwks(self) -> Response:
        """Answer the keys tokens are verified with."""
        answer = Response(json.dumps(self._runtime.access.tokens.jwks()), content_type="application/jwk-set+json")
        answer.headers["Cache-Control"] = f"public, max-age={_JWKS_SECONDS}"
        return answer

    def description(self) -> Response:
        """Describe the token endpoint (RFC 8414 2)."""
        policy = self._runtime.access.tokens.policy
        return jsonify(
            issuer=policy.issuer,
            token_endpoint=f"{policy.issuer}/oauth/token",
            jwks_uri=f"{policy.issuer}/.well-known/jwks.json",
            scopes_supported=sorted({word for words in policy.scopes.values() for word in words}),
            response_types_supported=[],
            grant_types_supported=[GRANT],
            token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
        )


def _asked(incoming: Request) -> TokenRequest:
    incoming.max_content_length = _MAX_BODY
    fields = _fields(incoming)
    if fields.get("grant_type") != GRANT:
        if not fields.get("grant_type"):
            raise MalformedError("grant_type is missing")
        raise UnknownGrantError(f"the only grant_type is {GRANT}")
    user, secret = fields.get("client_id", ""), fields.get("client_secret", "")
    basic = incoming.authorization
    if basic is not None and basic.type == "basic":
        if secret:
            raise MalformedError("credentials stand in the header or in the body, not in both")  # RFC 6749 2.3
        # RFC 6749 2.3.1: both parts are encoded like a form before Basic joins them.
        user, secret = unquote_plus(basic.username or ""), unquote_plus(basic.password or "")
    claim(user)
    if not user or not secret:
        raise NotAuthenticatedError("client_id and client_secret are needed")
    return TokenRequest(
        client_id=user,
        client_secret=secret,
        audience=fields.get("audience", ""),
        scope=fields.get("scope", ""),
        address=incoming.remote_addr or "",
    )


def _fields(incoming: Request) -> dict[str, str]:
    if incoming.mimetype == "application/x-www-form-urlencoded":
        if any(len(values) > 1 for values in incoming.form.to_dict(flat=False).values()):
            raise MalformedError("a parameter stands twice")  # RFC 6749 3.2
        found: Any = incoming.form.to_dict()
    else:
        try:
            found = json.loads(incoming.get_data(cache=False) or b"{}")
        except (ValueError, RecursionError) as error:
            raise MalformedError("the body is neither JSON nor a form") from error
    if not isinstance(found, dict):
        raise MalformedError("the body is not a JSON object")
    wanted = ("grant_type", "client_id", "client_secret", "audience", "scope")
    fields = {name: found[name] for name in wanted if found.get(name) is not None}
    for name, value in fields.items():
        if not isinstance(value, str) or len(value) > MAX_FIELD:
            raise MalformedError(f"{name} is a text of at most {MAX_FIELD} characters")
    return fields


def failed(error: PkiError) -> Response:
    """Answer an error (RFC 6749 5.2)."""
    note(error)
    status, word = next(
        ((status, word) for family, status, word in _ANSWERS if isinstance(error, family)), (400, "invalid_request")
    )
    description = str(error)
    if isinstance(error, UnknownGrantError):
        word = "unsupported_grant_type"
    elif isinstance(error, NotAuthenticatedError):
        description = "Unauthorized"
    elif isinstance(error, UnavailableError | InvariantError):
        description = "Try again later" if status == HTTPStatus.SERVICE_UNAVAILABLE else "Internal error"
    is_basic = request.authorization is not None and request.authorization.type == "basic"
    answer = _fresh(jsonify(error=word, error_description=description))
    answer.status_code = status
    if status == HTTPStatus.UNAUTHORIZED and is_basic:  # RFC 6749 5.2
        answer.set_data(json.dumps({"error": "invalid_client", "error_description": description}))
        answer.headers["WWW-Authenticate"] = 'Basic realm="oauth"'
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        answer.headers["Retry-After"] = str(_RETRY_SECONDS)
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def routed(error: HTTPException) -> Response:
    """Answer what the web framework refuses, a body without end first of all, in the form of RFC 6749 5.2."""
    answer = _fresh(jsonify(error="invalid_request", error_description=error.name))
    answer.status_code = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    return answer


def _fresh(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"  # RFC 6749 5.1
    answer.headers["Pragma"] = "no-cache"
    return answer
