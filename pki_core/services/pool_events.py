"""What the pools tell about: their audit stream, and events for everybody with a contract of a vehicle."""

from collections.abc import Sequence

from pki_core.model.identifiers import provider_of
from pki_core.model.pools import Event, EventType, RemovedContract

STREAM = "pools"


def told_providers(contracts: Sequence[RemovedContract], event: EventType) -> list[Event]:
    """Return an event for every mobility operator with a contract of a vehicle, once a vehicle."""
    told = dict.fromkeys((provider_of(one.emaid), one.pcid) for one in contracts)
    return [Event(event, provider, pcid) for provider, pcid in told]
