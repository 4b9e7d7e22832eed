"""CRLs over HTTP (RFC 5280 4.2.1.13, RFC 9110): ``/crl/LABEL.crl``, ``-07.crl`` for a shard, ``-delta.crl``.

A list past its next update is not served: nobody may rely on it, and a 503 is seen where a stale list is not.
"""

from email.utils import format_datetime
from itertools import chain

from flask import Blueprint, Response, request

from pki_core.model.errors import NotFoundError, PkiError
from pki_core.runtime import Runtime
from pki_core.services.crl_shelf import ServedCrl
from webapp.api_routes import OCTETS, PLAIN_TEXT, TEXT, Answer, Parameter, Route, add_routes, failures
from webapp.conditions import http_date, names_tag
from webapp.errors import empty_answer, message_of, note, status_of, text_answer

MAX_AGE_SECONDS = 3600  # a cache between looks again after an hour, also while the list would be valid for days
_NAME_OCTETS = 80
_CRL = "application/pkix-crl"  # RFC 5280 4.2.1.13, RFC 2585 4.2
_NAMES = "The label of a CA; with -07 behind it a shard, with -delta the delta."
_HEADERS = {"ETag": "What this list is known by.", "Last-Modified": "When it was issued.", "Cache-Control": "RFC 9111."}


def crls_blueprint(runtime: Runtime) -> Blueprint:
    """Return the routes of one environment."""
    blueprint = Blueprint("crls", "pncpki.crls")

    def crl(name: str) -> Response:
        """Return a published CRL."""
        if len(name) > _NAME_OCTETS:
            raise NotFoundError("there is no such CRL")
        found = runtime.crl_shelf.find(name)
        if found.is_expired:
            answer = text_answer(
                503, "crl.expired: this CRL is past its next update, and a new one is not published yet"
            )
            answer.headers["Cache-Control"] = "no-store"
            return answer
        answer = empty_answer(304) if _is_known(runtime, found) else _whole(runtime, found)
        answer.headers["ETag"] = _tag(found)
        answer.headers["Last-Modified"] = format_datetime(found.record.this_update, usegmt=True)
        # Neither a copy past its next update, nor one transformed on the way (no gzip: signed octets, hardly smaller).
        age = min(MAX_AGE_SECONDS, max(found.seconds_left - 1, 0))
        answer.headers["Cache-Control"] = f"max-age={age}, public, no-transform, must-revalidate"
        return answer

    add_routes(
        blueprint,
        [
            Route(
                method="GET",
                path="/crl/<name>.crl",
                view=crl,
                tag="Status",
                roles=None,
                summary="A certificate revocation list (RFC 5280 5)",
                parameters=(Parameter(name="name", place="path", summary=_NAMES),),
                answers={
                    200: Answer(summary="The list.", content={_CRL: OCTETS}, headers=_HEADERS),
                    304: Answer(summary="You have it already.", headers=_HEADERS),
                    **failures(404, content={PLAIN_TEXT: TEXT}),
                    503: Answer(summary="It is past its next update, or away.", content={PLAIN_TEXT: TEXT}),
                },
            )
        ],
    )

    @blueprint.errorhandler(PkiError)
    def failed(error: PkiError) -> Response:
        note(error)
        return text_answer(status_of(error), message_of(error))

    return blueprint


def _whole(runtime: Runtime, found: ServedCrl) -> Response:
    answer = Response(content_type=_CRL)
    if request.method != "HEAD":
        pieces = runtime.crl_shelf.octets(found.record)
        first = next(pieces)  # a store that is away is told in the status, not in the middle of the body
        answer.response = chain((first,), pieces)
    answer.headers["Content-Length"] = str(found.record.octets)
    return answer


def _tag(found: ServedCrl) -> str:
    return f'"{found.record.sha256}"'


def _is_known(runtime: Runtime, found: ServedCrl) -> bool:
    """Tell whether the caller has this very list already (RFC 9110 13.1.2, 13.1.3: tags go before dates)."""
    if (asked := request.headers.get("If-None-Match")) is not None:
        return names_tag(asked, _tag(found))
    since = request.headers.get("If-Modified-Since")
    # Two lists of one second have one Last-Modified, and a list of a clock that ran ahead has a later one than what
    # took its place (8.8.2.2): a date tells of a list only when it is that list's own, and no other's.
    is_its_date = since is not None and http_date(since) == found.record.this_update
    return is_its_date and runtime.crl_shelf.is_only_one_of_its_time(found.record)
