"""Webhook endpoints over HTTP, as OPCP and OPNC describe them; a partner sees his own only."""

from functools import partial
from typing import Any

from flask import Response, jsonify, request

from pki_core.model.errors import MalformedError
from pki_core.model.partners import Partner
from pki_core.model.webhooks import MOST_EVENTS, Endpoint
from pki_core.runtime import Runtime
from pki_core.services.webhooks import EndpointWish
from webapp.callers import CallerReader
from webapp.rest import RestCallers, json_body

_TEXTS = ("url", "status", "description", "apiVersion")


class WebhookViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime, callers: CallerReader) -> None:
        self._runtime = runtime
        self._partner = partial(RestCallers(runtime, callers).partner, "")

    def add(self) -> Response:
        """Add an endpoint."""
        partner = self._partner()
        endpoint = self._runtime.access.webhooks.add(partner, _wish())
        answer = self._answer(endpoint, partner)
        answer.status_code = 201
        answer.headers["Location"] = f"/v1/webhook/endpoints/{endpoint.id}"
        return answer

    def all(self) -> Response:
        """List endpoints."""
        partner = self._partner()
        found = self._runtime.access.webhooks.all_of(partner)
        return _fresh(jsonify([self._shown(endpoint, partner) for endpoint in found]))

    def get(self, endpoint_id: str) -> Response:
        """Show an endpoint."""
        partner = self._partner()
        return self._answer(self._runtime.access.webhooks.get(partner, endpoint_id), partner)

    def change(self, endpoint_id: str) -> Response:
        """Change an endpoint."""
        partner = self._partner()
        return self._answer(self._runtime.access.webhooks.change(partner, endpoint_id, _wish()), partner)

    def remove(self, endpoint_id: str) -> Response:
        """Remove an endpoint."""
        self._runtime.access.webhooks.remove(self._partner(), endpoint_id)
        return _fresh(jsonify({}))

    def _answer(self, endpoint: Endpoint, partner: Partner) -> Response:
        return _fresh(jsonify(self._shown(endpoint, partner)))

    def _shown(self, endpoint: Endpoint, partner: Partner) -> dict[str, Any]:
        return {
            "id": endpoint.id,
            "apiVersion": endpoint.api_version,
            "created": int(endpoint.created_at.timestamp()),
            "description": endpoint.description,
            "enabledEvents": list(endpoint.events),
            "metadata": endpoint.details,
            "status": endpoint.status.value,
            "url": endpoint.url,
            "secret": self._runtime.access.webhooks.secret_of(endpoint),
            "providerIds": sorted(partner.provider_prefixes),
            "wmis": sorted(partner.wmis),
            "userRole": ",".join(sorted(partner.roles)),
            "userName": partner.id,
        }


def _wish() -> EndpointWish:
    """Read a body; what is computed by us (id, secret, ...) may stand in it, as clients send back what they read."""
    body = json_body(request)
    texts: dict[str, str | None] = {}
    for name in _TEXTS:
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            raise MalformedError(f"{name} is a text")
        texts[name] = value
    events = body.get("enabledEvents", body.get("events"))
    if events is not None:
        is_list = isinstance(events, list) and len(events) <= MOST_EVENTS
        if not is_list or not all(isinstance(event, str) for event in events):
            raise MalformedError("enabledEvents is a list of names of events")
    details = body.get("metadata")
    if details is not None and not isinstance(details, dict):
        raise MalformedError("metadata is an object")
    return EndpointWish(
        url=texts["url"],
        events=None if events is None else tuple(events),
        api_version=texts["apiVersion"],
        description=texts["description"],
        details=details,
        status=texts["status"],
    )


def _fresh(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"  # it holds a secret
    return answer
