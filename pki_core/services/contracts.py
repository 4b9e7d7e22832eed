"""The MO CA makes contracts for operators without a PKI (OPCP, CPS: generate): one order or a thousand, the same way.

In the acts of ``enroll.issue``, and what a power cut leaves behind each:

1. *judge*    vehicles, EMAIDs, periods and the length of answers: nothing stored.
2. *wrap*     a key pair an order, each key encrypted for its vehicle and forgotten: nothing stored.
3. *reserve, sign*  as for every certificate, then each answer by the provisioning service: a reservation to void.
4. *record*   certificate, contract data, events and audit in one transaction: all or nothing.

A private key that is not wrapped is never stored: what broke off starts over with a new key.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from pki_core.issuance.issuer import Issuer
from pki_core.issuance.lint import Finding
from pki_core.model.clock import Clock, rfc3339
from pki_core.model.contract_orders import ContractOrder
from pki_core.model.contracts import AadForm, CertificateChain, ContractMessage, KeyEnvelope
from pki_core.model.cps import CpsSigner
from pki_core.model.errors import (
    CsrRejectedError,
    IssuerEndedError,
    MalformedError,
    RequestError,
    VehicleChangedError,
)
from pki_core.model.pools import Namespace
from pki_core.model.profiles import Profile
from pki_core.model.requests import Issued, IssueRequest, Outcome, OwnKeyProof, Refused, RequestedSubject
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.budget import leaf_octets
from pki_core.services.contract_form import check_answer_by, named
from pki_core.services.contract_signing import ContractSigning
from pki_core.services.contract_vehicles import PERIOD_INVALID, TOO_LONG, ContractVehicles, Vehicle, refused, unusable
from pki_core.services.enroll import Enrollment, IssueHooks, NoHooks
from pki_core.services.orders import Order
from pki_core.services.pool_events import CREATED, STREAM, UPDATED, told_both
from pki_core.services.pool_issued import OwnChain, OwnChains
from pki_core.store.audit import AuditEntry
from pki_core.store.contract_making import MadeRow
from pki_core.store.times import from_seconds, to_seconds
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import key_identifier_of
from pki_core.wire.contract_data import answer_2, answer_20
from pki_core.wire.contract_key import NewContractKey


class ContractNames(NamedTuple):
    """What the certificates of contracts say besides their EMAID, and how keys are bound to vehicles."""

    organization: str
    country: str
    aad_form: AadForm


class Contracts:
    """Makes contracts for operators."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        enrollment: Enrollment,
        vehicles: ContractVehicles,
        signing: ContractSigning,
        names: ContractNames,
    ) -> None:
        self._store = store
        self._clock = clock
        self._enrollment = enrollment
        self._vehicles = vehicles
        self._signing = signing
        self._names = names
        self._chains = OwnChains(store)

    def issue(
        self,
        issuer: Issuer,
        order: Order,
        wanted: Sequence[ContractOrder],
        hooks: IssueHooks | None = None,
        root_sha256: str = "",
    ) -> list[Outcome]:
        """Make contract data for each order and put it into the CCP; outcomes in the order of the orders.

        ``root_sha256`` names the V2G root of the provisioning service, "" = that of the newest signer.

        Raises:
            ConflictError: nobody signs contract data below that root.
            IssuerEndedError: as of ``check_chain``; nothing was made.
            UnavailableError: nothing was made; the same call may be made again.
            InvariantError: our own fault; nothing was made.
        """
        self.check_chain(issuer)
        algorithm = order.profile.key_algorithms[0]
        signer = self._signing.choose(algorithm, root_sha256)
        hooks = hooks or NoHooks()
        keep = self._enrollment.keeping(order, hooks)
        judged = self._vehicles.judge(order.partner, algorithm, wanted, keep)
        making = _Making(self, (issuer, order, signer), wanted, judged, hooks)
        self._enrollment.issue(issuer, order, making.requests, making)
        return making.outcomes

    def check_ready(self, algorithm: KeyAlgorithm, root_sha256: str = "") -> None:
        """Bind the key that contract data is signed with; errors as of ``issue``."""
        self._signing.check_ready(algorithm, root_sha256)

    def signs_below(self, algorithm: KeyAlgorithm, root_sha256: str) -> bool:
        """Tell whether somebody signs contract data below a V2G root."""
        return self._signing.signs_below(algorithm, root_sha256)

    def check_chain(self, issuer: Issuer) -> None:
        """Refuse to make anything below CAs one of which has ended: no order is to blame for that.

        Raises:
            IssuerEndedError: an operator has to put another CA into service.
        """
        if self.chain_of(issuer).ends <= to_seconds(self._clock.now()):
            label = issuer.record.label
            raise IssuerEndedError(
                f"CA {label}, or one above it, has ended: it signs no contract; another one is put into service by a "
                "ceremony"
            )

    def chain_of(self, issuer: Issuer) -> OwnChain:
        """Return what stands above contract certificates."""
        return self._chains.of(issuer.record)

    def subject_of(self, vehicle: Vehicle) -> RequestedSubject:
        """Return what a contract's certificate says of whom it is for."""
        emaid, names = vehicle.emaid.as_issued, self._names
        return RequestedSubject(common_name=emaid, organization=names.organization, country=names.country)

    def request_of(self, one: ContractOrder, vehicle: Vehicle, spki_der: bytes) -> IssueRequest:
        """Return what a contract's certificate is asked for with."""
        return IssueRequest(
            reference=one.reference,
            subject=self.subject_of(vehicle),
            spki_der=spki_der,
            proof=OwnKeyProof(),
            not_after=_end_of(one),
        )

    def sign(
        self, messages: Sequence[ContractMessage], signer: CpsSigner, before_piece: Callable[[], None]
    ) -> list[bytes]:
        """Return signed contract data as it is stored."""
        return self._signing.signed(messages, signer, before_piece)

    def period_fault(self, issuer: Issuer, profile: Profile, one: ContractOrder) -> Refused | None:
        """Return why an order's contract could never be in force, None when it can.

        Its end is the one that the certificate and its CAs leave it: who begins at it, or behind it, has no contract.
        """
        window = issuer.validity(profile, _end_of(one), self._clock.now())
        if isinstance(window, Finding):
            return refused(one, window.code, window.message)
        not_before, not_after = window
        ends = min(to_seconds(not_after), self.chain_of(issuer).ends)
        if max(to_seconds(one.begins), to_seconds(not_before)) < ends:
            return None
        latest = rfc3339(from_seconds(ends))
        message = f"A contract that is made now ends on {latest} at the latest; this one would begin then, or later."
        return refused(one, PERIOD_INVALID, message)

    @property
    def aad_form(self) -> AadForm:
        """What binds an envelope of ISO 15118-20."""
        return self._names.aad_form

    @property
    def clock(self) -> Clock:
        """What time it is."""
        return self._clock


class _Wrapped(NamedTuple):
    """An order whose contract's key is in its envelope."""

    order: ContractOrder
    vehicle: Vehicle
    spki_der: bytes
    envelope: KeyEnvelope


class _Making(NoHooks):
    """One call: from keys to rows. No private key outlives the making of its envelope."""

    def __init__(
        self,
        contracts: Contracts,
        by: tuple[Issuer, Order, CpsSigner],
        wanted: Sequence[ContractOrder],
        judged: Sequence[Vehicle | Refused],
        hooks: IssueHooks,
    ) -> None:
        self._contracts = contracts
        self._issuer, self._order, self._signer = by
        self._hooks = hooks
        self._algorithm = self._order.profile.key_algorithms[0]
        self._chain = contracts.chain_of(self._issuer)
        self._periods: set[tuple[datetime, datetime]] = set()  # in which a contract can be in force
        self._faults: dict[int, str] = {}  # characters of an EMAID -> what is wrong with such answers, "" = nothing
        self._judged = [
            self._wrapped(one, vehicle) if isinstance(vehicle, Vehicle) else vehicle
            for one, vehicle in zip(wanted, judged, strict=True)
        ]
        self._good = [one for one in self._judged if isinstance(one, _Wrapped)]
        self._data: list[bytes] = []
        self.requests = [contracts.request_of(one.order, one.vehicle, one.spki_der) for one in self._good]
        self.outcomes: list[Outcome] = []

    def reserved(self, work: UnitOfWork, reservation: int) -> None:
        self._hooks.reserved(work, reservation)

    def renewed(self, work: UnitOfWork, times: tuple[datetime, datetime]) -> None:
        self._hooks.renewed(work, times)

    def signed(self, outcomes: Sequence[Outcome], keep: Callable[[], None]) -> None:
        """Sign the answers."""
        messages = [
            self._answer(outcome, one)
            for outcome, one in zip(outcomes, self._good, strict=True)
            if isinstance(outcome, Issued)
        ]
        self._data = self._contracts.sign(messages, self._signer, keep)
        self._hooks.signed(outcomes, keep)

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Write the contracts beside the certificates."""
        made = iter(outcomes)
        self.outcomes = [one if isinstance(one, Refused) else next(made) for one in self._judged]
        self._hooks.recorded(work, self.outcomes)
        issued = [
            (outcome, one.order, one.vehicle)
            for outcome, one in zip(outcomes, self._good, strict=True)
            if isinstance(outcome, Issued)
        ]
        if issued:
            self._write(work, issued)

    def _wrapped(self, one: ContractOrder, vehicle: Vehicle) -> _Wrapped | Refused:
        """Make a contract's key and encrypt it for its vehicle; the key itself goes no further."""
        period = (one.begins, one.ends)  # most tables have a single one
        if period not in self._periods:
            fault = self._contracts.period_fault(self._issuer, self._order.profile, one)
            if fault is not None:
                return fault
            self._periods.add(period)
        if too_long := self._length_fault(vehicle):
            return refused(one, TOO_LONG, too_long)
        key = NewContractKey(self._algorithm)
        try:
            if self._algorithm is KeyAlgorithm.SECP256R1:
                envelope = key.wrapped_2(vehicle.public_key)
            else:
                octets = self._order.profile.extensions.key_identifier_octets
                identifier = key_identifier_of(key.spki_der, octets)
                form = self._contracts.aad_form
                envelope = key.wrapped_20(vehicle.public_key, form, vehicle.key.pcid, identifier)
        except RequestError:
            return unusable(one)
        return _Wrapped(one, vehicle, key.spki_der, envelope)

    def _length_fault(self, vehicle: Vehicle) -> str:
        """Say why no station could carry the answer: of certificates, EMAIDs of one length share theirs."""
        characters = len(vehicle.emaid.as_issued)
        if characters not in self._faults:
            subject = self._contracts.subject_of(vehicle)
            try:
                octets = leaf_octets(self._order.profile, self._issuer.record, subject)
                check_answer_by(self._signer, named(bytes(octets), self._chain.certificates))
            except CsrRejectedError:
                self._faults[characters] = ""  # enrolment says of which name no certificate is made
            except MalformedError as error:
                self._faults[characters] = str(error)
            else:
                self._faults[characters] = ""
        return self._faults[characters]

    def _answer(self, outcome: Issued, one: _Wrapped) -> ContractMessage:
        chain = CertificateChain(certificate_der=outcome.certificate_der, sub_certificates_der=self._chain.certificates)
        if self._algorithm is KeyAlgorithm.SECP256R1:
            return answer_2(self._signer.chain, chain, one.envelope, one.vehicle.emaid.as_issued)
        return answer_20(self._signer.chain, chain, one.envelope)

    def _write(self, work: UnitOfWork, issued: Sequence[tuple[Issued, ContractOrder, Vehicle]]) -> None:
        now = self._contracts.clock.now()
        hashes = work.provisioning_pool.lock_hashes({vehicle.key for _, _, vehicle in issued})
        locked = work.contract_pool.lock([vehicle.emaid.canonical for _, _, vehicle in issued])
        known = {one.emaid: one.pcid for one in locked}
        renewed = {vehicle.emaid.canonical: one.renews for _, one, vehicle in issued if one.renews is not None}
        if work.contract_making.lock_good(renewed) != renewed:
            raise VehicleChangedError("a contract was revoked or replaced while it was renewed")
        with_contracts = work.contract_making.with_contracts({vehicle.key.pcid for _, _, vehicle in issued})
        running = work.contract_making.in_force(set(known), now)
        rows, data = [], []
        for (outcome, one, vehicle), signed_data in zip(issued, self._data, strict=True):
            emaid, pcid = vehicle.emaid.canonical, vehicle.key.pcid
            if hashes.get(vehicle.key) != vehicle.key_sha256 or known.get(emaid, pcid) != pcid:
                raise VehicleChangedError("a vehicle or its contract was changed while its certificate was made")
            # What replaces a contract in force is in force itself: the old data is gone with this transaction.
            begins = outcome.not_before if emaid in running else max(outcome.not_before, one.begins)
            is_first = pcid not in with_contracts
            rows.append(self._row(outcome, (begins, now), vehicle, is_first=is_first))
            data.append((emaid, signed_data, one.renew_days or None, one.meta or None))
            with_contracts.add(pcid)
        work.former_contracts.remember(known)
        work.contract_making.put(rows, data, set(known))
        told = [
            told_both(UPDATED if row.emaid in known else CREATED, row.emaid, row.pcid, Namespace(row.namespace))
            for row in rows
        ]
        work.outbox.append(now, [event for pair in told for event in pair])
        entries = [
            AuditEntry(
                self._order.actor,
                "pool.ccp_published",
                certificate_sha256=hashlib.sha256(outcome.certificate_der).digest(),
                detail=f"{row.emaid} {row.pcid} {'updated' if row.emaid in known else 'added'}",
            )
            for row, (outcome, _, _) in zip(rows, issued, strict=True)
        ]
        work.audit.append(STREAM, now, entries)

    def _row(self, outcome: Issued, times: tuple[datetime, datetime], vehicle: Vehicle, *, is_first: bool) -> MadeRow:
        begins, now = (to_seconds(one) for one in times)
        return MadeRow(
            emaid=vehicle.emaid.canonical,
            emaid_as_issued=vehicle.emaid.as_issued,
            pcid=vehicle.key.pcid,
            algorithm=vehicle.key.algorithm.value,
            key_sha256=vehicle.key_sha256,
            namespace=vehicle.namespace.value,
            is_default=is_first,
            chain_id=self._chain.id,
            certificate_id=outcome.certificate_id,
            valid_from=begins,
            valid_to=min(to_seconds(outcome.not_after), self._chain.ends),
            cps_fingerprint=self._signer.root_sha256,
            signer_id=self._signer.record.id,
            updated_at=now,
            checked_at=now,
        )


def _end_of(one: ContractOrder) -> datetime:
    """Return the end an order asks for; certificates know whole seconds (RFC 5280 4.1.2.5)."""
    return one.ends.replace(microsecond=0)
