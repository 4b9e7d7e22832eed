"""Enrolment: the one path from requests to certificates. Bulk calls it with a thousand, EST with a list of one.

The order of acts, and what a power cut leaves behind each:

1. *judge*    names, keys, proofs: nothing stored.
2. *prepare*  serials drawn, to-be-signed bytes built and linted: nothing stored.
3. *reserve*  serials and bytes committed under a lease: a reservation to void.
4. *sign*     exactly those bytes, outside any transaction, the lease renewed meanwhile: signatures nobody saw.
5. *record*   certificate, status, audit and the caller's rows in one transaction: all or nothing.

Reserve and record both ask whether the CA stands and no key is compromised. What was reported in between voids the
list, which starts over once at 2; the reservation then refuses whom it concerns, and lets the others through.

A reservation that was not recorded is voided, its serials burned, and new ones drawn: no bytes are signed twice.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from pki_core.issuance.issuer import Draft, Issuer, Prepared
from pki_core.issuance.subject import Subject, build_subject
from pki_core.model.certificates import serial_text
from pki_core.model.clock import Clock
from pki_core.model.errors import (
    CsrRejectedError,
    OvertakenError,
    PartnerSuspendedError,
    PkiError,
    StoreUnavailableError,
)
from pki_core.model.partners import Partner
from pki_core.model.profiles import Profile
from pki_core.model.requests import Issued, IssueRequest, Outcome, Refused
from pki_core.services.issuers import fallen
from pki_core.services.leases import NOT_RESERVED, Lease
from pki_core.services.names import JudgedName, NamePolicy, judge_alternative_names, judge_name
from pki_core.services.orders import Order
from pki_core.services.pool_issued import PCP, IssuedToPool, PoolEntry
from pki_core.services.pool_removal import PoolRemoval
from pki_core.store.issuances import Issuance, Signed
from pki_core.store.reservations import POSITIONS
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.csr import verify_proof
from pki_core.wire.public_key import PublicKey, key_name, load_public_key, refuse_weak_key

_COMPROMISED = "A certificate with this key was revoked because the key was compromised; make a new key."
MAX_REQUESTS = 2000  # one reservation; larger lists are the caller's to cut


class IssueHooks(Protocol):
    """What a caller writes in the same transactions; all of it again where a list starts over."""

    def reserved(self, work: UnitOfWork, reservation: int) -> None:
        """Write beside the reservation."""
        ...

    def renewed(self, work: UnitOfWork, times: tuple[datetime, datetime]) -> None:
        """Hold on what the caller holds beside the reservation; ``times`` is (now, the new end of its lease)."""
        ...

    def signed(self, outcomes: Sequence[Outcome], keep: Callable[[], None]) -> None:
        """Do what needs the certificates before they are recorded; no transaction is open.

        What may take longer than a second calls ``keep`` in between: it renews the lease, or says that it is lost.
        """
        ...

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Write beside the certificates; called once for every call that does not raise."""
        ...


class NoHooks:
    """A caller that writes nothing of its own."""

    def reserved(self, work: UnitOfWork, reservation: int) -> None:
        """Write nothing."""

    def renewed(self, work: UnitOfWork, times: tuple[datetime, datetime]) -> None:
        """Hold nothing."""

    def signed(self, outcomes: Sequence[Outcome], keep: Callable[[], None]) -> None:
        """Do nothing."""

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Write nothing."""


class _Pooled:
    """A caller's hooks, and beside what they write the rows of the PCP."""

    def __init__(self, inner: IssueHooks, entry: PoolEntry, removal: PoolRemoval, actor: str) -> None:
        self._inner, self._entry, self._removal, self._actor = inner, entry, removal, actor

    def reserved(self, work: UnitOfWork, reservation: int) -> None:
        """Write beside the reservation."""
        self._inner.reserved(work, reservation)

    def renewed(self, work: UnitOfWork, times: tuple[datetime, datetime]) -> None:
        """Hold on what the caller holds."""
        self._inner.renewed(work, times)

    def signed(self, outcomes: Sequence[Outcome], keep: Callable[[], None]) -> None:
        """Do what the caller does."""
        self._inner.signed(outcomes, keep)

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Write beside the certificates."""
        self._inner.recorded(work, outcomes)
        self._entry.write(work, outcomes, self._removal, self._actor)


class Enrollment:
    """Issues certificates."""

    def __init__(self, store: Store, clock: Clock, names: NamePolicy, lease_seconds: int, removal: PoolRemoval) -> None:
        self._store = store
        self._clock = clock
        self._names = names
        self._lease = timedelta(seconds=lease_seconds)
        self._pool = IssuedToPool(store, clock)
        self._removal = removal

    def issue(
        self, issuer: Issuer, order: Order, requests: Sequence[IssueRequest], hooks: IssueHooks | None = None
    ) -> list[Outcome]:
        """Issue or refuse, each request by itself; outcomes in the order of the requests.

        Raises:
            IssuerRevokedError: this CA, or one above it, is revoked or on hold; nothing was issued.
            PartnerSuspendedError: nothing is issued for this partner now.
            UnavailableError: nothing was issued; the same call may be made again.
            InvariantError: our own fault; nothing was issued.
        """
        if order.partner is not None and order.partner.is_suspended:
            raise PartnerSuspendedError(f"partner {order.partner.id} is suspended: what is meant for him waits")
        refused: dict[int, Outcome] = {}
        drafts = self._judge(order, requests, refused)
        hooks = hooks or NoHooks()
        try:
            return self._issue(issuer, order, requests, (drafts, dict(refused)), hooks)
        except OvertakenError:
            return self._issue(issuer, order, requests, (drafts, refused), hooks)

    def _issue(
        self,
        issuer: Issuer,
        order: Order,
        requests: Sequence[IssueRequest],
        judged: tuple[Sequence[tuple[int, Draft, JudgedName]], dict[int, Outcome]],
        hooks: IssueHooks,
    ) -> list[Outcome]:
        drafts, outcomes = judged
        prepared = self._prepare(issuer, order, drafts, outcomes)
        lease, plain = None, hooks
        if prepared and order.profile.pool == PCP:
            entry = self._pool.entry(issuer.record, order.profile, requests)
            hooks = _Pooled(hooks, entry, self._removal, order.actor)
        while prepared and lease is None:
            lease, prepared = self._reserve(issuer, order, prepared, outcomes, hooks)
        if lease is None:
            refused = [outcomes[position] for position in range(len(requests))]
            with self._store.transaction() as work:
                plain.recorded(work, refused)
            return refused
        ready = [one for _, one, _ in prepared]
        reservation = lease.reservation
        try:
            certificates = issuer.sign(ready, lease.keep)
            for index, ((position, one, name), certificate_der) in enumerate(zip(prepared, certificates, strict=True)):
                outcomes[position] = Issued(
                    reference=one.reference,
                    certificate_id=reservation * POSITIONS + index,
                    serial=one.serial,
                    common_name=one.common_name,
                    certificate_der=certificate_der,
                    not_before=one.not_before,
                    not_after=one.not_after,
                    warnings=name.warnings,
                )
            ordered = [outcomes[position] for position in range(len(requests))]
            hooks.signed(ordered, lease.keep)
            self._record(issuer, order, reservation, (ready, certificates), (ordered, hooks))
        except PkiError:
            self._give_up(reservation)
            raise
        return ordered

    def _judge(
        self, order: Order, requests: Sequence[IssueRequest], outcomes: dict[int, Outcome]
    ) -> list[tuple[int, Draft, JudgedName]]:
        """Stage by stage, not row by row: one library at a time in the cache is 1.3 times cheaper."""
        drafts: list[tuple[int, Draft, JudgedName]] = []
        for position, request in enumerate(requests):
            try:
                name, subject, names = judge_request(request, order.profile, order.partner, self._names)
            except CsrRejectedError as error:
                outcomes[position] = _refused(request, error)
                continue
            draft = Draft(
                reference=request.reference,
                subject=subject,
                spki_der=request.spki_der,
                not_after=request.not_after,
                alternative_names=names,
            )
            drafts.append((position, draft, name))
        proven: list[tuple[int, Draft, JudgedName]] = []
        for position, draft, name in drafts:
            request = requests[position]
            try:
                prove_possession(request, order.profile)
            except CsrRejectedError as error:
                outcomes[position] = _refused(request, error)
                continue
            proven.append((position, draft, name))
        return proven

    def _prepare(
        self,
        issuer: Issuer,
        order: Order,
        drafts: Sequence[tuple[int, Draft, JudgedName]],
        outcomes: dict[int, Outcome],
    ) -> list[tuple[int, Prepared, JudgedName]]:
        ready = []
        made = issuer.prepare(order.profile, order.profile_hash, [draft for _, draft, _ in drafts], self._clock.now())
        for (position, draft, name), one in zip(drafts, made, strict=True):
            if isinstance(one, Prepared):
                ready.append((position, one, name))
            else:
                outcomes[position] = Refused(
                    reference=draft.reference, code=one.code, message=one.message, common_name=name.common_name
                )
        return ready

    def keeping(self, order: Order, hooks: IssueHooks) -> Callable[[], None]:
        """Return what holds a caller's own lease while he asks others, before anything is reserved.

        To be called more often than a third of a lease; errors as of ``Lease.keep``.
        """
        return Lease(self._store, self._clock, self._lease, self._clock.now(), (NOT_RESERVED, order.runner, hooks)).keep

    def _reserve(
        self,
        issuer: Issuer,
        order: Order,
        prepared: list[tuple[int, Prepared, JudgedName]],
        outcomes: dict[int, Outcome],
        hooks: IssueHooks,
    ) -> tuple[Lease | None, list[tuple[int, Prepared, JudgedName]]]:
        """Return the lease and what it holds; no lease, and those that are left, when a key was compromised.

        That is asked in the statement that reserves: only a list that holds such a key costs another look.
        """
        now = self._clock.now()
        intents = [(serial_text(one.serial), one.tbs_der, one.not_after) for _, one, _ in prepared]
        keys = [key_name(one.spki_der) for _, one, _ in prepared]
        with self._store.transaction() as work:
            number = work.issuances.reserve(_issuance(issuer, order), intents, (now, now + self._lease), keys)
            if number is None and (known := work.compromised_keys.among(keys)):
                return None, _sound(prepared, [key in known for key in keys], outcomes)
            if number is None:
                raise fallen(issuer.record.label)
            hooks.reserved(work, number)
        return Lease(self._store, self._clock, self._lease, now, (number, order.runner, hooks)), prepared

    def _record(
        self,
        issuer: Issuer,
        order: Order,
        reservation: int,
        signed: tuple[Sequence[Prepared], Sequence[bytes]],
        caller: tuple[Sequence[Outcome], IssueHooks],
    ) -> None:
        now = self._clock.now()
        rows = [
            Signed(
                serial_text(one.serial),
                one.common_name,
                one.not_before,
                one.not_after,
                certificate_der,
                hashlib.sha256(certificate_der).digest(),
                key_name(one.spki_der),
            )
            for one, certificate_der in zip(*signed, strict=True)
        ]
        with self._store.transaction() as work:
            caller[1].recorded(work, caller[0])  # the caller's rows first: whoever takes over locks them in this order
            work.issuances.record(reservation, _issuance(issuer, order), rows, now)

    def _give_up(self, reservation: int) -> None:
        """Void what was reserved. When the store is away too, the lease and ``sweep_stuck`` do it later."""
        try:
            with self._store.transaction() as work:
                work.reservations.void(reservation)
        except StoreUnavailableError:
            return


def _issuance(issuer: Issuer, order: Order) -> Issuance:
    partner_id = order.partner.id if order.partner else None
    return Issuance(issuer.record.id, order.profile_id, partner_id, order.actor, order.runner)


def judge_request(
    request: IssueRequest, profile: Profile, partner: Partner | None, policy: NamePolicy
) -> tuple[JudgedName, Subject, tuple[str, ...]]:
    """Return the name, the subject and the alternative names a certificate will carry; its key is not looked at.

    Raises:
        CsrRejectedError: one of them may not be certified.
    """
    name = judge_name(request, profile, partner, policy)
    subject = build_subject(profile.subject, request.subject, name.common_name)
    return name, subject, judge_alternative_names(request, profile)


def prove_possession(request: IssueRequest, profile: Profile) -> PublicKey:
    """Check a request's key and its proof; return the key.

    Raises:
        CsrRejectedError: the key is of another kind than the profile's, weak, off its curve, or not proven.
    """
    algorithm, key = load_public_key(request.spki_der)
    if algorithm not in profile.key_algorithms:
        wanted = " or ".join(profile.key_algorithms)
        raise CsrRejectedError("key.type_not_allowed", f"The key is {algorithm}; this certificate kind needs {wanted}.")
    refuse_weak_key(algorithm, request.spki_der)
    verify_proof(request.proof, algorithm, key)
    return key


def _sound(
    prepared: list[tuple[int, Prepared, JudgedName]], compromised: Sequence[bool], outcomes: dict[int, Outcome]
) -> list[tuple[int, Prepared, JudgedName]]:
    """Return what is left when those with a compromised key are refused."""
    for (position, one, name), is_known in zip(prepared, compromised, strict=True):
        if is_known:
            outcomes[position] = Refused(
                reference=one.reference, code="key.compromised", message=_COMPROMISED, common_name=name.common_name
            )
    return [one for one in prepared if one[0] not in outcomes]


def _refused(request: IssueRequest, error: CsrRejectedError) -> Refused:
    return Refused(
        reference=request.reference, code=error.reason, message=str(error), common_name=request.subject.common_name
    )
