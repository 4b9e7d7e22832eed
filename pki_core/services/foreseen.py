"""What a dry run of a sweep counts: the same rows as the run that follows, each once, with all that hangs on it."""

from collections.abc import Sequence

from pki_core.model.clock import Clock
from pki_core.model.pools import PoolReport, ProvisioningKey, RemovedContract
from pki_core.store.unit_of_work import UnitOfWork


class Foreseen:
    """Rows that would be gone by now."""

    def __init__(self, clock: Clock, report: PoolReport) -> None:
        self._clock = clock
        self.report = report
        self._keys: set[ProvisioningKey] = set()
        self._emaids: set[str] = set()
        self._certificates: set[int] = set()

    def has_key(self, key: ProvisioningKey) -> bool:
        """Tell whether a provisioning certificate would be gone."""
        return key in self._keys

    def has_emaid(self, emaid: str) -> bool:
        """Tell whether a contract would be gone."""
        return emaid in self._emaids

    def provisioning(self, work: UnitOfWork, keys: Sequence[ProvisioningKey]) -> None:
        """Count provisioning certificates and the contracts that would go with them."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._keys]
        self._keys.update(fresh)
        self.report.provisioning += len(fresh)
        if fresh:
            self.contracts(work, work.contract_pool.of_keys(fresh))
            self._certificates_go(work, work.former_contracts.of_keys(fresh))

    def contracts(self, work: UnitOfWork, contracts: Sequence[RemovedContract]) -> None:
        """Count contracts, and those of their certificates that would be revoked."""
        fresh = {one.emaid: one for one in contracts if one.emaid not in self._emaids}
        self._emaids.update(fresh)
        self.report.contracts += len(fresh)
        ours = [one.certificate_id for one in fresh.values() if one.certificate_id is not None]
        self._certificates_go(work, [*ours, *work.former_contracts.of(list(fresh))])

    def _certificates_go(self, work: UnitOfWork, certificate_ids: Sequence[int]) -> None:
        fresh = set(certificate_ids) - self._certificates
        self._certificates |= fresh
        self.report.revoked += work.revocations.count_in_force(sorted(fresh), self._clock.now())
