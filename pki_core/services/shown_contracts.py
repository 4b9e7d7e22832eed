"""Which contracts of the CCP are shown now, to whomever: the one rule behind look-ups, pulls and answers to vehicles.

The V2G root above their signature still stands, and nobody's CA was silent about them for longer than a day.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pki_core.model.errors import UnavailableError
from pki_core.model.pools import ContractRow
from pki_core.services.cps_roots import CpsRoots
from pki_core.services.pool_chains import ChainChecks
from pki_core.store.contract_making import HeldContract
from pki_core.store.unit_of_work import Store

_Contract = TypeVar("_Contract", ContractRow, HeldContract)


class ShownContracts:
    """Sorts out what is in the CCP and cannot be believed now."""

    def __init__(self, store: Store, checks: ChainChecks, roots: CpsRoots) -> None:
        self._store = store
        self._checks = checks
        self._roots = roots

    def among(self, contracts: Iterable[_Contract]) -> Iterator[_Contract]:
        """Yield which of some contracts may be shown, in their order; a CA is asked when its turn comes.

        Raises:
            UnavailableError: none may, and of one a foreign CA has not told the status for a day.
        """
        silent, is_any = None, False
        for one in contracts:
            try:
                is_shown = self._is_shown(one)
            except UnavailableError as error:
                silent = error
                continue
            if is_shown:
                is_any = True
                yield one
        if silent is not None and not is_any:
            raise silent

    def _is_shown(self, one: ContractRow | HeldContract) -> bool:
        if not self._roots.stands(one.cps_fingerprint):
            return False
        if self._checks.is_told(one):
            return True
        with self._store.reading() as work:
            row = work.contract_pool.get(one.emaid)
        return row is not None and self._checks.is_good_today(row)
