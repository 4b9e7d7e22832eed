"""CCP cleanup: contracts whose vehicle has no live provisioning certificate, or one with another key, are removed.

A set difference, not an event: whatever was missed in one run is found in the next.
"""

from pki_core.model.clock import Clock
from pki_core.model.pools import PoolReport, Removal
from pki_core.services.cps_roots import CpsRoots
from pki_core.services.expire import count, note_run
from pki_core.services.foreseen import Foreseen
from pki_core.services.pool_removal import PoolRemoval
from pki_core.store.unit_of_work import Store

ACTOR = "clean-ccp"
_WINDOW = 5000


class CcpCleanup:
    """Cleans the CCP window by window; each window's orphans go in one transaction."""

    def __init__(self, store: Store, clock: Clock, removal: PoolRemoval, roots: CpsRoots) -> None:
        self._store = store
        self._clock = clock
        self._removal = removal
        self._roots = roots

    def run(self, *, dry_run: bool = False, window: int = _WINDOW) -> PoolReport:
        """Remove orphans; warn of contracts whose CPS root is gone, which nobody is shown.

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
        report.warnings = self._warnings()
        if not dry_run:
            note_run(self._store, self._clock, "clean_ccp")
        return report

    def _warnings(self) -> list[str]:
        """Name roots that left the RCP and took nothing with them: what becomes of contracts is for people to say."""
        standing = self._roots.standing()
        with self._store.reading() as work:
            counts = work.contract_pool.count_without_root(standing)
        return [f"{count} contracts are not shown: the V2G root {root} of their CPS is gone" for root, count in counts]
