"""The tables of partner access: keys that sign tokens, webhook endpoints and their deliveries.

Conventions as in ``tables``. No secret is stored: that of an endpoint follows from its id and a key outside the store.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
)

from pki_core.model.limits import NAME_LIMIT, URL_LIMIT
from pki_core.model.webhooks import MOST_DESCRIPTION
from pki_core.store.pool_tables import contract

metadata = contract.metadata  # one for all tables: whoever imports this module knows every one of them
_Number = BigInteger().with_variant(Integer, "sqlite")

__all__ = ["metadata", "token_key", "webhook_delivery", "webhook_endpoint"]

token_key = Table(
    "token_key",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("key_label", String(NAME_LIMIT), nullable=False, unique=True),
    Column("spki_der", LargeBinary, nullable=False),
    Column("signs_from", BigInteger, nullable=False),
    Column("ended_at", BigInteger),  # withdrawn; null = in force
)

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("partner_id", ForeignKey("partner.id"), nullable=False),
    Column("url", String(URL_LIMIT), nullable=False),
    Column("events", Text, nullable=False),  # JSON list
    Column("api_version", String(16), nullable=False),
    Column("description", String(MOST_DESCRIPTION), nullable=False),
    Column("details", Text, nullable=False),  # "metadata" of the interface, JSON object of the partner's own
    Column("status", String(16), nullable=False),  # enabled | disabled
    Column("created_at", BigInteger, nullable=False),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("number", _Number, Identity(), primary_key=True),
    Column("endpoint_id", String(36), nullable=False),  # no foreign key: what was told stays when the endpoint goes
    Column("partner_id", String(NAME_LIMIT), nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("event_type", String(64), nullable=False),
    Column("body", Text, nullable=False),  # as it is signed and sent, each time
    Column("state", String(16), nullable=False),  # waiting | delivered | refused | failed
    Column("attempts", SmallInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),  # of a waiting one; while it is being sent: when that is given up
    Column("last_status", SmallInteger),  # HTTP; null = nobody answered
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("scope", String(8)),  # of its event; null = made before this was kept
    sqlite_autoincrement=True,
)

Index("ix_webhook_endpoint_partner_id", webhook_endpoint.c.partner_id)
Index("ix_webhook_delivery_state_next_at", webhook_delivery.c.state, webhook_delivery.c.next_at)
Index(  # an event is told to an endpoint once, however often the outbox is read
    "ix_webhook_delivery_event", webhook_delivery.c.endpoint_id, webhook_delivery.c.event_id, unique=True
)
