"""The one table from families of errors to HTTP answers: plain text on EST, a JSON object on REST, never HTML.

What is the caller's fault is told him; what is ours has no detail; what is away for now says when to come back.
"""

import json
import logging
import uuid
from http import HTTPStatus

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

from pki_core.model.errors import (
    ConflictError,
    CsrRejectedError,
    LimitExceededError,
    NotAuthenticatedError,
    NotAuthorizedError,
    NotFoundError,
    PkiError,
    RequestError,
    SettingsError,
    TooManyRequestsError,
    UnavailableError,
)
from webapp.refusal_log import RefusalLog

RETRY_AFTER_SECONDS = 10  # of 503: libest reads integers only, and a lost HSM or store is back soon or not at all

_log = logging.getLogger("pncpki.web")
_STATUS: tuple[tuple[type[PkiError], int], ...] = (
    (NotAuthenticatedError, 401),
    (NotAuthorizedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (LimitExceededError, 413),
    (TooManyRequestsError, 429),
    (SettingsError, 503),  # ours to mend, whoever asked
    (RequestError, 400),
    (UnavailableError, 503),
)
# Requests in good order for things the caller may not have: RFC 7030 4.2.2 and OPNC want 403.
_FORBIDDEN = frozenset(
    {
        "identifier.outside_prefixes",
        "approval.refused",
        "renewal.no_certificate",
        "renewal.subject_differs",
        "renewal.names_differ",
        "linking.required",
        "linking.mismatch",
        "registration.missing",
    }
)
_ASK_LATER = frozenset({429, 503})
_REST, _EST = ("/v1/", "/opnc/"), "/opnc/v1/pki/est/"


def status_of(error: PkiError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, CsrRejectedError) and error.reason in _FORBIDDEN:
        return 403
    return next((status for family, status in _STATUS if isinstance(error, family)), 500)


def _is_callers_fault(error: PkiError) -> bool:
    return isinstance(error, RequestError) and not isinstance(error, SettingsError)


def code_of(error: PkiError) -> str:
    """Return the stable code of an error."""
    return error.reason if isinstance(error, CsrRejectedError) else error.code


def message_of(error: PkiError) -> str:
    """Return what a caller may read of an error."""
    if _is_callers_fault(error):
        return f"{code_of(error)}: {error}"
    if isinstance(error, UnavailableError | SettingsError):
        return f"{error.code}: a part of this service is away; ask again"
    return "internal: the fault is ours and has been noted"


def text_answer(status: int, message: str) -> Response:
    """Return plain text; an answer to ask later says when."""
    answer = Response(message + "\n" if message else b"", status, content_type="text/plain; charset=utf-8")
    if status in _ASK_LATER:
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def empty_answer(status: int) -> Response:
    """Return an answer without a body: what is not there is of no type (RFC 9110 8.3)."""
    answer = Response(status=status)
    del answer.headers["Content-Type"]
    return answer


def json_answer(status: int, messages: list[str]) -> Response:
    """Return an error as the OPNC interface describes it."""
    trace = str(uuid.uuid4())
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # what is not the caller's fault
        _log.error("trace %s: %s", trace, "; ".join(messages))
    body = json.dumps({"errorMessages": messages, "traceId": trace})
    answer = Response(body, status, content_type="application/json")
    if status in _ASK_LATER:
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


def note(error: PkiError) -> None:
    """Log an error by its code; the message only where the fault is not the caller's, whose text may hold anything."""
    if isinstance(error, NotAuthenticatedError | NotAuthorizedError | TooManyRequestsError):
        current_app.extensions["refusals"].write(error)
    elif _is_callers_fault(error):
        _log.info("%s %s: %s", request.method, request.endpoint, code_of(error))
    else:
        _log.error("%s %s: %s: %s", request.method, request.endpoint, error.code, error)


class _Unadorned(Response):
    """An answer that is no page unless it says so: Flask's own to OPTIONS, among others."""

    default_mimetype = "text/plain"


def register_error_answers(app: Flask) -> None:
    """Answer errors of routing and faults of ours in plain text, JSON where partners call REST: no HTML anywhere."""
    app.response_class = _Unadorned
    app.extensions["refusals"] = RefusalLog()

    @app.before_request
    def refuse_nul() -> None:
        """No name of ours has that character, and PostgreSQL takes none that has."""
        if "\0" in request.path:
            raise NotFound
        if "%00" in request.query_string.decode("latin-1"):
            raise BadRequest

    @app.errorhandler(HTTPException)
    def plain(error: HTTPException) -> Response:
        is_rest = request.path.startswith(_REST) and not request.path.startswith(_EST)
        status = error.code or 500
        answer = json_answer(status, [error.name]) if is_rest else text_answer(status, error.name)
        for name, value in error.get_headers():
            if name in {"Allow", "Content-Range", "Retry-After", "WWW-Authenticate"}:
                answer.headers[name] = value
        if answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:  # the rest of the body is not read
            answer.headers["Connection"] = "close"
        return answer
