"""The routes of webhook endpoints, as OPCP and OPNC have them, and what the API document says of them."""

from functools import partial
from typing import Any, Final

from flask import Blueprint

from pki_core.model.limits import NOTE_LIMIT, URL_LIMIT
from pki_core.model.webhooks import EVENTS, MOST_DESCRIPTION, MOST_EVENTS, MOST_VERSION
from pki_core.runtime import Runtime
from webapp.api_routes import JSON, TEXT, Body, Named, Parameter, Route, add_routes, json_of, object_of, refusals
from webapp.callers import caller_reader
from webapp.rest import answer_errors_as_json
from webapp.webhooks import WebhookViews

_TAG = "Webhooks"
_OPCP, _OPNC = "/v1/webhook/endpoints", "/opnc/v1/event/endpoints"
_EVENTS = sorted({event for events in EVENTS.values() for event in events})
_WISHED: Final[dict[str, Any]] = {
    "url": {"type": "string", "maxLength": URL_LIMIT, "description": "https, and no address of a private network."},
    "enabledEvents": {"type": "array", "minItems": 1, "maxItems": MOST_EVENTS, "items": {"enum": _EVENTS}},
    "status": {"enum": ["enabled", "disabled"]},
    "description": {"type": "string", "maxLength": MOST_DESCRIPTION},
    "apiVersion": {"type": "string", "maxLength": MOST_VERSION},
    "metadata": {"type": "object", "description": f"Yours; at most {NOTE_LIMIT} characters as JSON."},
}
_WISH = Named(
    name="WebhookWish",
    schema={
        "type": "object",
        "description": "What an endpoint should be. Other members, as answers have them, are passed over.",
        "properties": _WISHED,
    },
)
_NEW = Named(name="NewWebhook", schema={"allOf": [_WISH, {"type": "object", "required": ["url", "enabledEvents"]}]})
_ENDPOINT = object_of(
    "WebhookEndpoint",
    {
        **_WISHED,
        "id": {"type": "string", "format": "uuid"},
        "created": {"type": "integer", "description": "Seconds since 1970."},
        "secret": {"type": "string", "description": "HMAC-SHA256 key that events to this endpoint are signed with."},
        "providerIds": {"type": "array", "items": TEXT},
        "wmis": {"type": "array", "items": TEXT},
        "userRole": TEXT,
        "userName": TEXT,
    },
)
_ONE = (Parameter(name="endpoint_id", place="path", summary="The id of an endpoint."),)


def webhooks_blueprint(runtime: Runtime) -> Blueprint:
    """Return the routes below /v1/webhook/endpoints, and the same under OPNC's name."""
    blueprint = Blueprint("webhooks", __name__)
    add_routes(blueprint, _routes(WebhookViews(runtime, caller_reader(runtime))))
    answer_errors_as_json(blueprint)
    return blueprint


def _routes(views: WebhookViews) -> list[Route]:
    of_all = partial(Route, path=_OPCP, aliases=(_OPNC,), tag=_TAG)
    of_one = partial(
        Route, path=f"{_OPCP}/<endpoint_id>", aliases=(f"{_OPNC}/<endpoint_id>",), tag=_TAG, parameters=_ONE
    )
    return [
        of_all(
            method="POST",
            view=views.add,
            summary="Add an endpoint that hears of events",
            details="Events are those of the partner's role.",
            body=Body(content={JSON: _NEW}),
            answers={
                201: json_of(_ENDPOINT, "The endpoint.", {"Location": "Where it is found."}),
                **refusals(400, 409, 413),
            },
        ),
        of_all(
            method="GET",
            view=views.all,
            summary="List one's endpoints",
            answers={200: json_of({"type": "array", "items": _ENDPOINT}, "All of them."), **refusals()},
        ),
        of_one(
            method="GET",
            view=views.get,
            summary="Show an endpoint",
            answers={200: json_of(_ENDPOINT, "The endpoint."), **refusals(404)},
        ),
        of_one(
            method="PUT",
            view=views.change,
            summary="Change an endpoint",
            details="What is not named stays as it is.",
            body=Body(content={JSON: _WISH}),
            answers={200: json_of(_ENDPOINT, "The endpoint, changed."), **refusals(400, 404, 413)},
        ),
        of_one(
            method="DELETE",
            view=views.remove,
            summary="Remove an endpoint",
            answers={200: json_of({"type": "object", "maxProperties": 0}, "It is gone."), **refusals(404)},
        ),
    ]
