"""Wires contract data: the signers of the provisioning service, the MO CA's contracts, the answers to vehicles."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import Protocol

from pki_core.model.errors import CeremonyError, SettingsError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Profile
from pki_core.runtime.parts import Parts
from pki_core.runtime.pools import Pools
from pki_core.services.budget import SignerSize, check_ocpp_budget
from pki_core.services.contract_generation import ContractGeneration
from pki_core.services.contract_intake import ContractIntake
from pki_core.services.contract_renewals import ContractRenewals
from pki_core.services.contract_resigning import ContractResigning
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.contract_vehicles import ContractVehicles
from pki_core.services.contracts import ContractNames, Contracts
from pki_core.services.cps_signers import CpsSigners, answer_parts, newest_answer_parts
from pki_core.services.enroll import Enrollment
from pki_core.services.installations import Installations
from pki_core.services.issuers import Issuers
from pki_core.services.own_contracts import OwnContracts

_log = logging.getLogger(__name__)


class ContractParts(Parts, Protocol):
    """What contract data needs of the runtime."""

    @property
    def enrollment(self) -> Enrollment:
        """The one path to a certificate."""
        ...

    @property
    def issuers(self) -> Issuers:
        """The CAs with their keys."""
        ...

    @property
    def profiles(self) -> dict[str, Profile]:
        """Every profile, resolved for this environment."""
        ...

    @property
    def pools(self) -> Pools:
        """Roots, provisioning certificates and contracts."""
        ...


class ContractServices:
    """The services of contract data."""

    def __init__(self, parts: ContractParts) -> None:
        self._parts = parts

    @cached_property
    def signers(self) -> CpsSigners:
        """Who signs contract data."""
        return CpsSigners(self._parts.store, lambda: self._parts.key_store, self._parts.clock)

    @cached_property
    def signing(self) -> ContractSigning:
        """Signing it."""
        self.check_budget()
        return ContractSigning(self.signers)

    def check_budget(self) -> None:
        """Hold the certificates of answers against what OCPP carries: profiles may have changed since a ceremony.

        Only what the CA and the signer of the last ceremonies make has to fit. Older ones that stand were measured by
        the rules of their day: the log tells, and ``watch_ages``, and orders are refused one by one.

        Raises:
            SettingsError: it would not fit; the sum is in the text.
        """
        if not (told := self.excess()):
            return
        with self._parts.store.reading() as work:
            issuers, signers = newest_answer_parts(work)
        if newest := self._excess_of(issuers, signers):
            raise SettingsError(newest)
        _log.warning("answers of an older CA or signer are too long, and such orders are refused: %s", told)

    def excess(self) -> str:
        """Say the sum of the largest answer that may be made, where no station could carry it; "" where one could."""
        with self._parts.store.reading() as work:
            issuers, signers = answer_parts(work, self._parts.clock.now())
        return self._excess_of(issuers, signers)

    def _excess_of(self, issuers: Sequence[IssuerRecord], signers: Sequence[SignerSize]) -> str:
        try:
            check_ocpp_budget(self._parts.profiles, issuers, self._parts.settings.certificates.organization, signers)
        except CeremonyError as error:
            return str(error)
        return ""

    @cached_property
    def making(self) -> Contracts:
        """Contracts for operators without a PKI."""
        parts, section = self._parts, self._parts.settings
        vehicles = ContractVehicles(parts.store, parts.clock, parts.pools.checks)
        names = ContractNames(
            section.certificates.organization, section.certificates.country, section.contracts.aad_form
        )
        return Contracts(parts.store, parts.clock, parts.enrollment, vehicles, self.signing, names)

    @cached_property
    def installations(self) -> Installations:
        """Answers to vehicles."""
        parts = self._parts
        return Installations(parts.store, parts.clock, parts.pools.cps_roots, parts.pools.shown_contracts)

    @cached_property
    def generation(self) -> ContractGeneration:
        """Contracts made at a call."""
        parts = self._parts
        return ContractGeneration(parts.store, parts.clock, parts.issuers, lambda: self.making, parts.profiles)

    @cached_property
    def own(self) -> OwnContracts:
        """Contract data of operators with their own PKI."""
        parts, pools = self._parts, self._parts.pools
        return OwnContracts(parts.store, parts.clock, pools.checks, self.signing, pools.contracts)

    @cached_property
    def intake(self) -> ContractIntake:
        """Contract data that other provisioning services signed."""
        return ContractIntake(self._parts.pools.checks, self._parts.pools.contracts)

    @cached_property
    def renewals(self) -> ContractRenewals:
        """Contracts made anew before they end."""
        window = timedelta(days=self._parts.settings.contracts.renewal_window_days)
        return ContractRenewals(self._parts.store, self._parts.clock, self.generation, window)

    @cached_property
    def resigning(self) -> ContractResigning:
        """Contract data signed anew before its signer ends, or after that was revoked."""
        window = timedelta(days=self._parts.settings.contracts.resign_window_days)
        return ContractResigning(self._parts.store, self._parts.clock, self.signers, self.signing, window)
