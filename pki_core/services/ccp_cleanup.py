"""CCP cleanup: contracts whose vehicle has no live provisioning certificate, or one with another key, are removed.

A set difference, not an event: whatever was missed in one run is found in the next.
"""

from pki_core.model.clock import Clock
from pki_core.model.pools import PoolReport, Removal
from pki_core.services.expire import count, note_run
from pki_core.services.foreseen import Foreseen
from pki_core.services.pool_removal import PoolRemoval
from pki_core.store.unit_of_work import Store

ACTOR = "clean-ccp"
_WINDOW = 5000


class CcpCleanup:
    """Cleans the CCP window by window; each window's orphans go in one transaction."""

    def __init__(self, store: Store, clock: Clock, removal: PoolRemoval) -> None:
        self._store = store
        self._clock = clock
        self._removal = removal

    def run(self, *, dry_run: bool = False, window: int = _WINDOW) -> PoolReport:
        """Remove orphans.

        Raises:
            UnavailableError: the store is away; finished windows stay finished.
        """
        report = PoolReport(dry_run=dry_run)
        foreseen = Foreseen(self._clock, report)
        after = ""
        while True:
            now = self._clock.now()
            with self._store.reading() as work:
                found, last = work.contract_pool.orphans(after, now, window)
                if dry_run:
                    foreseen.contracts(work, found)
            if found and not dry_run:
                with self._store.transaction() as work:
                    locked = {one.emaid for one in work.contract_pool.lock([one.emaid for one in found])}
                    again = work.contract_pool.orphans(after, now, window)[0]  # a vehicle may have come back
                    still = [one for one in again if one.emaid in locked]
                    count(report, self._removal.contracts(work, still, Removal.ORPHANED, ACTOR))
            if not last:
                break
            after = last
        if not dry_run:
            note_run(self._store, self._clock, "clean_ccp")
        return report
