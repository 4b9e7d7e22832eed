"""The API document (OpenAPI 3.1.1), made from the declarations of routes; nothing of it is written twice."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flask.sansio.app import App

from pki_core.runtime import Runtime
from webapp.api_routes import PLAIN_TEXT, TEXT, Answer, Named, Parameter, Placed, routes_of
from webapp.listeners import is_public

OPENAPI_VERSION: Final = "3.1.1"
_API_VERSION: Final = "1.0.0"  # of the calls described, not of the program
_IN_RULE = re.compile(r"<(?:[a-z]+:)?(\w+)>")
_TITLE = "pncpki: Plug & Charge PKI"
_ABOUT = (
    "Certificates of ISO 15118 and what belongs to them. A path that is an alias of another says so in x-alias-of; "
    "GET answers HEAD, too. What a partner may not see does not exist for him: 404."
)
_NUL = "The character NUL stands in it."
_SCHEMES: Final[dict[str, dict[str, Any]]] = {
    "secret": {"type": "http", "scheme": "basic", "description": "A partner's id and one of his machine secrets."},
    "certificate": {"type": "mutualTLS", "description": "A TLS client certificate of a partner."},
}


def document(app: App, runtime: Runtime, *, public_only: bool = False) -> dict[str, Any]:
    """Return the document of an application; ``public_only``: what the plain listener serves."""
    components = _Components()
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, None] = {}
    first: dict[int, str] = {}  # which operation a declaration was placed as first; its others are aliases
    for placed in routes_of(app):
        if public_only and not is_public(placed.rule):
            continue
        operation = _operation(placed, components)
        if placed.is_alias:
            operation["x-alias-of"] = first[id(placed.route)]
        else:
            first[id(placed.route)] = placed.endpoint
        paths.setdefault(_IN_RULE.sub(r"{\1}", placed.rule), {})[placed.route.method.lower()] = operation
        tags[placed.route.tag] = None
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": _TITLE,
            "version": _API_VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in tags],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            **({} if public_only else {"securitySchemes": _schemes(runtime)}),
        },
    }


class _Components:
    """The named schemas that were met."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self._known: dict[str, Named] = {}

    def plain(self, schema: Any) -> Any:  # noqa: ANN401  # any part of a JSON Schema
        """Return a schema with references in place of named ones.

        Raises:
            ValueError: two different schemas have one name.
        """
        if isinstance(schema, Named):
            if self._known.setdefault(schema.name, schema) != schema:
                raise ValueError(f"two schemas are named {schema.name}")
            if schema.name not in self.schemas:
                self.schemas[schema.name] = {}  # it may refer to itself
                self.schemas[schema.name] = self.plain(schema.schema)
            return {"$ref": f"#/components/schemas/{schema.name}"}
        if isinstance(schema, Mapping):
            return {key: self.plain(value) for key, value in schema.items()}
        if isinstance(schema, list | tuple):
            return [self.plain(one) for one in schema]
        return schema


def _operation(placed: Placed, components: _Components) -> dict[str, Any]:
    route = placed.route
    operation: dict[str, Any] = {"operationId": placed.endpoint, "summary": route.summary, "tags": [route.tag]}
    if route.details:
        operation["description"] = route.details
    if route.is_deprecated:
        operation["deprecated"] = True
    if parameters := list(_parameters(placed, components)):
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.body.is_required,
            "content": {kind: {"schema": components.plain(one)} for kind, one in route.body.content.items()},
        }
    answers = _answers(placed)
    operation["responses"] = {str(status): _answer(answers[status], components) for status in sorted(answers)}
    if route.roles is not None:
        operation["security"] = [{"token": [route.scope] if route.scope else []}, {"secret": []}, {"certificate": []}]
        operation["x-roles"] = list(route.roles)
    return operation


def _answers(placed: Placed) -> dict[int, Answer]:
    """Return what a route declares, and what is answered ahead of every view: NUL has no place in a request line."""
    route = placed.route
    if route.view is None:
        return dict(route.answers)
    content = route.answers[500].content if 500 in route.answers else {PLAIN_TEXT: TEXT}  # noqa: PLR2004  # of HTTP
    ahead = {400: Answer(summary=_NUL, content=content)}
    if "<" in placed.rule:
        ahead[404] = Answer(summary=_NUL, content=content)
    return {**ahead, **route.answers}


def _parameters(placed: Placed, components: _Components) -> Iterable[dict[str, Any]]:
    in_path = _IN_RULE.findall(placed.rule)
    declared = {one.name: one for one in placed.route.parameters if one.place == "path"}
    ours = [declared.get(name, Parameter(name=name, place="path")) for name in in_path]
    for one in (*ours, *(one for one in placed.route.parameters if one.place != "path")):
        described: dict[str, Any] = {"name": one.name, "in": one.place, "schema": components.plain(one.schema)}
        if one.summary:
            described["description"] = one.summary
        if one.is_required or one.place == "path":
            described["required"] = True
        yield described


def _answer(answer: Answer, components: _Components) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.summary}
    if answer.headers:
        described["headers"] = {
            name: {"description": meaning, "schema": TEXT} for name, meaning in answer.headers.items()
        }
    if answer.content:
        described["content"] = {kind: {"schema": components.plain(one)} for kind, one in answer.content.items()}
    return described


def _schemes(runtime: Runtime) -> dict[str, dict[str, Any]]:
    policy = runtime.access.tokens.policy
    words = sorted({word for scopes in policy.scopes.values() for word in scopes})
    grant = {"tokenUrl": f"{policy.issuer}/oauth/token", "scopes": dict.fromkeys(words, "A service.")}
    token = {"type": "oauth2", "description": "A token of ours.", "flows": {"clientCredentials": grant}}
    return {"token": token, **_SCHEMES}
