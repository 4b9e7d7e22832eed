"""REST calls of partners: who calls, JSON in and out, errors as JSON."""

import json
from math import isfinite
from typing import Any

from flask import Blueprint, Request, Response, request

from pki_core.model.errors import (
    MalformedError,
    NotAuthenticatedError,
    NotAuthorizedError,
    PkiError,
    RequestError,
)
from pki_core.model.partners import Partner
from pki_core.runtime import Runtime
from webapp.bodies import read_body
from webapp.callers import CallerReader
from webapp.errors import json_answer, message_of, note, status_of
from webapp.refusal_log import claim

_MAX_BODY = 65_536
_MAX_DEPTH = 16
_BAD_REQUEST, _UNAUTHORIZED, _CONFLICT, _TOO_LARGE = 400, 401, 409, 413


class RestCallers:
    """Tells which partner makes a REST call."""

    def __init__(self, runtime: Runtime, callers: CallerReader) -> None:
        self._runtime = runtime
        self._callers = callers

    def partner(self, scope: str) -> Partner:
        """Return the partner who calls; a token of ours needs the scope, "" = any.

        Raises:
            NotAuthenticatedError: nobody is known by what was shown.
            NotAuthorizedError: it is a device that shows its own certificate; it may enrol, and nothing else.
        """
        presented, _ = self._callers.presented(request, scope)
        caller = self._runtime.callers.identify(presented)
        if caller is None:
            raise NotAuthenticatedError("credentials are needed")
        claim(caller.partner.id)
        if not caller.speaks_for_partner:
            raise NotAuthorizedError("the certificate of a device is no credential here")
        return caller.partner


def json_body(incoming: Request, limit: int = _MAX_BODY) -> dict[str, Any]:
    """Return a JSON object (RFC 8259, as strict as RFC 7493: no member twice, no half characters; and no NUL).

    Raises:
        LimitExceededError, MalformedError: more than ``limit`` octets, too deep, or something else.
    """
    if incoming.mimetype not in {"application/json", ""}:
        raise MalformedError("the body must be application/json")
    try:
        found = json.loads(
            read_body(incoming, limit), object_pairs_hook=_members, parse_constant=_no_number, parse_float=_number
        )
        _judge(found, _MAX_DEPTH)
    except (ValueError, RecursionError) as error:
        raise MalformedError("the body is not JSON that is taken here") from error
    if not isinstance(found, dict):
        raise MalformedError("the body is not a JSON object")
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number out of bounds")
    return number


def _judge(value: object, levels: int) -> None:
    """Raise ValueError for more levels, and for texts no database takes: with NUL, or with half a character of two."""
    if isinstance(value, str):
        value.encode()
        if "\0" in value:
            raise ValueError("a text with NUL")
    elif isinstance(value, dict | list):
        if levels == 0:
            raise ValueError("too many levels")
        for one in (*value, *value.values()) if isinstance(value, dict) else value:
            _judge(one, levels - 1)


def whole_number(name: str, default: int, lowest: int, highest: int) -> int:
    """Return a number from the query; MalformedError when it is none, or out of bounds."""
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.lstrip("-").isascii() and text.removeprefix("-").isdecimal() and len(text) < len(str(highest)) + 2):
        raise MalformedError(f"{name} is a whole number")
    if not lowest <= int(text) <= highest:
        raise MalformedError(f"{name} is {lowest} to {highest}")
    return int(text)


def answer_errors_as_json(routes: Blueprint, *, as_opcp: bool = False) -> None:
    """Answer what goes wrong below these routes in the form the OPNC interface describes.

    With ``as_opcp`` also in its statuses and words, which clients compare: a conflict is 400, and no code stands before
    the sentence.
    """

    @routes.errorhandler(PkiError)
    def failed(error: PkiError) -> Response:
        note(error)
        status, message = status_of(error), message_of(error)
        if as_opcp and isinstance(error, RequestError):
            status, message = _BAD_REQUEST if status == _CONFLICT else status, str(error)
        answer = json_answer(status, [message])
        if answer.status_code == _UNAUTHORIZED:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="pncpki"'  # RFC 6750 3
        if answer.status_code == _TOO_LARGE:
            answer.headers["Connection"] = "close"  # the rest of the body is not read
        return answer
