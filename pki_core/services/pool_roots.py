"""The RCP: roots that people vouch for (OPCP, root certificate pool; VDE-AR-E 2802-100-1).

Only the operator changes it, outside dev two people do; what hangs on a root stays when it goes.
"""

import hashlib
import uuid
from collections.abc import Sequence

from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, MalformedError, NotFoundError
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.pools import (
    REMOVAL_WAITS,
    ROOT_NOT_FOUND,
    ROOT_YEARS_LEFT,
    Event,
    EventType,
    PoolRoot,
    Removal,
    RootKind,
)
from pki_core.services.pool_events import STREAM
from pki_core.services.pool_removal import PoolRemoval
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.pool_certificate import PoolCertificate, read_certificate

MAX_EVIDENCE = 2000  # characters
_LEAP_DAY = 29


class RootPool:
    """Root certificates of all the ecosystem."""

    def __init__(self, store: Store, clock: Clock, removal: PoolRemoval, environment: str) -> None:
        self._store = store
        self._clock = clock
        self._removal = removal
        self._needs_two = environment != "dev"

    def add(self, certificate_der: bytes, kind: RootKind, *, by: str, evidence: str) -> PoolRoot:
        """Add a root; outside dev it waits until another person has confirmed it.

        Args:
            certificate_der: the self-signed certificate.
            kind: what it stands above; the same certificate may be added once a kind.
            by: who adds it.
            evidence: how its fingerprint was checked through a second channel.

        Raises:
            MalformedError: not a self-signed CA certificate, or no name or evidence.
            ConflictError: it has less than 35 years left, or is in the pool as this kind.
        """
        who, evidence = _name(by), evidence.strip()
        if not evidence or len(evidence) > MAX_EVIDENCE:
            raise MalformedError(f"say in at most {MAX_EVIDENCE} characters how the fingerprint was checked")
        certificate = read_certificate(certificate_der)
        self._check(certificate)
        root = PoolRoot(
            id=str(uuid.uuid4()),
            kind=kind,
            certificate_der=certificate_der,
            sha256=hashlib.sha256(certificate_der).hexdigest(),
            valid_from=certificate.not_before,
            valid_to=certificate.not_after,
            added_by=who,
            confirmed_by="",
            evidence=evidence,
            is_active=not self._needs_two,
        )
        self._store.with_second_look(lambda work: self._add(work, root))
        return root

    def confirm(self, root_id: str, *, by: str) -> None:
        """Put a waiting root into force, as a second person who has checked the fingerprint too.

        Raises:
            NotFoundError: there is no such root.
            ConflictError: it is in force already, or the same person added it.
        """
        who, now = _name(by), self._clock.now()
        with self._store.transaction() as work:
            root = _get(work, root_id)
            if who.casefold() == root.added_by.casefold():
                raise ConflictError("whoever adds a root cannot confirm it")
            if not work.root_pool.confirm(root_id, who):
                raise ConflictError("this root is in force already")
            self._note(work, root, "pool.rcp_confirmed", who)
            work.outbox.append(now, [Event(EventType.ROOT_ADDED, "", root_id=root.id)])

    def all(self, kind: RootKind | None = None) -> list[PoolRoot]:
        """Return the roots in force; everybody may read them."""
        now = self._clock.now()
        with self._store.reading() as work:
            roots = work.root_pool.active(*([kind] if kind else RootKind))
        return [root for root in roots if root.valid_to > now]

    def waiting(self) -> list[PoolRoot]:
        """Return the roots that wait for a second person: to come into force, or to go."""
        with self._store.reading() as work:
            return [root for root in work.root_pool.all() if not root.is_active or root.removal_asked_by]

    def get(self, root_id: str) -> PoolRoot:
        """Return a root in force; NotFoundError when there is none."""
        with self._store.reading() as work:
            root = _get(work, root_id)
        if not root.is_active or root.valid_to <= self._clock.now():
            raise NotFoundError(ROOT_NOT_FOUND)
        return root

    def remove(self, root_id: str, *, by: Sequence[str]) -> None:
        """Take a root out of force, or give up one that waits; leafs and contracts below it stay.

        Raises:
            NotFoundError: there is no such root.
            ConflictError: outside dev, fewer than two different people.
        """
        people = [_name(one) for one in by]
        if not people or (self._needs_two and len({one.casefold() for one in people}) < 2):  # noqa: PLR2004  # two
            raise ConflictError("two different people remove a root")
        with self._store.transaction() as work:
            root = _get(work, root_id)
            self._removal.root(work, root, Removal.REVOKED, ", ".join(people)[:NAME_LIMIT])

    def ask_removal(self, root_id: str, *, by: str) -> bool:
        """Take a root out of force, each person for himself; returns whether it is gone.

        Outside dev the first one asks for it, and it is gone when another one does within a week.

        Raises:
            NotFoundError: there is no such root.
        """
        who, now = _name(by), self._clock.now()
        with self._store.transaction() as work:
            root = _get(work, root_id)
            if self._needs_two and work.root_pool.ask_removal(root_id, who, now, now - REMOVAL_WAITS):
                self._note(work, root, "pool.rcp_removal_asked", who)
                return False
            first = _get(work, root_id).removal_asked_by  # as it is now that the row is ours
            people = f"{first}, {who}"[:NAME_LIMIT] if first else who
            if not self._removal.root(work, root, Removal.REVOKED, people):
                raise NotFoundError(ROOT_NOT_FOUND)  # somebody was quicker
        return True

    def _add(self, work: UnitOfWork, root: PoolRoot) -> None:
        if any((one.sha256, one.kind) == (root.sha256, root.kind) for one in work.root_pool.all()):
            raise ConflictError(f"this root is in the pool as {root.kind} already")
        now = self._clock.now()
        work.root_pool.add(root, now)
        self._note(work, root, "pool.rcp_added", root.added_by)
        if root.is_active:
            work.outbox.append(now, [Event(EventType.ROOT_ADDED, "", root_id=root.id)])

    def _check(self, certificate: PoolCertificate) -> None:
        if not certificate.is_self_issued or not certificate.is_signed_by(certificate):
            raise MalformedError("this certificate is not signed by itself")
        if not certificate.may_sign_certificates:
            raise MalformedError("this certificate is not that of a CA")
        now = self._clock.now()
        if certificate.not_before > now:
            raise ConflictError("this root is not valid yet")
        day = now.day - (now.month == 2 and now.day == _LEAP_DAY)  # noqa: PLR2004  # February
        if certificate.not_after < now.replace(year=now.year + ROOT_YEARS_LEFT, day=day):
            raise ConflictError(f"a new root must be valid for {ROOT_YEARS_LEFT} years from now")

    def _note(self, work: UnitOfWork, root: PoolRoot, action: str, who: str) -> None:
        detail = f"{root.kind} {root.id} evidence: {root.evidence}"
        entry = AuditEntry(who, action, certificate_sha256=bytes.fromhex(root.sha256), detail=detail)
        work.audit.append(STREAM, self._clock.now(), [entry])


def _get(work: UnitOfWork, root_id: str) -> PoolRoot:
    root = work.root_pool.get(root_id)
    if root is None:
        raise NotFoundError(ROOT_NOT_FOUND)
    return root


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise MalformedError(f"say who you are, in at most {NAME_LIMIT} printable characters")
    return name
