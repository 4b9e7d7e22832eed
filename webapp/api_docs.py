"""Serves the API document and a page to read it with; nothing of that page comes from anywhere else (CSP level 3)."""

import hashlib
import json
from functools import lru_cache, partial
from importlib.resources import files
from typing import Final

from flask import Blueprint, Response, abort, current_app, request

from pki_core.runtime import Runtime
from webapp.api_routes import JSON, TEXT, Answer, Parameter, Route, add_routes, json_of
from webapp.listeners import IS_PLAIN
from webapp.openapi import document

_route = partial(Route, tag="Documentation", roles=None)
_KEPT_SECONDS = 300
_TYPES = {"viewer.js": "text/javascript; charset=utf-8", "viewer.css": "text/css; charset=utf-8"}
_PAGE_TYPE = "text/html; charset=utf-8"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CACHED: Final = {"Cache-Control": "How long it may be kept.", "ETag": "What it is known by."}
_KNOWN = Answer(summary="You have it already.")


class _DocumentViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._texts: dict[bool, bytes] = {}

    def api_document(self) -> Response:
        """Answer the document: on the plain listener of what that one serves."""
        is_plain = bool(request.environ.get(IS_PLAIN))
        if is_plain not in self._texts:
            made = document(current_app, self._runtime, public_only=is_plain)
            self._texts[is_plain] = json.dumps(made, separators=(",", ":")).encode()
        return _cached(self._texts[is_plain], JSON)

    def page(self) -> Response:
        """Answer the page."""
        return _cached(shipped("index.html"), _PAGE_TYPE)

    def asset(self, name: str) -> Response:
        """Answer what the page loads."""
        if name not in _TYPES:
            abort(404)
        return _cached(shipped(name), _TYPES[name])


def docs_blueprint(runtime: Runtime) -> Blueprint:
    """Return the routes /openapi.json and /docs."""
    blueprint = Blueprint("docs", __name__)
    views = _DocumentViews(runtime)
    page = Answer(summary="A page that reads the document.", content={"text/html": TEXT}, headers=_CACHED)
    asset = Answer(summary="A part of the page.", content={"text/javascript": TEXT, "text/css": TEXT}, headers=_CACHED)
    add_routes(
        blueprint,
        [
            _route(
                method="GET",
                path="/openapi.json",
                view=views.api_document,
                summary="This document",
                answers={200: json_of({"type": "object"}, "OpenAPI 3.1.", _CACHED), 304: _KNOWN},
            ),
            _route(
                method="GET",
                path="/docs",
                aliases=("/docs/",),
                view=views.page,
                summary="A page to read this document with",
                answers={200: page, 304: _KNOWN},
            ),
            _route(
                method="GET",
                path="/docs/<name>",
                view=views.asset,
                summary="What that page loads",
                parameters=(Parameter(name="name", place="path", schema={"enum": list(_TYPES)}),),
                answers={
                    200: asset,
                    304: _KNOWN,
                    404: Answer(summary="There is no such part.", content={"text/plain": TEXT}),
                },
            ),
        ],
    )
    return blueprint


@lru_cache(maxsize=8)
def shipped(name: str) -> bytes:
    """Return a file of the viewer."""
    return files("webapp").joinpath("viewer", name).read_bytes()


def _cached(body: bytes, content_type: str) -> Response:
    answer = Response(body, content_type=content_type)
    answer.headers["Cache-Control"] = f"public, max-age={_KEPT_SECONDS}"
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.set_etag(hashlib.sha256(body).hexdigest())
    answer.make_conditional(request)
    return answer
