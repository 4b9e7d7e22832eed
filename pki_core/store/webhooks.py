"""Webhooks: endpoints of partners, and deliveries."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from pki_core.model.errors import NotFoundError
from pki_core.model.pools import OutboxEvent
from pki_core.model.webhooks import Delivery, DeliveryState, Endpoint, EndpointStatus
from pki_core.store.bulk import insert_rows
from pki_core.store.partner_tables import webhook_delivery, webhook_endpoint
from pki_core.store.partners import SUSPENDED_IDS
from pki_core.store.times import from_seconds, to_seconds

_DELIVERY_COLUMNS = (
    "endpoint_id",
    "partner_id",
    "event_id",
    "event_type",
    "body",
    "state",
    "attempts",
    "next_at",
    "created_at",
    "scope",
)
_endpoint, _delivery = webhook_endpoint.c, webhook_delivery.c


class WebhookGateway:
    """Rows of ``webhook_endpoint`` and ``webhook_delivery``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, endpoint: Endpoint) -> None:
        """Add an endpoint."""
        self._connection.execute(insert(webhook_endpoint).values(**_columns(endpoint)))

    def replace(self, endpoint: Endpoint) -> None:
        """Change everything of an endpoint but its id and owner."""
        self._connection.execute(
            update(webhook_endpoint).where(*_key(endpoint.partner_id, endpoint.id)).values(**_columns(endpoint))
        )

    def remove(self, partner_id: str, endpoint_id: str) -> bool:
        """Remove an endpoint; False when the partner has none of that id."""
        gone = self._connection.execute(delete(webhook_endpoint).where(*_key(partner_id, endpoint_id))).rowcount
        return gone == 1

    def get(self, partner_id: str, endpoint_id: str) -> Endpoint:
        """Return an endpoint; NotFoundError when the partner has none of that id."""
        row = self._connection.execute(select(webhook_endpoint).where(*_key(partner_id, endpoint_id))).first()
        if row is None:
            raise NotFoundError("there is no such webhook endpoint")
        return _endpoint_of(row)

    def of_partner(self, partner_id: str) -> list[Endpoint]:
        """Return the endpoints of a partner, oldest first."""
        rows = self._connection.execute(
            select(webhook_endpoint)
            .where(_endpoint.partner_id == partner_id)
            .order_by(_endpoint.created_at, _endpoint.id)
        )
        return [_endpoint_of(row) for row in rows]

    def enabled(self) -> list[Endpoint]:
        """Return every endpoint that hears."""
        rows = self._connection.execute(
            select(webhook_endpoint).where(_endpoint.status == EndpointStatus.ENABLED.value).order_by(_endpoint.id)
        )
        return [_endpoint_of(row) for row in rows]

    def add_deliveries(self, told: Sequence[tuple[Endpoint, OutboxEvent, str]], now: datetime) -> None:
        """Add deliveries as (endpoint, event, body), due at once."""
        at, state = to_seconds(now), DeliveryState.WAITING.value
        rows = [
            (
                endpoint.id,
                endpoint.partner_id,
                event.id,
                event.event.type.value,
                body,
                state,
                0,
                at,
                at,
                event.event.scope,
            )
            for endpoint, event, body in told
        ]
        insert_rows(self._connection, webhook_delivery, _DELIVERY_COLUMNS, rows)

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Delivery]:
        """Take deliveries that are due: they are nobody else's until a moment, and count as tried."""
        rows = self._connection.execute(
            select(webhook_delivery)
            .where(*_are_due(now))
            .order_by(_delivery.next_at, _delivery.number)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        numbers = [row.number for row in rows]
        if numbers:
            self._connection.execute(
                update(webhook_delivery)
                .where(_delivery.number.in_(numbers))
                .values(attempts=_delivery.attempts + 1, next_at=to_seconds(until))
            )
        return [_delivery_of(row, attempts=row.attempts + 1) for row in rows]

    def settle(self, delivery: Delivery, state: DeliveryState, status: int | None, moment: datetime) -> bool:
        """Write what became of a claimed attempt; ``moment`` is the next one of a waiting delivery, else the end.

        False when a later attempt has written already.
        """
        is_waiting = state is DeliveryState.WAITING
        values: dict[str, Any] = {"state": state.value, "last_status": status}
        values["next_at" if is_waiting else "finished_at"] = to_seconds(moment)
        changed = self._connection.execute(
            update(webhook_delivery)
            .where(
                _delivery.number == delivery.number,
                _delivery.state == DeliveryState.WAITING.value,
                _delivery.attempts == delivery.attempts,  # a later attempt knows better
            )
            .values(**values)
        ).rowcount
        return changed == 1

    def postpone(self, endpoint_id: str, now: datetime, until: datetime) -> None:
        """Put off what is due for an endpoint and claimed by nobody; it does not count as tried."""
        self._connection.execute(
            update(webhook_delivery)
            .where(
                _delivery.endpoint_id == endpoint_id,
                _delivery.state == DeliveryState.WAITING.value,
                _delivery.next_at <= to_seconds(now),
            )
            .values(next_at=to_seconds(until))
        )

    def restart(self, number: int, now: datetime) -> bool:
        """Have a finished delivery sent again; False when there is none, or it waits anyway."""
        changed = self._connection.execute(
            update(webhook_delivery)
            .where(_delivery.number == number, _delivery.state != DeliveryState.WAITING.value)
            .values(state=DeliveryState.WAITING.value, attempts=0, next_at=to_seconds(now), finished_at=None)
        ).rowcount
        return changed == 1

    def delivery(self, number: int) -> Delivery:
        """Return a delivery; NotFoundError when there is none."""
        row = self._connection.execute(select(webhook_delivery).where(_delivery.number == number)).first()
        if row is None:
            raise NotFoundError(f"there is no webhook delivery {number}")
        return _delivery_of(row)

    def deliveries(self, state: DeliveryState | None, limit: int) -> list[Delivery]:
        """Return the newest deliveries, all or those in a state."""
        query = select(webhook_delivery).order_by(_delivery.number.desc()).limit(limit)
        if state is not None:
            query = query.where(_delivery.state == state.value)
        return [_delivery_of(row) for row in self._connection.execute(query)]

    def waiting(self) -> int:
        """Return how many deliveries are not finished."""
        return (
            self._connection.scalar(select(func.count()).where(webhook_delivery.c.state == DeliveryState.WAITING.value))
            or 0
        )

    def longest_due(self, now: datetime) -> datetime | None:
        """Return since when the delivery that waits longest is due, None when none is."""
        at = self._connection.scalar(select(func.min(_delivery.next_at)).where(*_are_due(now)))
        return None if at is None else from_seconds(at)

    def forget(self, before: datetime) -> int:
        """Drop finished deliveries of long ago; return how many."""
        old = delete(webhook_delivery).where(
            _delivery.state != DeliveryState.WAITING.value, _delivery.finished_at < to_seconds(before)
        )
        return self._connection.execute(old).rowcount


def _are_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a delivery is to be made now; those to suspended partners wait for their return."""
    return (
        _delivery.state == DeliveryState.WAITING.value,
        _delivery.next_at <= to_seconds(now),
        _delivery.partner_id.not_in(SUSPENDED_IDS),
    )


def _key(partner_id: str, endpoint_id: str) -> tuple[Any, ...]:
    return _endpoint.id == endpoint_id, _endpoint.partner_id == partner_id


def _columns(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "partner_id": endpoint.partner_id,
        "url": endpoint.url,
        "events": json.dumps(endpoint.events),
        "api_version": endpoint.api_version,
        "description": endpoint.description,
        "details": json.dumps(endpoint.details),
        "status": endpoint.status.value,
        "created_at": to_seconds(endpoint.created_at),
    }


def _endpoint_of(row: Row[Any]) -> Endpoint:
    return Endpoint(
        id=row.id,
        partner_id=row.partner_id,
        url=row.url,
        events=tuple(json.loads(row.events)),
        api_version=row.api_version,
        description=row.description,
        details=json.loads(row.details),
        status=EndpointStatus(row.status),
        created_at=from_seconds(row.created_at),
    )


def _delivery_of(row: Row[Any], *, attempts: int | None = None) -> Delivery:
    return Delivery(
        number=row.number,
        endpoint_id=row.endpoint_id,
        partner_id=row.partner_id,
        event_id=row.event_id,
        event_type=row.event_type,
        scope=row.scope,
        body=row.body,
        state=DeliveryState(row.state),
        attempts=row.attempts if attempts is None else attempts,
        next_at=from_seconds(row.next_at),
        last_status=row.last_status,
        created_at=from_seconds(row.created_at),
        finished_at=None if row.finished_at is None else from_seconds(row.finished_at),
    )
