"""Webhooks as plain values: endpoints of partners, events they may hear, deliveries and when they are tried again.

Laws: an event becomes one delivery an endpoint; what is told is stored as it is sent and never changes; 2xx is a yes,
4xx (400 and 409 above all) a no, and who answers 5xx, "later" or nothing is asked again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pki_core.model.identifiers import provider_of, wmi_of
from pki_core.model.partners import Partner
from pki_core.model.pools import EventType

MOST_DESCRIPTION = 500  # characters that a partner says of an endpoint
MOST_VERSION = 16  # characters of the version of events he asks for
MOST_EVENTS = 64  # names in one list: far more than there are
_EVERYBODY = ("root.cert.added", "root.cert.expired", "root.cert.revoked")
_OPERATORS = (
    "mo.prov.cert.deleted",
    "mo.prov.cert.factory.reset",
    "mo.prov.cert.updated",
    "mo.prov.cert.updated.factory.reset",
    "mo.contract.created.sent.to.oem",
    "mo.contract.updated.sent.to.oem",
    "mo.contract.deleted.sent.to.oem",
    "mo.contract.delivered.to.oem",
    "mo.contract.rejected.by.oem",
    "mo.contract.queued.to.oem",
    "mo.contract.renewal.due",
)
_IN_OPNC = {event: event.replace("mo.", "emsp.", 1) for event in _OPERATORS}  # OPNC calls a mobility operator eMSP
EVENTS = {  # a partner's role -> what it may hear; roles that are not listed hear of roots only
    "mo": (*_EVERYBODY, *_IN_OPNC, *_IN_OPNC.values()),
    "oem": (
        *_EVERYBODY,
        "oem.contract.created",
        "oem.contract.updated",
        "oem.contract.deleted",
        "oem.prov.cert.renewal.due",
    ),
}
_OK, _REDIRECT, _BAD_REQUEST, _SERVER_ERROR = 200, 300, 400, 500
_AGAIN = frozenset({408, 429})
_NO = frozenset({400, 409})  # a maker's words for: I do not take this contract
_OFFERS = frozenset({EventType.OEM_CONTRACT_CREATED.value, EventType.OEM_CONTRACT_UPDATED.value})


class EndpointStatus(StrEnum):
    """Whether an endpoint hears."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    """Life of a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    REFUSED = "refused"  # the endpoint said no
    FAILED = "failed"  # given up


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPolicy:
    """How events are told."""

    plain_http: bool
    max_endpoints: int  # of one partner
    retries: int
    retry_after: timedelta
    keep: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a partner wants to hear of which events."""

    id: str
    partner_id: str
    url: str
    events: tuple[str, ...]
    api_version: str
    description: str
    details: dict[str, Any]  # the partner's own
    status: EndpointStatus
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint."""

    number: int
    endpoint_id: str
    partner_id: str
    event_id: str
    event_type: str
    scope: str | None  # of the event; None = not kept, in deliveries of before migration 0018
    body: str
    state: DeliveryState
    attempts: int
    next_at: datetime
    last_status: int | None
    created_at: datetime
    finished_at: datetime | None


def events_for(roles: frozenset[str]) -> frozenset[str]:
    """Return the events somebody with these roles may hear of."""
    return frozenset(event for role in roles for event in EVENTS.get(role, _EVERYBODY))


def may_hear(partner: Partner, event: str, scope: str | None) -> bool:
    """Tell whether a partner may hear of an event: by his roles, and by whom it is for, where that is known."""
    return event in events_for(partner.roles) and scope in {"", None, *partner.provider_prefixes, *partner.wmis}


def scope_told(event: str, pcid: str, emaid: str) -> str | None:
    """Return whom an event is for by what it tells of; None for a vehicle's, which names no operator."""
    if event in _EVERYBODY:
        return ""
    return (wmi_of(pcid) if event in EVENTS["oem"] else provider_of(emaid)) or None


def name_for(event: str, subscribed: Collection[str]) -> str:
    """Return the name under which an endpoint hears of an event: OPCP's, else OPNC's; "" when it asked for neither."""
    return next((name for name in (event, _IN_OPNC.get(event, event)) if name in subscribed), "")


def echo_of(event: str, state: DeliveryState, status: int | None, attempts: int) -> EventType | None:
    """Return what a contract's operator hears of its maker's answer to a delivery (OPCP webhooks); None = nothing."""
    if event not in _OFFERS:
        return None
    if state is DeliveryState.REFUSED and status in _NO:
        return EventType.CONTRACT_REJECTED
    return EventType.CONTRACT_QUEUED if state is DeliveryState.WAITING and attempts == 1 else None


def state_after(status: int | None, attempts: int, policy: WebhookPolicy) -> DeliveryState:
    """Return what becomes of a delivery after its ``attempts``-th attempt; ``status`` None = nobody answered."""
    if status is None or status >= _SERVER_ERROR or status in _AGAIN:
        return DeliveryState.WAITING if attempts <= policy.retries else DeliveryState.FAILED
    if _OK <= status < _REDIRECT:
        return DeliveryState.DELIVERED
    # Redirects are not followed: nobody has heard.
    return DeliveryState.REFUSED if status >= _BAD_REQUEST else DeliveryState.FAILED
