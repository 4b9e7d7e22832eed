"""Expiry: what has ended leaves the pools, page by page, with all that hangs on it; a root takes nothing with it."""

from collections.abc import Callable
from datetime import UTC, datetime

from pki_core.model.clock import Clock
from pki_core.model.pools import PoolReport, PoolRoot, Removal
from pki_core.services.foreseen import Foreseen
from pki_core.services.pool_removal import PoolRemoval, Removed
from pki_core.store.unit_of_work import Store

ACTOR = "sweep-expired"
_PAGE = 2000
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Expiry:
    """Sweeps the pools. Each page is one transaction, so a sweep may die anywhere and be run again."""

    def __init__(self, store: Store, clock: Clock, removal: PoolRemoval) -> None:
        self._store = store
        self._clock = clock
        self._removal = removal

    def sweep(self, *, dry_run: bool = False, page: int = _PAGE) -> PoolReport:
        """Remove what has ended from PCP, CCP and RCP; warn of roots that need a successor.

        Raises:
            UnavailableError: the store is away; finished pages stay finished.
        """
        report = PoolReport(dry_run=dry_run)
        roots = self._roots()
        report.warnings = [_warning(root) for root in roots if self._asks_for_successor(root)]
        ended = [root for root in roots if root.valid_to <= self._clock.now()]
        if dry_run:
            self._foresee(report, page)
            report.roots = len(ended)
            return report
        with self._store.transaction() as work:
            work.former_contracts.forget_ended(self._clock.now())
        for step in (self._provisioning_page, self._contract_page):
            _walk(step, page, report)
        for root in ended:
            with self._store.transaction() as work:
                report.roots += self._removal.root(work, root, Removal.EXPIRED, ACTOR)
        note_run(self._store, self._clock, "sweep_expired")
        return report

    def _foresee(self, report: PoolReport, page: int) -> None:
        foreseen, until = Foreseen(self._clock, report), self._clock.now()
        reached = _LONG_AGO
        while reached < until:
            with self._store.reading() as work:
                keys, reached = work.provisioning_pool.ending(reached, until, page)
                foreseen.provisioning(work, keys)
        reached = _LONG_AGO
        while reached < until:
            with self._store.reading() as work:
                contracts, reached = work.contract_pool.ending(reached, until, page)
                foreseen.contracts(work, contracts)

    def _provisioning_page(self, limit: int) -> Removed | None:
        now = self._clock.now()
        with self._store.reading() as work:
            keys = work.provisioning_pool.expired(now, limit)
        if not keys:
            return None
        with self._store.transaction() as work:
            locked = work.provisioning_pool.lock(keys, ended=now)  # without those renewed at this moment
            return self._removal.provisioning(work, locked, Removal.EXPIRED, ACTOR)

    def _contract_page(self, limit: int) -> Removed | None:
        now = self._clock.now()
        with self._store.reading() as work:
            found = work.contract_pool.expired(now, limit)
        if not found:
            return None
        with self._store.transaction() as work:
            locked = work.contract_pool.lock([one.emaid for one in found], ended=now)
            return self._removal.contracts(work, locked, Removal.EXPIRED, ACTOR)

    def _roots(self) -> list[PoolRoot]:
        with self._store.reading() as work:
            return work.root_pool.all()

    def _asks_for_successor(self, root: PoolRoot) -> bool:
        now = self._clock.now()
        return root.is_active and root.valid_to > now and root.warns(now)


def _walk(step: Callable[[int], Removed | None], page: int, report: PoolReport) -> None:
    while (gone := step(page)) is not None:
        count(report, gone)


def note_run(store: Store, clock: Clock, name: str) -> None:
    """Note that a sweep came to its end; services/ages.py looks how long ago that is."""
    with store.transaction() as work:
        work.marks.advance(name, clock.now())


def count(report: PoolReport, gone: Removed) -> None:
    """Add a page to a report."""
    report.provisioning += gone.provisioning
    report.contracts += gone.contracts
    report.revoked += gone.revoked


def _warning(root: PoolRoot) -> str:
    return f"{root.kind} root {root.id} ends on {root.valid_to:%Y-%m-%d}: it needs a successor"
