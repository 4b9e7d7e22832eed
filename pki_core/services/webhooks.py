"""Webhook endpoints of partners: made, changed and removed by themselves, each his own (OPCP webhooks)."""

import json
import uuid
from dataclasses import dataclass, replace
from typing import Any

from pki_core.model.clock import Clock
from pki_core.model.errors import SHOWN_LIMIT, ConflictError, MalformedError, NotFoundError
from pki_core.model.limits import NOTE_LIMIT
from pki_core.model.partners import Partner
from pki_core.model.webhooks import MOST_DESCRIPTION, MOST_VERSION, Endpoint, EndpointStatus, WebhookPolicy, events_for
from pki_core.outbound.client import OutboundClient
from pki_core.services.webhook_secrets import WebhookSecrets
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointWish:
    """What a partner asks for; None leaves a field as it is, or at its usual value."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    api_version: str | None = None
    description: str | None = None
    details: dict[str, Any] | None = None
    status: str | None = None


class Webhooks:
    """Keeps endpoints."""

    def __init__(
        self, store: Store, clock: Clock, client: OutboundClient, policy: WebhookPolicy, secrets: WebhookSecrets
    ) -> None:
        self._store = store
        self._clock = clock
        self._client = client
        self._policy = policy
        self._secrets = secrets

    def secret_of(self, endpoint: Endpoint) -> str:
        """Return what events for an endpoint are signed with."""
        return self._secrets.of(endpoint.id)

    def add(self, partner: Partner, wish: EndpointWish) -> Endpoint:
        """Add an endpoint.

        Raises:
            MalformedError, ForbiddenAddressError: the wish cannot be met as it stands.
            ConflictError: the partner has as many endpoints as he may.
        """
        if wish.url is None or wish.events is None:
            raise MalformedError("an endpoint has a url and events")
        now = self._clock.now()
        endpoint = self._with(
            Endpoint(
                id=str(uuid.uuid4()),
                partner_id=partner.id,
                url="",
                events=(),
                api_version="v1",
                description="",
                details={},
                status=EndpointStatus.ENABLED,
                created_at=now,
            ),
            partner,
            wish,
        )
        self._secrets.of(endpoint.id)  # fails now rather than at the first event
        with self._store.transaction() as work:
            work.partners.lock(partner.id)  # of two who count at once, the second one sees what the first has added
            if len(work.webhooks.of_partner(partner.id)) >= self._policy.max_endpoints:
                raise ConflictError(f"a partner has at most {self._policy.max_endpoints} webhook endpoints")
            work.webhooks.add(endpoint)
            work.audit.append("partners", now, [_entry(partner, "webhook.added", endpoint.id)])
        return endpoint

    def change(self, partner: Partner, endpoint_id: str, wish: EndpointWish) -> Endpoint:
        """Change what the wish names of an endpoint; errors as ``add`` and ``get``."""
        with self._store.transaction() as work:
            changed = self._with(work.webhooks.get(partner.id, endpoint_id), partner, wish)
            work.webhooks.replace(changed)
            work.audit.append("partners", self._clock.now(), [_entry(partner, "webhook.changed", endpoint_id)])
        return changed

    def remove(self, partner: Partner, endpoint_id: str) -> None:
        """Remove an endpoint; what is still to be told to it is dropped. NotFoundError when there is none."""
        with self._store.transaction() as work:
            if not work.webhooks.remove(partner.id, endpoint_id):
                raise NotFoundError("there is no such webhook endpoint")
            work.audit.append("partners", self._clock.now(), [_entry(partner, "webhook.removed", endpoint_id)])

    def get(self, partner: Partner, endpoint_id: str) -> Endpoint:
        """Return an endpoint; NotFoundError when the partner has none of that id."""
        with self._store.reading() as work:
            return work.webhooks.get(partner.id, endpoint_id)

    def all_of(self, partner: Partner) -> list[Endpoint]:
        """Return every endpoint of a partner."""
        with self._store.reading() as work:
            return work.webhooks.of_partner(partner.id)

    def _with(self, endpoint: Endpoint, partner: Partner, wish: EndpointWish) -> Endpoint:
        changes: dict[str, Any] = {}
        if wish.url is not None:
            if not wish.url.startswith("https://") and not (self._policy.plain_http and wish.url.startswith("http://")):
                raise MalformedError("an endpoint's url begins with https://")
            self._client.check(wish.url)
            changes["url"] = wish.url
        if wish.events is not None:
            allowed = events_for(partner.roles)
            if not wish.events or (unknown := sorted(set(wish.events) - allowed)):
                wrong = f"not {unknown[0][:SHOWN_LIMIT]!r}" if wish.events else "at least one of them"
                raise MalformedError(f"events are among {', '.join(sorted(allowed))}; {wrong}")
            changes["events"] = tuple(sorted(set(wish.events)))
        if wish.status is not None:
            if wish.status not in set(EndpointStatus):
                raise MalformedError("status is enabled or disabled")
            changes["status"] = EndpointStatus(wish.status)
        changes |= _texts(wish)
        return replace(endpoint, **changes)


def _texts(wish: EndpointWish) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text, most in (
        ("description", wish.description, MOST_DESCRIPTION),
        ("api_version", wish.api_version, MOST_VERSION),
    ):
        if text is not None:
            if len(text) > most or "\0" in text:
                raise MalformedError(f"{name} has at most {most} characters")
            found[name] = text
    if wish.details is not None:
        if len(json.dumps(wish.details)) > NOTE_LIMIT:
            raise MalformedError(f"metadata has at most {NOTE_LIMIT} characters")
        found["details"] = wish.details
    return found


def _entry(partner: Partner, action: str, detail: str) -> AuditEntry:
    return AuditEntry(actor=partner.id, action=action, detail=detail)
