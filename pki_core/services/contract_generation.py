"""Contracts made on an operator's behalf at his call (OPCP, CPS: generate): profile, issuer, and one answer to it.

The batch of a table takes the same path below: ``contracts.issue``.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.contract_orders import ContractOrder
from pki_core.model.errors import (
    ConflictError,
    ConstraintError,
    CsrRejectedError,
    InvariantError,
    MalformedError,
    NotAuthorizedError,
    NotFoundError,
    PkiError,
    RequestError,
    UnavailableError,
    VehicleChangedError,
)
from pki_core.model.identifiers import Pcid
from pki_core.model.issuers import IssuerRecord
from pki_core.model.partners import Partner
from pki_core.model.pools import Namespace, RootKind
from pki_core.model.profiles import Level, Profile
from pki_core.model.requests import Issued, Outcome, Refused
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.contract_vehicles import STATUS_UNAVAILABLE, distinct, refused
from pki_core.services.contracts import Contracts
from pki_core.services.enroll import MAX_REQUESTS
from pki_core.services.issuers import Issuers, fallen
from pki_core.services.orders import Order
from pki_core.services.runners import running
from pki_core.services.uploads import issuer_in_service
from pki_core.store.unit_of_work import Store, UnitOfWork

PROFILES = {
    KeyAlgorithm.SECP256R1: "contract_leaf",
    KeyAlgorithm.SECP521R1: "contract_leaf_20",
    KeyAlgorithm.ED448: "contract_leaf_20_ed448",
}
TRY_LATER = "contract.try_later"  # nothing is wrong with the order
_NOT_NOW = "This contract was not made: a part of the service is away; order it again."
_OURS = "This contract was not made: the fault is ours and has been noted."
_log = logging.getLogger("pncpki.contracts")


class Roots(NamedTuple):
    """SHA-256 fingerprints of the roots an operator names, "" = whichever there is."""

    cps_sha256: str = ""  # the V2G root above the provisioning service
    mo_sha256: str = ""  # the root above the contract's certificate


ANY_ROOTS = Roots()


class ContractGeneration:
    """Makes contracts at an operator's call."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        issuers: Issuers,
        contracts: Callable[[], Contracts],
        profiles: Mapping[str, Profile],
    ) -> None:
        self._store = store
        self._clock = clock
        self._issuers = issuers
        self._contracts = contracts
        self._profiles = profiles

    def generate(
        self, partner: Partner, orders: Sequence[ContractOrder], namespace: Namespace, roots: Roots = ANY_ROOTS
    ) -> list[Outcome]:
        """Make contracts, each by itself; outcomes in the order of the orders.

        Raises:
            NotAuthorizedError: the partner is no mobility operator.
            ConflictError: nobody signs below that V2G root, or the MO CA is below another MO root.
            NotFoundError: nobody knows that MO root.
            UnavailableError: nothing was made; the same call may be made again.

        None of them hides a contract that was made: what fails for the vehicles of one algorithm, when others have
        theirs, is the outcome of its orders: ``TRY_LATER`` where a part of the service is away.
        """
        if "mo" not in partner.roles:
            raise NotAuthorizedError("contracts are made for mobility operators")
        if not 0 < len(orders) <= MAX_REQUESTS:
            raise MalformedError(f"1 to {MAX_REQUESTS} contracts are made at once")
        algorithms = self._algorithms(orders, namespace)
        kinds = tuple(dict.fromkeys(algorithms))
        if len(kinds) == 1:
            return self._make(partner, kinds[0], orders, roots)
        for algorithm in kinds:  # what can be known before the first is made
            self._check_ready(algorithm, roots)
        return self._of_each(partner, list(zip(orders, algorithms, strict=True)), kinds, roots)

    def _of_each(
        self,
        partner: Partner,
        orders: Sequence[tuple[ContractOrder, KeyAlgorithm]],
        kinds: Sequence[KeyAlgorithm],
        roots: Roots,
    ) -> list[Outcome]:
        """Make the contracts of each algorithm by themselves; errors as ``generate``."""
        named = distinct(partner, orders, self._clock.now())
        outcomes: dict[int, Outcome] = {place: one for place, one in enumerate(named) if isinstance(one, Refused)}
        failures: list[PkiError] = []
        for algorithm in kinds:
            places = [place for place, (_, kind) in enumerate(orders) if kind is algorithm and place not in outcomes]
            if not places:
                continue
            wanted = [orders[place][0] for place in places]
            made: list[Outcome]
            try:
                made = self._make(partner, algorithm, wanted, roots)
            except PkiError as error:
                failures.append(error)
                made = [_not_made(one, error) for one in wanted]
            outcomes.update(zip(places, made, strict=True))
        if failures and not any(isinstance(outcome, Issued) for outcome in outcomes.values()):
            raise failures[0]
        for one in failures:
            _log.error("contracts of %s were not made: %s: %s", partner.id, one.code, one)
        return [outcomes[place] for place in range(len(orders))]

    def _check_ready(self, algorithm: KeyAlgorithm, roots: Roots) -> None:
        """Bind CA and signer of an algorithm; raises as making would."""
        profile = self._profiles[PROFILES[algorithm]]
        with self._store.reading() as work:
            record = issuer_in_service(work, profile)
            _check_mo_root(work, record, roots.mo_sha256)
            if not work.issuers.stands(record.id):
                raise fallen(record.label)
        self._contracts().check_chain(self._issuers.get(record.label))
        self._contracts().check_ready(algorithm, roots.cps_sha256)

    def renew(
        self, partner: Partner, algorithm: KeyAlgorithm, orders: Sequence[ContractOrder], root_sha256: str
    ) -> list[Outcome]:
        """Make contracts anew for the same keys, below the same V2G root unless nobody signs there any more.

        Raises:
            UnavailableError: nothing was made; the same call may be made again.
        """
        is_kept = self._contracts().signs_below(algorithm, root_sha256)
        return self._make(partner, algorithm, orders, Roots(root_sha256 if is_kept else ""))

    def generate_one(
        self, partner: Partner, order: ContractOrder, namespace: Namespace, roots: Roots = ANY_ROOTS
    ) -> Issued:
        """Make one contract; what speaks against it is raised, in the words that clients know."""
        (outcome,) = self.generate(partner, [order], namespace, roots)
        if isinstance(outcome, Refused):
            raise error_of(outcome)
        return outcome

    def _algorithms(self, orders: Sequence[ContractOrder], namespace: Namespace) -> list[KeyAlgorithm]:
        """Return each vehicle's algorithm: -2 has one, of -20 P-521 is taken where a vehicle has both."""
        return [
            self._algorithm_20(order) if (order.namespace or namespace).is_edition_20 else KeyAlgorithm.SECP256R1
            for order in orders
        ]

    def _algorithm_20(self, order: ContractOrder) -> KeyAlgorithm:
        try:
            pcid = Pcid.parse(order.pcid, edition20=True)
        except MalformedError:
            return KeyAlgorithm.SECP521R1  # it is refused with its order
        with self._store.reading() as work:
            found = {row.key.algorithm for row in work.provisioning_pool.of_pcid(pcid.canonical)}
        has_only_ed448 = KeyAlgorithm.ED448 in found and KeyAlgorithm.SECP521R1 not in found
        return KeyAlgorithm.ED448 if has_only_ed448 else KeyAlgorithm.SECP521R1

    def _make(
        self, partner: Partner, algorithm: KeyAlgorithm, orders: Sequence[ContractOrder], roots: Roots
    ) -> list[Outcome]:
        profile = self._profiles[PROFILES[algorithm]]
        with running() as runner:
            with self._store.transaction() as work:
                now = self._clock.now()
                order = Order.pinned(work, profile, now, runner=runner, actor=partner.id, partner=partner)
                record = issuer_in_service(work, profile)
                _check_mo_root(work, record, roots.mo_sha256)
            issuer, making = self._issuers.get(record.label), self._contracts()
            try:
                return making.issue(issuer, order, orders, None, roots.cps_sha256)
            except (ConstraintError, VehicleChangedError):  # somebody was quicker: judged again, it is said who
                return making.issue(issuer, order, orders, None, roots.cps_sha256)


def _check_mo_root(work: UnitOfWork, record: IssuerRecord, wanted: str) -> None:
    """Hold the root that an operator names (OPNC, moRootCertificateFingerprint) to the one above the MO CA."""
    issuers = {one.id: one for one in work.issuers.all()}
    above = record
    while above.parent_id is not None:
        above = issuers[above.parent_id]
    if not wanted or wanted == _sha256(above):
        return
    known = {_sha256(one) for one in issuers.values() if one.level is Level.ROOT}
    if wanted in known | {one.sha256 for one in work.root_pool.active(RootKind.MO, RootKind.V2G)}:
        raise ConflictError("The MO CA does not issue below the given MO root certificate.")
    raise NotFoundError("The MO root certificate with the given fingerprint is not found.")


def _sha256(issuer: IssuerRecord) -> str:
    return hashlib.sha256(issuer.certificate_der).hexdigest()


def _not_made(order: ContractOrder, error: PkiError) -> Refused:
    """Return an error as the outcome of one of its orders: in the words of its family, as the fronts tell it."""
    if isinstance(error, RequestError):
        return refused(order, error.code, str(error))
    if isinstance(error, UnavailableError):
        return refused(order, TRY_LATER, _NOT_NOW)
    return refused(order, PkiError.code, _OURS)


def error_of(refusal: Refused) -> RequestError | UnavailableError:
    """Return a refusal as the error a single call answers with."""
    if refusal.code in {STATUS_UNAVAILABLE, TRY_LATER}:
        return UnavailableError(refusal.message)
    if refusal.code == "identifier.outside_prefixes":
        return NotAuthorizedError(refusal.message)
    if not refusal.code:
        raise InvariantError("a refusal has a code")
    return CsrRejectedError(refusal.code, refusal.message)
