"""Delivery of events: from the outbox to one delivery an endpoint, and from there to the partner, until he has it.

1. *fan out*  events leave the outbox and become deliveries, in one transaction: all or nothing.
2. *claim*    due deliveries are this run's until a moment, and count as tried: a run that dies costs one attempt.
              What a suspended partner would be told waits until he is resumed; what is no longer a partner's, since a
              role or prefix was taken from him, fails without being sent, and the log says so.
3. *send*     outside any transaction, several at once, signed as they are stored.
4. *settle*   delivered, refused, failed, or waiting for the next attempt; what a maker refuses, or is told later, is an
              event for the contract's operator.

A partner may hear an event twice, when a run dies between 3 and 4: eventId tells.
"""

import json
import logging
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from pki_core.model.clock import Clock, rfc3339
from pki_core.model.errors import ConflictError, ForbiddenAddressError, OutboundUnavailableError
from pki_core.model.identifiers import provider_of
from pki_core.model.outbound import OutboundRequest
from pki_core.model.partners import Partner
from pki_core.model.pools import Event, EventType, Namespace, OutboxEvent, PoolRoot
from pki_core.model.webhooks import (
    Delivery,
    DeliveryState,
    Endpoint,
    WebhookPolicy,
    echo_of,
    may_hear,
    name_for,
    scope_told,
    state_after,
)
from pki_core.outbound.client import OutboundClient
from pki_core.services.webhook_secrets import WebhookSecrets
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate_text import subject_text
from pki_core.wire.pool_certificate import read_certificate

_log = logging.getLogger(__name__)
_PAGE = 1000  # events a transaction
_CLAIM = 32  # deliveries a round
_AT_ONCE = 8
_LEASE = timedelta(minutes=5)  # far longer than a round of calls may take
_MOST_ANSWER = 65_536  # read and thrown away


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What a run did."""

    events: int  # taken out of the outbox
    delivered: int
    refused: int
    failed: int
    waiting: int  # to be tried again


class WebhookDeliveries:
    """Tells partners."""

    def __init__(
        self, store: Store, clock: Clock, client: OutboundClient, policy: WebhookPolicy, secrets: WebhookSecrets
    ) -> None:
        self._store = store
        self._clock = clock
        self._client = client
        self._policy = policy
        self._secrets = secrets

    def run(self, at_most: int) -> DeliveryReport:
        """Fan out what is in the outbox, and make up to ``at_most`` calls. Running it twice at once is harmless.

        Raises:
            UnavailableError: the store or the key of the secrets is away.
        """
        events = 0
        while count := self._fan_out():
            events += count
        ends = dict.fromkeys(DeliveryState, 0)
        while at_most > 0 and (claimed := self._claim(min(_CLAIM, at_most))):
            at_most -= len(claimed)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                statuses = list(pool.map(lambda one: self._send(*one), claimed))
            for (delivery, _), status in zip(claimed, statuses, strict=True):
                ends[self._settle(delivery, status)] += 1
        with self._store.transaction() as work:
            work.webhooks.forget(self._clock.now() - self._policy.keep)
            waiting = work.webhooks.waiting()
        return DeliveryReport(
            events=events,
            delivered=ends[DeliveryState.DELIVERED],
            refused=ends[DeliveryState.REFUSED],
            failed=ends[DeliveryState.FAILED],
            waiting=waiting,
        )

    def look(self) -> DeliveryReport:
        """Return what waits, changing nothing: events in the outbox, and deliveries not yet made."""
        with self._store.reading() as work:
            events, waiting = work.outbox.count(), work.webhooks.waiting()
        return DeliveryReport(events=events, delivered=0, refused=0, failed=0, waiting=waiting)

    def replay(self, number: int, actor: str) -> None:
        """Have a finished delivery sent again, the same bytes; the next run does it.

        Raises:
            NotFoundError: there is none of that number.
            ConflictError: it waits anyway, its partner is suspended, or nobody knows whom its event was for.
        """
        now = self._clock.now()
        with self._store.transaction() as work:
            delivery = work.webhooks.delivery(number)
            if work.partners.get(delivery.partner_id).is_suspended:
                raise ConflictError(f"partner {delivery.partner_id!r} is suspended: he is told nothing")
            if _scope_of(delivery) is None:
                # It would be judged by the role alone, for as long as it is kept: his prefix may be another's by now.
                raise ConflictError(
                    f"webhook delivery {number} tells of a vehicle and was made before migration 0018: "
                    "whom it was for was not kept"
                )
            if not work.webhooks.restart(number, now):
                raise ConflictError(f"webhook delivery {number} is not finished")
            detail = f"{number} event {delivery.event_id}"
            work.audit.append("partners", now, [AuditEntry(actor=actor, action="webhook.replayed", detail=detail)])

    def recent(self, state: DeliveryState | None, limit: int) -> list[Delivery]:
        """Return the newest deliveries, all or those in a state."""
        with self._store.reading() as work:
            return work.webhooks.deliveries(state, limit)

    def _fan_out(self) -> int:
        now = self._clock.now()
        with self._store.transaction() as work:
            events = work.outbox.take(_PAGE)
            if not events:
                return 0
            endpoints = work.webhooks.enabled()
            partners = {one.partner_id: work.partners.get(one.partner_id) for one in endpoints}
            about = _about(work, events) if endpoints else []
            work.webhooks.add_deliveries(_told(about, endpoints, partners), now)
        return len(events)

    def _claim(self, limit: int) -> list[tuple[Delivery, Endpoint | None]]:
        """Take due deliveries with their endpoints; None for one that is gone, hears no more, or may not hear of it."""
        now = self._clock.now()
        with self._store.transaction() as work:
            claimed = work.webhooks.claim(now, now + _LEASE, limit)
            hearing = {one.id: one for one in work.webhooks.enabled()} if claimed else {}
            partners = {one: work.partners.get(one) for one in {delivery.partner_id for delivery in claimed}}
        found: list[tuple[Delivery, Endpoint | None]] = []
        for delivery in claimed:
            is_his = may_hear(partners[delivery.partner_id], delivery.event_type, _scope_of(delivery))
            if not is_his:  # a role or prefix was taken from him since
                told = (delivery.number, delivery.event_id, delivery.partner_id)
                _log.warning("webhook delivery %d (event %s) is not told: it is no longer partner %r's", *told)
            found.append((delivery, hearing.get(delivery.endpoint_id) if is_his else None))
        return found

    def _send(self, delivery: Delivery, endpoint: Endpoint | None) -> int | None:
        """Return the status of the answer, None when there was none, 0 when nobody is to be asked."""
        if endpoint is None:
            return 0
        body = delivery.body.encode()
        signature = f"sha256={self._secrets.signature(delivery.endpoint_id, body)}"
        request = OutboundRequest(
            url=endpoint.url,
            method="POST",
            body=body,
            headers={
                "Content-Type": "application/json",
                "X-Pncpki-Signature": signature,
                "X-Hubject-Signature": signature,  # as receivers of existing gateways look for it
            },
            max_octets=_MOST_ANSWER,
        )
        try:
            return self._client.call(request).status
        except OutboundUnavailableError:
            return None
        except ForbiddenAddressError:
            return 0  # its name leads somewhere else by now

    def _settle(self, delivery: Delivery, status: int | None) -> DeliveryState:
        state = state_after(status, delivery.attempts, self._policy)
        now = self._clock.now()
        moment = now + self._policy.retry_after if state is DeliveryState.WAITING else now
        with self._store.transaction() as work:
            is_ours = work.webhooks.settle(delivery, state, status or None, moment)
            if is_ours and (echo := echo_of(delivery.event_type, state, status, delivery.attempts)):
                work.outbox.append(now, [_echoed(echo, delivery)])
            if state is DeliveryState.WAITING:
                # Who does not answer now will not answer the next thousand calls either: others come first.
                work.webhooks.postpone(delivery.endpoint_id, now, moment)
        return state


def _told(
    events: Iterable[tuple[OutboxEvent, Mapping[str, str]]],
    endpoints: Sequence[Endpoint],
    partners: Mapping[str, Partner],
) -> list[tuple[Endpoint, OutboxEvent, str]]:
    told = []
    for one, payload in events:
        bodies: dict[str, str] = {}
        for endpoint in endpoints:
            partner = partners[endpoint.partner_id]
            name = name_for(one.event.type, endpoint.events)
            if name and may_hear(partner, one.event.type, one.event.scope):
                if name not in bodies:
                    bodies[name] = body_of(one, payload, name)
                told.append((endpoint, one, bodies[name]))
    return told


def _about(work: UnitOfWork, events: Sequence[OutboxEvent]) -> list[tuple[OutboxEvent, Mapping[str, str]]]:
    """Return events with their payloads: a contract's certificate and a root's names, where these are still there."""
    certificates = work.contract_pool.certificates_of({one.event.emaid for one in events} - {""})
    found: list[tuple[OutboxEvent, Mapping[str, str]]] = []
    for one in events:
        root = work.root_pool.get(one.event.root_id) if one.event.root_id else None
        more = _names_of(root) if root else {}
        if certificate_der := certificates.get(one.event.emaid):
            more = {"contractCert": b64encode(certificate_der).decode("ascii")}
        found.append(
            (one, {"pcid": one.event.pcid, "emaid": one.event.emaid, "rootCertificateId": one.event.root_id, **more})
        )
    return found


def _names_of(root: PoolRoot) -> dict[str, str]:
    names = read_certificate(root.certificate_der)
    return {
        "distinguishedName": subject_text(root.certificate_der),
        "commonName": names.common_name,
        "rootType": root.kind.value.upper(),
        "rootSerialNumber": names.serial,
    }


def _scope_of(delivery: Delivery) -> str | None:
    """Return whom a delivery's event is for: as it was kept, else as what is told says it; None = not known."""
    if delivery.scope is not None:
        return delivery.scope
    told = json.loads(delivery.body)["payload"]
    return scope_told(delivery.event_type, told.get("pcid", ""), told.get("emaid", ""))


def _echoed(echo: EventType, delivery: Delivery) -> Event:
    """Return what the operator of a contract hears of a delivery to the vehicle's maker, by what that one was told."""
    told = json.loads(delivery.body)
    pcid, emaid = told["payload"]["pcid"], told["payload"]["emaid"]
    namespace = next((one for one in Namespace if one.urn == told.get("xsdMsgDefNamespace")), None)
    return Event(echo, provider_of(emaid), pcid, emaid, namespace=namespace)


def body_of(event: OutboxEvent, payload: Mapping[str, str], name: str) -> str:
    """Return what is sent of an event under a name (OPNC, webhook payloads); what has no value is left out."""
    namespace = event.event.namespace
    return json.dumps(
        {
            "eventId": event.id,
            "eventType": name,
            "timestamp": rfc3339(event.at),
            **({"xsdMsgDefNamespace": namespace.urn} if namespace else {}),
            "payload": {name: value for name, value in payload.items() if value},
        },
        separators=(",", ":"),
    )
