"""Wires what partners reach us by, and we them: a part of the runtime. Nothing is opened before it is used."""

import os
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

from pki_core.model.outbound import OutboundPolicy
from pki_core.outbound.client import OutboundClient
from pki_core.outbound.status import StatusFetcher
from pki_core.outbound.turns import Turns
from pki_core.runtime.parts import Parts
from pki_core.services.batches import Batches
from pki_core.services.dispatch_poke import DispatchPoke
from pki_core.services.est_callers import Callers
from pki_core.services.foreign_status import ForeignStatuses
from pki_core.services.partner_batches import PartnerBatches
from pki_core.services.token_keys import TokenKeys
from pki_core.services.tokens import Tokens
from pki_core.services.webhook_deliveries import WebhookDeliveries
from pki_core.services.webhook_secrets import WebhookSecrets
from pki_core.services.webhooks import Webhooks

_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class AccessParts(Parts, Protocol):
    """What partner access needs of the runtime."""

    home: Path

    @property
    def batches(self) -> Batches:
        """Signing and progress of batches."""
        ...

    @property
    def callers(self) -> Callers:
        """Who calls."""
        ...


class PartnerAccess:
    """The services of partner access."""

    def __init__(self, parts: AccessParts) -> None:
        self._parts = parts

    @cached_property
    def token_keys(self) -> TokenKeys:
        """The keys of our own tokens."""
        parts = self._parts
        return TokenKeys(parts.store, lambda: parts.key_store, parts.clock, parts.settings.token_policy)

    @cached_property
    def tokens(self) -> Tokens:
        """Our own tokens."""
        parts = self._parts
        return Tokens(parts.store, parts.clock, parts.callers, self.token_keys, parts.settings.token_policy)

    @cached_property
    def partner_batches(self) -> PartnerBatches:
        """Batches as their partner sees them."""
        return PartnerBatches(self._parts.store, self._parts.clock, self._parts.batches)

    @cached_property
    def dispatch_poke(self) -> DispatchPoke:
        """Tells Prefect that a batch is queued. Its server is the operator's own: any address will do."""
        policy = OutboundPolicy(allowed_networks=_EVERYWHERE, connect_seconds=1, total_seconds=3)
        return DispatchPoke(OutboundClient(policy), os.environ, self._parts.settings.environment)

    @cached_property
    def identity_provider(self) -> OutboundClient:
        """Fetches the keys of the provider the settings name: the operator's own choice, at any address."""
        policy = OutboundPolicy(allowed_networks=_EVERYWHERE, connect_seconds=3, total_seconds=5)
        return OutboundClient(policy, self._ca_file)

    @property
    def _ca_file(self) -> str:
        settings = self._parts.settings.outbound
        return str(self._parts.home / settings.ca_file) if settings.ca_file else ""

    @cached_property
    def outbound(self) -> OutboundClient:
        """Calls to other people's servers."""
        return OutboundClient(self._parts.settings.outbound_policy, self._ca_file)

    @cached_property
    def foreign_status(self) -> ForeignStatuses:
        """What other people's CAs say of their certificates."""
        turns = Turns(self._parts.settings.turn_policy)
        return ForeignStatuses(StatusFetcher(self.outbound, turns), self._parts.clock, turns)

    @cached_property
    def webhook_secrets(self) -> WebhookSecrets:
        """What events are signed with."""
        return WebhookSecrets(self._parts.home / "secrets" / "webhooks")

    @cached_property
    def webhooks(self) -> Webhooks:
        """Where partners want to hear of what."""
        parts = self._parts
        policy = parts.settings.webhook_policy
        return Webhooks(parts.store, parts.clock, self.outbound, policy, self.webhook_secrets)

    @cached_property
    def webhook_deliveries(self) -> WebhookDeliveries:
        """Telling them."""
        parts = self._parts
        policy = parts.settings.webhook_policy
        return WebhookDeliveries(parts.store, parts.clock, self.outbound, policy, self.webhook_secrets)
