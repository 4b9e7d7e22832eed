"""OCSP over HTTP (RFC 6960 appendix A, RFC 9919 5 and 6), ahead of Flask: routing there costs six times the answer.

The path is read as the server hands it over, percent signs decoded and slashes as they were sent: base64 knows ``//``.
What OCSP has to say, errors too, travels in 200; HTTP's own errors are for what never was an OCSP request.
"""

import binascii
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Protocol

from pki_core.model.clock import Clock
from pki_core.model.ocsp import Answer
from webapp.conditions import http_date, names_tag
from webapp.listeners import WsgiApp

Headers = list[tuple[str, str]]

_CONTENT_TYPE = ("Content-Type", "application/ocsp-response")
_NOT_STORED = ("Cache-Control", "no-store")
_ALLOW = ("Allow", "GET, HEAD, POST")
_URL_ALPHABET = str.maketrans("-_ ", "+/+")  # base64url; and a plus that some proxy took for a space
_OUTER_LENGTH_OCTETS = {0x81: 1, 0x82: 2}
_HEADERS_KEPT = 16_384


class _Ocsp(Protocol):
    def answer(self, request_der: bytes) -> Answer: ...


class OcspMiddleware:
    """Answers ``/ocsp`` and what is below it; hands everything else on."""

    def __init__(self, app: WsgiApp, ocsp: _Ocsp, max_octets: int, clock: Clock) -> None:
        self._app = app
        self._ocsp = ocsp
        self._max = max_octets
        self._max_path = len("/ocsp/") + 4 * (max_octets // 3 + 2)
        self._clock = clock

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Answer one HTTP request."""
        path: str = environ["PATH_INFO"]
        if not path.startswith("/ocsp") or path[5:6] not in {"", "/"}:
            return self._app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method == "POST":
            return self._post(environ, start_response)
        if method not in {"GET", "HEAD"}:
            return _refuse(start_response, "405 Method Not Allowed", _ALLOW)
        if len(path) > self._max_path:
            return _refuse(start_response, "414 URI Too Long")
        answer = self._ocsp.answer(request_in_path(path[6:]))
        headers = self._headers(answer)
        if answer.cacheable and _is_known(environ, answer):  # RFC 9110 13.1: conditions are for GET and HEAD
            start_response("304 Not Modified", headers[2:])
            return []
        start_response("200 OK", headers)
        return [] if method == "HEAD" else [answer.der]

    def _post(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        length = environ.get("CONTENT_LENGTH") or "-1"
        try:
            octets = int(length)
        except ValueError:
            return _refuse(start_response, "400 Bad Request")
        if octets > self._max:
            return _refuse(start_response, "413 Content Too Large")
        if octets < 0 and not environ.get("HTTP_TRANSFER_ENCODING"):
            octets = 0
        # In pieces the length is not known before: read no more than shows that it is too much.
        request_der = environ["wsgi.input"].read(octets if octets >= 0 else self._max + 1)
        if len(request_der) > self._max:
            return _refuse(start_response, "413 Content Too Large")
        answer = self._ocsp.answer(request_der)
        start_response("200 OK", self._headers(answer))
        return [answer.der]

    def _headers(self, answer: Answer) -> Headers:
        """RFC 9919 6.2: an authoritative answer says how long it may be kept; no other may be kept."""
        if not answer.cacheable:
            return [_CONTENT_TYPE, ("Content-Length", str(len(answer.der))), _NOT_STORED]
        seconds = max(0, answer.next_update - int(self._clock.now().timestamp()))
        control = ("Cache-Control", f"max-age={seconds}, public, no-transform, must-revalidate")
        return [*_lasting_headers(answer), control]


def request_in_path(text: str) -> bytes:
    """Return the request in the last part of a GET's path; empty when it is not base64 of any kind (RFC 9919 5)."""
    # DER starts with 0x30, which is M: slashes before it are somebody's joining of URL and path.
    text = text.lstrip("/").translate(_URL_ALPHABET)
    octets = _from_base64(text.rstrip("="))
    if text.endswith("/") and (not octets or len(octets) != _length_told(octets)):
        return _from_base64(text[:-1].rstrip("="))  # that slash was the path's, not the request's
    return octets


def _from_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        return b""


def _length_told(octets: bytes) -> int:
    """Return how long the outermost element says it is."""
    if len(octets) < 2:  # noqa: PLR2004  # a tag and a length
        return 0
    more = _OUTER_LENGTH_OCTETS.get(octets[1], 0)
    return 2 + more + (int.from_bytes(octets[2 : 2 + more], "big") if more else octets[1])


@lru_cache(maxsize=_HEADERS_KEPT)
def _headers_of(etag: str, octets: int, this_update: int, next_update: int) -> tuple[tuple[str, str], ...]:
    return (
        _CONTENT_TYPE,
        ("Content-Length", str(octets)),
        ("ETag", f'"{etag}"'),
        ("Last-Modified", formatdate(this_update, usegmt=True)),
        ("Expires", formatdate(next_update, usegmt=True)),
    )


def _lasting_headers(answer: Answer) -> tuple[tuple[str, str], ...]:
    return _headers_of(answer.etag, len(answer.der), answer.this_update, answer.next_update)


def _is_known(environ: dict[str, Any], answer: Answer) -> bool:
    """Tell whether the client has this answer already (RFC 9110 13.1.2, 13.1.3: tags go before dates)."""
    tags = environ.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        return names_tag(tags, f'"{answer.etag}"')
    # Within one second a certificate may have been good and revoked, under one Last-Modified (RFC 9110 8.8.2.2): only
    # a date behind that second says which of the answers the client has.
    since = environ.get("HTTP_IF_MODIFIED_SINCE")
    moment = None if since is None else http_date(since)
    return moment is not None and moment.timestamp() > answer.this_update


def _refuse(start_response: Any, status: str, *headers: tuple[str, str]) -> Iterable[bytes]:  # noqa: ANN401
    start_response(status, [("Content-Length", "0"), *headers])
    return []
