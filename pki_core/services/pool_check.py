"""Status checks of what stands in the pools: ours from the store, that of others from their CAs, once a day.

OCSP told the truth at once; here the rows follow: revoked certificates leave, with all that hangs on them.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from pki_core.model.clock import Clock
from pki_core.model.errors import UnavailableError
from pki_core.model.pools import (
    STATUS_MAX_AGE,
    Chain,
    ContractRow,
    ForeignStatus,
    PoolReport,
    ProvisioningRow,
    Removal,
    RemovedContract,
    StatusSource,
)
from pki_core.model.states import CertificateState
from pki_core.services.expire import count, note_run
from pki_core.services.foreseen import Foreseen
from pki_core.services.pool_chains import own_certificate
from pki_core.services.pool_removal import PoolRemoval
from pki_core.store.unit_of_work import Store
from pki_core.wire.pool_certificate import read_certificate

ACTOR = "check-pools"
_Row = TypeVar("_Row", ProvisioningRow, ContractRow)
_WINDOW = 5000
_PAGE = 500


class PoolCheck:
    """Takes revoked rows out of the pools."""

    def __init__(self, store: Store, clock: Clock, removal: PoolRemoval, source: StatusSource) -> None:
        self._store = store
        self._clock = clock
        self._removal = removal
        self._source = source

    def run(self, *, dry_run: bool = False, window: int = _WINDOW) -> PoolReport:
        """Check everything that is due.

        Raises:
            UnavailableError: the store is away. A CA that does not answer only postpones its certificates.
        """
        report = PoolReport(dry_run=dry_run)
        run = Foreseen(self._clock, report)
        self._own_provisioning(run, window)
        self._own_contracts(run, window)
        revoked, silent = self._chains(report)
        for chain_id in revoked:
            self._below_chain(run, chain_id, window)
        self._foreign_provisioning(run, set(silent))
        self._foreign_contracts(run, set(silent))
        report.unfinished = report.postponed > 0
        if not dry_run:
            note_run(self._store, self._clock, "check_pools")
        return report

    def _own_provisioning(self, run: Foreseen, window: int) -> None:
        after: int | None = 0
        while after is not None:
            begin = after
            with self._store.reading() as work:
                keys, after = work.provisioning_pool.revoked(begin, window)
                if run.report.dry_run:
                    run.provisioning(work, keys)
            if keys and not run.report.dry_run:
                with self._store.transaction() as work:
                    locked = set(work.provisioning_pool.lock(keys))
                    again = work.provisioning_pool.revoked(begin, window)[0]  # without those replaced at this moment
                    still = [key for key in again if key in locked]
                    count(run.report, self._removal.provisioning(work, still, Removal.REVOKED, ACTOR))

    def _own_contracts(self, run: Foreseen, window: int) -> None:
        after: int | None = 0
        while after is not None:
            begin = after
            with self._store.reading() as work:
                found, after = work.contract_pool.revoked(begin, window)
                if run.report.dry_run:
                    run.contracts(work, found)
            if found and not run.report.dry_run:
                with self._store.transaction() as work:
                    locked = {one.emaid for one in work.contract_pool.lock([one.emaid for one in found])}
                    again = work.contract_pool.revoked(begin, window)[0]
                    still = [one for one in again if one.emaid in locked]
                    count(run.report, self._removal.contracts(work, still, Removal.REVOKED, ACTOR))

    def _chains(self, report: PoolReport) -> tuple[list[int], list[int]]:
        """Return chains with a revoked CA, and those whose CAs do not answer."""
        now = self._clock.now()
        with self._store.reading() as work:
            chains = work.chains.all()
            roots = {root.sha256: root.certificate_der for root in work.root_pool.all()}
        revoked, silent, good = [], [], []
        for chain in chains:
            status = self._status_of_chain(chain, roots.get(chain.root_sha256, b""))
            if status is ForeignStatus.REVOKED:
                revoked.append(chain.id)
            elif status is ForeignStatus.UNKNOWN:
                silent.append(chain.id)
                report.postponed += 1
            elif not chain.is_own and now - chain.checked_at > STATUS_MAX_AGE:
                good.append(chain.id)
        if good and not report.dry_run:
            with self._store.transaction() as work:
                work.chains.checked(good, now)
        return revoked, silent

    def _status_of_chain(self, chain: Chain, root_der: bytes) -> ForeignStatus:
        is_due = self._clock.now() - chain.checked_at > STATUS_MAX_AGE
        path = [*chain.certificates, root_der]
        for certificate_der, issuer_der in pairwise(path):
            with self._store.reading() as work:
                found = own_certificate(work, read_certificate(certificate_der))
            if found is not None:
                status = ForeignStatus.GOOD if found[0] is not CertificateState.REVOKED else ForeignStatus.REVOKED
            elif is_due and issuer_der:
                status = self._ask(certificate_der, issuer_der)
            else:
                status = ForeignStatus.GOOD  # of today; or its root is gone, and every look-up finds that out
            if status is not ForeignStatus.GOOD:
                return status
        return ForeignStatus.GOOD

    def _below_chain(self, run: Foreseen, chain_id: int, limit: int) -> None:
        """Remove everything below a revoked CA."""
        if run.report.dry_run:
            with self._store.reading() as work:
                run.provisioning(work, work.provisioning_pool.all_below(chain_id))
                run.contracts(work, work.contract_pool.all_below(chain_id))
            return
        while True:
            with self._store.transaction() as work:
                keys = work.provisioning_pool.lock(work.provisioning_pool.below(chain_id, limit))
                count(run.report, self._removal.provisioning(work, keys, Removal.REVOKED, ACTOR))
            with self._store.transaction() as work:
                contracts = work.contract_pool.below(chain_id, limit)
                count(run.report, self._removal.contracts(work, contracts, Removal.REVOKED, ACTOR))
            if not keys and not contracts:
                return

    def _foreign_provisioning(self, run: Foreseen, silent: set[int]) -> None:
        due, after = self._clock.now() - STATUS_MAX_AGE, None
        while True:
            with self._store.reading() as work:
                rows = work.provisioning_pool.unchecked(due, after, _PAGE)
            if not rows:
                return
            after = rows[-1].key
            statuses = self._ask_all([row for row in rows if not run.has_key(row.key)], silent, run.report)
            revoked = {row.key: row for row, status in statuses if status is ForeignStatus.REVOKED}
            if run.report.dry_run:
                with self._store.reading() as work:
                    run.provisioning(work, list(revoked))
                continue
            with self._store.transaction() as work:
                good = [row.key for row, status in statuses if status is ForeignStatus.GOOD]
                locked = work.provisioning_pool.lock([row.key for row, _ in statuses])
                work.provisioning_pool.checked(good, self._clock.now())
                now_there = {key: work.provisioning_pool.get(key) for key in locked if key in revoked}
                still = [key for key, row in now_there.items() if row and row.leaf_der == revoked[key].leaf_der]
                count(run.report, self._removal.provisioning(work, still, Removal.REVOKED, ACTOR))

    def _foreign_contracts(self, run: Foreseen, silent: set[int]) -> None:
        due, after = self._clock.now() - STATUS_MAX_AGE, ""
        while True:
            with self._store.reading() as work:
                rows = work.contract_pool.unchecked(due, after, _PAGE)
            if not rows:
                return
            after = rows[-1].emaid
            statuses = self._ask_all([row for row in rows if not run.has_emaid(row.emaid)], silent, run.report)
            revoked = {row.emaid: row for row, status in statuses if status is ForeignStatus.REVOKED}
            if run.report.dry_run:
                gone = [
                    RemovedContract(row.emaid, row.key.pcid, row.certificate_id, row.namespace)
                    for row in revoked.values()
                ]
                with self._store.reading() as work:
                    run.contracts(work, gone)
                continue
            with self._store.transaction() as work:
                good = [row.emaid for row, status in statuses if status is ForeignStatus.GOOD]
                locked = work.contract_pool.lock([row.emaid for row, _ in statuses])
                work.contract_pool.checked(good, self._clock.now())
                now_there = {one.emaid: work.contract_pool.get(one.emaid) for one in locked if one.emaid in revoked}
                same = {emaid for emaid, row in now_there.items() if row and row.leaf_der == revoked[emaid].leaf_der}
                still = [one for one in locked if one.emaid in same]
                count(run.report, self._removal.contracts(work, still, Removal.REVOKED, ACTOR))

    def _ask_all(self, rows: Sequence[_Row], silent: set[int], report: PoolReport) -> list[tuple[_Row, ForeignStatus]]:
        """Ask for each row; a CA that failed once is not asked again in this run."""
        with self._store.reading() as work:
            issuers = {number: work.chains.get(number).certificates[0] for number in {row.chain_id for row in rows}}
        answers = []
        for row in rows:
            status = ForeignStatus.UNKNOWN
            if row.chain_id not in silent:
                status = self._ask(row.leaf_der, issuers[row.chain_id], silent, row.chain_id)
            if status is ForeignStatus.UNKNOWN:
                report.postponed += 1
            answers.append((row, status))
        return answers

    def _ask(
        self, certificate_der: bytes, issuer_der: bytes, silent: set[int] | None = None, chain_id: int = 0
    ) -> ForeignStatus:
        try:
            return self._source.status_of(certificate_der, issuer_der)
        except UnavailableError:
            if silent is not None:
                silent.add(chain_id)
            return ForeignStatus.UNKNOWN
