"""What a route is, declared once: its place and view for Flask, and what the API document (OpenAPI 3.1) says of it.

``add_routes`` puts a declaration into a blueprint and, with the application the blueprint becomes a part of, into the
list the document is made from. So a route cannot be served and not described, or described and not served.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

from flask import Blueprint
from flask.blueprints import BlueprintSetupState
from flask.sansio.app import App

_KEY = "pncpki.api_routes"  # in Flask's ``extensions``: declarations belong to one application, not to the process


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A JSON Schema (2020-12) the document keeps in its components and refers to by name."""

    name: str
    schema: Mapping[str, Any]


# A JSON Schema; inside of it, at any depth, a Named stands for a reference.
Schema = Mapping[str, Any] | Named

TEXT: Final[Schema] = {"type": "string"}
OCTETS: Final[Schema] = {}  # OpenAPI 3.1 4.8.14.2: the media type says it all
JSON: Final = "application/json"
PLAIN_TEXT: Final = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter in path, query or header. One in the path that nobody declares is a text."""

    name: str
    place: Literal["path", "query", "header"] = "query"
    schema: Schema = field(default_factory=lambda: TEXT)
    summary: str = ""
    is_required: bool = False  # those in the path always are


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request may carry: a schema for each media type; octets have ``{}``."""

    content: Mapping[str, Schema]
    is_required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of one status: a schema for each media type (none: no body), and headers with their meaning."""

    summary: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation: a method at a path and at the aliases clients know it by."""

    method: Literal["GET", "POST", "PUT", "DELETE"]  # Flask adds HEAD to GET
    path: str  # a rule of Flask's, below the prefix of the blueprint
    view: Callable[..., Any] | None  # None: something ahead of Flask answers, and the document only tells of it
    summary: str
    answers: Mapping[int, Answer]
    tag: str
    roles: tuple[str, ...] | None = ()  # who may call it: () = every partner, None = anybody, without credentials
    scope: str = ""  # the word a token of ours must carry; "" = any
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    aliases: tuple[str, ...] = ()
    is_deprecated: bool = False
    is_slash_optional: bool = False  # behind the path
    details: str = ""  # more lines of the description
    name: str = ""  # of the endpoint; "" = the view's

    @property
    def endpoint(self) -> str:
        """What Flask and the document know it by, within its blueprint."""
        return self.name or getattr(self.view, "__name__", self.tag.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A declaration where an application serves it: the whole rule and the endpoint."""

    rule: str
    endpoint: str
    route: Route
    is_alias: bool


FAILURE: Final = Named(
    name="Failure",
    schema={
        "type": "object",
        "description": "What went wrong, as OPCP and OPNC describe it. traceId finds it in the logs.",
        "required": ["errorMessages", "traceId"],
        "additionalProperties": False,
        "properties": {
            "errorMessages": {"type": "array", "minItems": 1, "items": TEXT},
            "traceId": {"type": "string", "format": "uuid"},
        },
    },
)
_MEANINGS = {
    400: "The request is not in order; the message says why.",
    401: "Credentials are missing or not good.",
    403: "This partner may not do that.",
    404: "There is no such thing, or not for this partner.",
    409: "It does not fit what is there already.",
    413: "The body is too large.",
    415: "The body is of another media type.",
    429: "Too many requests; Retry-After says when to come back.",
    500: "The fault is ours and has been noted.",
    501: "Not offered here.",
    503: "A part of this service is away; Retry-After says when to come back.",
}
_LATER = {429, 503}


def object_of(name: str, properties: Mapping[str, Schema], *, optional: Iterable[str] = ()) -> Named:
    """Return the schema of an answer that is an object of these members and no others."""
    required = [key for key in properties if key not in set(optional)]
    schema = {"type": "object", "required": required, "additionalProperties": False, "properties": properties}
    return Named(name=name, schema=schema)


def failures(*statuses: int, content: Mapping[str, Schema] | None = None) -> dict[int, Answer]:
    """Return answers of refusals, JSON unless said otherwise; 500 and 503 are among them everywhere."""
    shown = {JSON: FAILURE} if content is None else content
    return {
        status: Answer(
            summary=_MEANINGS.get(status, HTTPStatus(status).phrase),
            content=shown,
            headers={"Retry-After": "Seconds."} if status in _LATER else {},
        )
        for status in sorted({*statuses, 500, 503})
    }


def refusals(*statuses: int) -> dict[int, Answer]:
    """Return answers of refusals of a call that needs credentials: 401 and 403 are among them."""
    return failures(401, 403, *statuses)


def json_of(schema: Schema, summary: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer of JSON."""
    return Answer(summary=summary, content={JSON: schema}, headers=headers or {})


def add_routes(blueprint: Blueprint, routes: Iterable[Route]) -> None:
    """Serve routes and their aliases in a blueprint, and have them in the document of its application."""
    for route in routes:
        for number, path in enumerate((route.path, *route.aliases)):
            endpoint = f"{route.endpoint}_{number}" if number else route.endpoint
            if route.view is not None:
                strict = not route.is_slash_optional
                blueprint.add_url_rule(
                    path,
                    endpoint,
                    route.view,
                    methods=[route.method],
                    strict_slashes=strict,
                    provide_automatic_options=False,  # 405 with Allow (RFC 9110 15.5.6) instead of an empty 200
                )
            _tell(blueprint, Placed(rule=path, endpoint=endpoint, route=route, is_alias=number > 0))


def routes_of(app: App) -> list[Placed]:
    """Return what was declared for an application."""
    found: list[Placed] = app.extensions.setdefault(_KEY, [])
    return found


def _tell(blueprint: Blueprint, placed: Placed) -> None:
    def registered(state: BlueprintSetupState) -> None:
        whole = Placed(
            rule=(state.url_prefix or "") + placed.rule,
            endpoint=f"{blueprint.name}.{placed.endpoint}",
            route=placed.route,
            is_alias=placed.is_alias,
        )
        routes_of(state.app).append(whole)

    blueprint.record(registered)
