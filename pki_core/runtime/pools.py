"""Wires the pools: RCP, PCP, CCP, their maintenance, and the registration authority."""

from collections.abc import Callable
from functools import cached_property

from pki_core.model.clock import Clock
from pki_core.model.pools import StatusSource
from pki_core.services.ccp_cleanup import CcpCleanup
from pki_core.services.cps_roots import CpsRoots
from pki_core.services.expire import Expiry
from pki_core.services.pool_chains import ChainChecks
from pki_core.services.pool_check import PoolCheck
from pki_core.services.pool_contracts import ContractPool
from pki_core.services.pool_provisioning import ProvisioningPool
from pki_core.services.pool_removal import PoolRemoval
from pki_core.services.pool_roots import RootPool
from pki_core.services.registrations import Registrations
from pki_core.services.reminders import Reminders
from pki_core.services.revoke import Revocations
from pki_core.services.shown_contracts import ShownContracts
from pki_core.store.unit_of_work import Store


class Pools:
    """Every service of the pools."""

    def __init__(
        self, store: Store, clock: Clock, revocations: Revocations, environment: str, status: Callable[[], StatusSource]
    ) -> None:
        self._store = store
        self._clock = clock
        self._revocations = revocations
        self._environment = environment
        self._status = status

    @cached_property
    def status_source(self) -> StatusSource:
        """Who tells the status of other CAs' certificates."""
        return self._status()

    @cached_property
    def checks(self) -> ChainChecks:
        """What a certificate must pass before it enters a pool."""
        return ChainChecks(self._store, self._clock, self.status_source)

    @cached_property
    def removal(self) -> PoolRemoval:
        """How rows leave the pools."""
        return PoolRemoval(self._clock, self._revocations)

    @cached_property
    def provisioning(self) -> ProvisioningPool:
        """The PCP."""
        return ProvisioningPool(self._store, self._clock, self.checks, self.removal)

    @cached_property
    def contracts(self) -> ContractPool:
        """The CCP."""
        return ContractPool(self._store, self._clock, self.checks, self.removal, self.shown_contracts)

    @cached_property
    def cps_roots(self) -> CpsRoots:
        """The V2G roots above signatures of contract data."""
        return CpsRoots(self._store, self._clock)

    @cached_property
    def shown_contracts(self) -> ShownContracts:
        """Which contracts of the CCP are shown."""
        return ShownContracts(self._store, self.checks, self.cps_roots)

    @cached_property
    def roots(self) -> RootPool:
        """The RCP."""
        return RootPool(self._store, self._clock, self.removal, self._environment)

    @cached_property
    def expiry(self) -> Expiry:
        """What ends leaves the pools."""
        return Expiry(self._store, self._clock, self.removal)

    @cached_property
    def ccp_cleanup(self) -> CcpCleanup:
        """Contracts without a vehicle leave."""
        return CcpCleanup(self._store, self._clock, self.removal, self.cps_roots)

    @cached_property
    def check(self) -> PoolCheck:
        """What is revoked leaves the pools."""
        return PoolCheck(self._store, self._clock, self.removal, self.status_source)

    @cached_property
    def reminders(self) -> Reminders:
        """What ends soon is told."""
        return Reminders(self._store, self._clock)

    @cached_property
    def registrations(self) -> Registrations:
        """Charging stations announced before they enrol."""
        return Registrations(self._store, self._clock)
