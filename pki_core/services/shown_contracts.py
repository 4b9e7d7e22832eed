"""Which contracts of the CCP are shown now, to whomever: the one rule behind look-ups, pulls and answers to vehicles.

The V2G root above their signature still stands, their vehicle has the key they were encrypted for, and nobody's CA was
silent for longer than a day about them or about the vehicle's provisioning certificate.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pki_core.model.errors import UnavailableError
from pki_core.model.pools import ContractRow, ProvisioningKey, ProvisioningRow
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

    def among(self, contracts: Iterable[_Contract], vehicles: Iterable[ProvisioningRow]) -> Iterator[_Contract]:
        """Yield which of some contracts may be shown, in their order; a CA is asked when its turn comes.

        ``vehicles`` are provisioning certificates that are in force, as far as we can tell ourselves.

        Raises:
            UnavailableError: none may, and of one, or of its vehicle, a foreign CA has not told the status for a day.
        """
        silent, is_any, believed = None, False, _Vehicles(self._checks, vehicles)
        for one in contracts:
            try:
                is_shown = self._roots.stands(one.cps_fingerprint) and believed.may_use(one) and self._is_good(one)
            except UnavailableError as error:
                silent = error
                continue
            if is_shown:
                is_any = True
                yield one
        if silent is not None and not is_any:
            raise silent

    def _is_good(self, one: ContractRow | HeldContract) -> bool:
        if self._checks.is_told(one):
            return True
        with self._store.reading() as work:
            row = work.contract_pool.get(one.emaid)
        return row is not None and self._checks.is_good_today(row)


class _Vehicles:
    """The provisioning certificates of vehicles; a CA is asked about each once, when a contract needs it."""

    def __init__(self, checks: ChainChecks, rows: Iterable[ProvisioningRow]) -> None:
        self._checks = checks
        self._rows = {row.key: row for row in rows}
        self._told: dict[ProvisioningKey, bool | UnavailableError] = {}

    def may_use(self, one: ContractRow | HeldContract) -> bool:
        """Tell whether a contract's vehicle can decrypt it and is good today.

        Raises:
            UnavailableError: its CA does not tell.
        """
        row = self._rows.get(one.key)
        if row is None or row.key_sha256 != one.key_sha256:
            return False
        told = self._told.get(row.key)
        if told is None:
            told = self._told[row.key] = self._ask(row)
        if isinstance(told, UnavailableError):
            raise told
        return told

    def _ask(self, row: ProvisioningRow) -> bool | UnavailableError:
        try:
            return self._checks.is_good_today(row)
        except UnavailableError as error:
            return error
