"""What the API document says of OCSP (RFC 6960 appendix A), which is answered ahead of Flask by ``webapp/ocsp.py``."""

from typing import Final

from flask import Blueprint

from webapp.api_routes import OCTETS, Answer, Body, Parameter, Route, add_routes

_HEADERS: Final = {
    "Cache-Control": "How long the answer may be kept.",
    "ETag": "What it is known by.",
    "Expires": "Its nextUpdate.",
    "Last-Modified": "Its thisUpdate.",
}
_TOLD = Answer(
    summary="An OCSP response; OCSP's own errors, too.",
    content={"application/ocsp-response": OCTETS},
    headers=_HEADERS,
)
_SUMMARY: Final = "The status of certificates (RFC 6960, RFC 9919)"


def ocsp_blueprint() -> Blueprint:
    """Return declarations without views."""
    blueprint = Blueprint("ocsp", __name__)
    in_path = Parameter(name="request", place="path", summary="An OCSP request in base64 (or base64url).")
    add_routes(
        blueprint,
        [
            Route(
                method="POST",
                path="/ocsp",
                aliases=("/ocsp/",),
                view=None,
                name="post",
                tag="Status",
                roles=None,
                summary=_SUMMARY,
                body=Body(content={"application/ocsp-request": OCTETS}),
                answers={
                    200: _TOLD,
                    400: Answer(summary="No HTTP request that could be read."),
                    413: Answer(summary="Longer than a request may be."),
                },
            ),
            Route(
                method="GET",
                path="/ocsp/<request>",
                view=None,
                name="get",
                tag="Status",
                roles=None,
                summary=_SUMMARY,
                parameters=(in_path,),
                answers={
                    200: _TOLD,
                    304: Answer(summary="You have it already.", headers=_HEADERS),
                    414: Answer(summary="Longer than a request may be."),
                },
            ),
        ],
    )
    return blueprint
