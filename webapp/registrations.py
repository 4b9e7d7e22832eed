"""The registration authority over HTTP: charging stations a CPO announces before they enrol (Hubject VRA)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Response, jsonify, request

from pki_core.model.errors import MalformedError, NotFoundError
from pki_core.model.partners import Partner
from pki_core.model.registrations import ISO_VERSIONS, MAX_EVSE_IDS, MAX_TEXT, EndEntity
from pki_core.runtime import Runtime
from pki_core.services.registrations import MAX_AT_ONCE, PAGE
from webapp import pool_fields as fields
from webapp.api_routes import TEXT, Parameter, Route, Schema, refusals
from webapp.pool_schemas import DONE, found, json_body_of, list_of, named, object_of
from webapp.rest import json_body

_MAX_BODY = 1_048_576  # a thousand stations
_route = partial(Route, tag="VRA", roles=("cpo",), scope="pkigateway")
_PLACE = "/v1/vra/cpo/endEntities"
_TEXTS = {  # of the model -> on the wire
    "manufacturer": "manufacture",
    "device_name": "deviceName",
    "software_version": "deviceSWVersion",
    "evse_serial_number": "evseSerialNumber",
    "charge_box_serial_number": "chargeBoxSerialNumber",
    "ocpp_version": "ocppVersion",
}
_SHORT: Schema = {"type": "string", "maxLength": MAX_TEXT}
_MEMBERS: dict[str, Any] = {
    "commonName": _SHORT,
    "evseID": list_of(_SHORT, MAX_EVSE_IDS),
    **dict.fromkeys(_TEXTS.values(), _SHORT),
    "evseISOversion": {"type": "string", "enum": list(ISO_VERSIONS)},
}
END_ENTITY = named("EndEntity", _MEMBERS, needed=("commonName",))
END_ENTITY_UPLOAD = named("EndEntityUpload", _MEMBERS, needed=("commonName",), is_open=True)
END_ENTITIES_UPLOAD = named(
    "EndEntitiesUpload", {"endEntities": list_of(END_ENTITY_UPLOAD, MAX_AT_ONCE)}, needed=("endEntities",), is_open=True
)


class RegistrationViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._registrations = runtime.pools.registrations

    def put(self, partner: Partner) -> Response:
        """Register a charging station, or many."""
        body = json_body(request, _MAX_BODY)
        listed = body.get("endEntities", [body])
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise MalformedError("endEntities is a list of end entities")
        self._registrations.put(partner, [_entity_of(one) for one in listed])
        return jsonify({})

    def page(self, partner: Partner) -> Response:
        """List a partner's own charging stations."""
        entities = self._registrations.page(partner, fields.query_text("after"))
        is_more = len(entities) == PAGE
        return jsonify(
            endEntities=[_shown(one) for one in entities], next_after=entities[-1].common_name if is_more else None
        )

    def remove(self, partner: Partner, common_name: str) -> Response:
        """Forget a charging station."""
        if not self._registrations.remove(partner, common_name):
            raise NotFoundError("there is no such end entity")
        return jsonify({})


def registration_routes(runtime: Runtime) -> list[Route]:
    """Return the routes of the registration authority."""
    views = RegistrationViews(runtime)
    page = object_of(
        {"endEntities": list_of(END_ENTITY, PAGE), "next_after": {"type": ["string", "null"]}},
        needed=("endEntities", "next_after"),
    )
    return [
        _route(
            method="GET",
            path=_PLACE,
            view=views.page,
            summary="List one's own charging stations, a thousand at a time.",
            answers={**found(page), **refusals(400)},
            parameters=(Parameter(name="after", schema=TEXT, summary="next_after of the page before."),),
            name="vra_page",
        ),
        _route(
            method="PUT",
            path=_PLACE,
            view=views.put,
            summary="Register a charging station, or up to a thousand; each takes the place of the one of its name.",
            answers={200: DONE, **refusals(400, 413)},
            body=json_body_of({"anyOf": [END_ENTITY_UPLOAD, END_ENTITIES_UPLOAD]}),
            name="vra_put",
        ),
        _route(
            method="DELETE",
            path=f"{_PLACE}/<common_name>",
            view=views.remove,
            summary="Forget a charging station; its certificate stays as it is.",
            answers={200: DONE, **refusals(404)},
            name="vra_remove",
        ),
    ]


def _entity_of(members: Mapping[str, Any]) -> EndEntity:
    evse_ids = fields.texts_of(members, "evseID", most=MAX_EVSE_IDS, limit=MAX_TEXT)
    iso_version = fields.text_of(members, "evseISOversion") or ISO_VERSIONS[0]
    if iso_version not in ISO_VERSIONS:
        raise MalformedError(f"evseISOversion is one of {', '.join(ISO_VERSIONS)}")
    texts = {name: fields.text_of(members, wire, limit=MAX_TEXT) for name, wire in _TEXTS.items()}
    return EndEntity(
        common_name=fields.text_of(members, "commonName", limit=MAX_TEXT, needed=True),
        evse_ids=evse_ids,
        iso_version=iso_version,
        **texts,
    )


def _shown(entity: EndEntity) -> dict[str, Any]:
    return {
        "commonName": entity.common_name,
        "evseID": list(entity.evse_ids),
        **{wire: getattr(entity, name) for name, wire in _TEXTS.items()},
        "evseISOversion": entity.iso_version,
    }
