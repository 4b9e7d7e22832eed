"""The repository (RFC 5280 4.2.2.1, RFC 3647): CA certificates, fingerprints of the roots, the certificate policy.

Addresses stand in certificates and never change. What is served is the same for everybody and may be cached.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

from flask import Blueprint, Response, jsonify, request

from pki_core.model.errors import NotFoundError, PkiError, UnavailableError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Edition, Level
from pki_core.runtime import Runtime
from pki_core.wire.certificate_text import subject_text
from pki_core.wire.pem import certificate_pem
from webapp.api_routes import (
    JSON,
    OCTETS,
    PLAIN_TEXT,
    TEXT,
    Answer,
    Parameter,
    Route,
    Schema,
    add_routes,
    failures,
    object_of,
)
from webapp.errors import message_of, note, status_of, text_answer
from webapp.policy import policy_html, policy_text

_LOOK_EVERY = 10.0  # seconds: a new CA is served by then
_DAY = 86_400
_HOUR = 3_600
_CACHED = {"Cache-Control": "How long it may be kept.", "ETag": "What it is known by."}
_ROOT = object_of(
    "Root",
    dict.fromkeys(("label", "subject", "edition", "algorithm", "sha256", "not_after", "url"), TEXT),
)
_SCHEMAS: Mapping[str, Schema] = {
    "application/pkix-cert": OCTETS,
    JSON: object_of("Roots", {"roots": {"type": "array", "items": _ROOT}}),
}

Aliases = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """What somebody who must decide whether to trust a root compares."""

    label: str
    subject: str
    edition: str
    algorithm: str
    sha256: str
    not_after: str
    url: str


class _Issuers:
    """CA certificates by label, looked up anew now and then."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = Lock()
        self._until = 0.0
        self._records: Mapping[str, IssuerRecord] = {}

    def all(self) -> Mapping[str, IssuerRecord]:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    records = self._runtime.certificates.issuers()
                except UnavailableError:
                    if not self._records:
                        raise  # else: what was true is true, a CA certificate does not change
                else:
                    self._records = {record.label: record for record in records if record.certificate_der}
                self._until = time.monotonic() + _LOOK_EVERY
            return self._records

    def certificate(self, label: str) -> bytes:
        record = self.all().get(label)
        if record is None:
            raise NotFoundError("there is no such CA")
        return record.certificate_der


def repository_blueprint(runtime: Runtime) -> Blueprint:
    """Return the routes below /aia and /pki."""
    routes = Blueprint("repository", __name__)
    issuers = _Issuers(runtime)

    @routes.errorhandler(PkiError)
    def refused(error: PkiError) -> Response:
        """Answer errors in plain text."""
        note(error)
        return text_answer(status_of(error), message_of(error))

    def certificate_der(label: str) -> Response:
        """Answer a CA certificate in DER (RFC 5280 4.2.2.1, RFC 2585 4.1)."""
        return _cached(issuers.certificate(label), "application/pkix-cert", _DAY)

    def certificate_in_pem(label: str) -> Response:
        """Answer the same in PEM (RFC 8555 9.1 registered the type)."""
        return _cached(certificate_pem(issuers.certificate(label)).encode(), "application/x-pem-file", _DAY)

    def roots() -> Response:
        """Answer every root with its fingerprint, as text or, when asked for, as JSON."""
        found = [_root(record) for record in issuers.all().values() if record.level is Level.ROOT]
        if request.accept_mimetypes.best_match(["text/plain", "application/json"]) == "application/json":
            names = ("label", "subject", "edition", "algorithm", "sha256", "not_after", "url")
            answer = jsonify(roots=[{name: getattr(root, name) for name in names} for root in found])
            return _cached(answer.get_data(), "application/json", _HOUR, vary=True)
        return _cached(_roots_text(found).encode(), "text/plain; charset=utf-8", _HOUR, vary=True)

    def policy() -> Response:
        """Answer the certificate policy of this environment as a page, or as text where no page is wanted."""
        if request.accept_mimetypes.best_match(["text/html", "text/plain"]) == "text/plain":
            return _cached(
                policy_text(runtime.settings, runtime.profiles).encode(), "text/plain; charset=utf-8", _HOUR, vary=True
            )
        return _cached(
            policy_html(runtime.settings, runtime.profiles).encode(), "text/html; charset=utf-8", _HOUR, vary=True
        )

    def policy_as_text() -> Response:
        """Answer the certificate policy as plain text."""
        return _cached(policy_text(runtime.settings, runtime.profiles).encode(), "text/plain; charset=utf-8", _HOUR)

    add_routes(
        routes,
        [
            _page("/aia/<label>.cer", certificate_der, "A CA certificate in DER", "application/pkix-cert", is_one=True),
            _page("/aia/<label>.pem", certificate_in_pem, "The same in PEM", "application/x-pem-file", is_one=True),
            _page("/pki/roots", roots, "The roots and their fingerprints", PLAIN_TEXT, JSON),
            _page("/pki", policy, "The certificate policy (RFC 3647)", "text/html", PLAIN_TEXT, aliases=("/pki/",)),
            _page("/pki/policy.txt", policy_as_text, "The certificate policy as text", PLAIN_TEXT),
        ],
    )
    return routes


def _page(
    path: str, view: Callable[..., Response], summary: str, *types: str, is_one: bool = False, aliases: Aliases = ()
) -> Route:
    """Return a route to something public that caches keep; ``is_one``: one CA's, by its label."""
    missing = (404,) if is_one else ()
    return Route(
        method="GET",
        path=path,
        aliases=aliases,
        view=view,
        tag="Repository",
        roles=None,
        summary=summary,
        details="The Accept header chooses." if len(types) > 1 else "",
        parameters=(Parameter(name="label", place="path", summary="The label of a CA."),) if is_one else (),
        answers={
            200: Answer(summary=summary, content={kind: _SCHEMAS.get(kind, TEXT) for kind in types}, headers=_CACHED),
            304: Answer(summary="You have it already."),
            **failures(*missing, content={PLAIN_TEXT: TEXT}),
        },
    )


def _cached(body: bytes, content_type: str, seconds: int, *, vary: bool = False) -> Response:
    answer = Response(body, content_type=content_type)
    answer.headers["Cache-Control"] = f"public, max-age={seconds}"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    if vary:
        answer.headers["Vary"] = "Accept"
    answer.set_etag(hashlib.sha256(body).hexdigest())
    answer.make_conditional(request)  # RFC 9110 13: 304 for those who have it
    return answer


def _root(record: IssuerRecord) -> _Root:
    return _Root(
        label=record.label,
        subject=subject_text(record.certificate_der),
        edition="TLS of this service" if record.edition is Edition.INTERNET else record.edition.value,
        algorithm=record.algorithm.value,
        sha256=hashlib.sha256(record.certificate_der).hexdigest(),
        not_after=record.not_after.date().isoformat() if record.not_after else "",
        url=f"/aia/{record.label}.pem",
    )


def _roots_text(roots: list[_Root]) -> str:
    lines = [
        "Root certificates of this PKI. Compare the SHA-256 with what you were told another way before you trust one.",
        "",
    ]
    for root in roots:
        pairs = [root.sha256[start : start + 2].upper() for start in range(0, len(root.sha256), 2)]
        lines += [
            f"{root.label} ({root.edition}, {root.algorithm})",
            f"  {root.subject}, until {root.not_after}, {root.url}",
            f"  {':'.join(pairs[:16])}:",
            f"  {':'.join(pairs[16:])}",
            "",
        ]
    return "\n".join(lines)
