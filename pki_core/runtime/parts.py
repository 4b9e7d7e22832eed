"""What every part of the runtime needs of the whole; each adds what else it needs."""

from typing import Protocol

from pki_core.model.clock import Clock
from pki_core.model.signer import KeyStore
from pki_core.settings import Settings
from pki_core.store.unit_of_work import Store


class Parts(Protocol):
    """Settings, clock, store and keys of one environment."""

    settings: Settings
    clock: Clock

    @property
    def store(self) -> Store:
        """The SQL store."""
        ...

    @property
    def key_store(self) -> KeyStore:
        """The keys."""
        ...
