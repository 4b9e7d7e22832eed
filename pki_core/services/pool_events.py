"""What the pools tell about: their audit stream, and events for everybody with a contract of a vehicle."""

from collections.abc import Sequence

from pki_core.model.identifiers import provider_of, wmi_of
from pki_core.model.pools import Event, EventType, Namespace, RemovedContract

STREAM = "pools"
CREATED = (EventType.OEM_CONTRACT_CREATED, EventType.CONTRACT_CREATED)
UPDATED = (EventType.OEM_CONTRACT_UPDATED, EventType.CONTRACT_UPDATED)
DELETED = (EventType.OEM_CONTRACT_DELETED, EventType.CONTRACT_DELETED)


def told_both(types: tuple[EventType, EventType], emaid: str, pcid: str, namespace: Namespace) -> tuple[Event, Event]:
    """Return what a vehicle's maker and a contract's operator hear: one of ``CREATED``, ``UPDATED`` and ``DELETED``."""
    maker, operator = types
    return (
        Event(maker, wmi_of(pcid), pcid, emaid, namespace=namespace),
        Event(operator, provider_of(emaid), pcid, emaid, namespace=namespace),
    )


def told_providers(contracts: Sequence[RemovedContract], event: EventType) -> list[Event]:
    """Return an event for every mobility operator with a contract of a vehicle, once a vehicle."""
    told = dict.fromkeys((provider_of(one.emaid), one.pcid, one.namespace) for one in contracts)
    return [Event(event, provider, pcid, namespace=namespace) for provider, pcid, namespace in told]
