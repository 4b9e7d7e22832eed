"""CRLs of all issuers (RFC 5280 5): which are due, publishing them, removing what no list needs any more.

Revoking never waits for this: it records, and the next list says it. CRLs belong to keys, not to names: a CA with a new
key is another issuer with lists of its own, and both are published until the old one has expired.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki_core.model.clock import Clock
from pki_core.model.crls import FULL, MARGIN, CrlAge, CrlKind, CrlPolicy, CrlRecord, crl_name
from pki_core.model.errors import ConflictError, KeyRejectedError, PkiError, RequestError, StoreUnavailableError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Profile
from pki_core.model.signer import KeyStore
from pki_core.services.ceremony_rules import check_witnesses
from pki_core.services.crl_scope import Scope, ScopePublisher, Task
from pki_core.store.audit import AuditEntry
from pki_core.store.revocations import Listing
from pki_core.store.unit_of_work import Store
from pki_core.wire.certificate_facts import read_facts

_APPROVABLE = frozenset({"g4", "g5", "g9"})
_PAGE = 5000

_log = logging.getLogger("pncpki.crls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Guards passed over on purpose, and who decided that."""

    guards: frozenset[str] = frozenset()
    witnesses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A CRL that was not published."""

    issuer_label: str
    scope: str
    error: PkiError


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What a run over all issuers did."""

    published: tuple[str, ...]  # file names
    failures: tuple[Failure, ...]


class Crls:
    """Publishes CRLs."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        key_store: Callable[[], KeyStore],
        profiles: Callable[[], Mapping[str, Profile]],
        policy: CrlPolicy,
    ) -> None:
        self._store = store
        self._clock = clock
        self._key_store = key_store
        self._profiles = profiles
        self._policy = policy
        self._publisher = ScopePublisher(store, clock, policy)

    def publish(
        self, issuer_label: str, *, actor: str = "operator", approval: Approval | None = None
    ) -> list[CrlRecord]:
        """Publish every list of an issuer now, whether due or not. This is how a root signs in production.

        Raises:
            NotFoundError, ConflictError: there is no such issuer, or it has no certificate or may not sign CRLs.
            CeremonyError: passing a guard over needs two people.
            CrlGuardError, LintError: a list may not be published; the one before stays.
            UnavailableError: the store or the token is away.
        """
        approval = approval or Approval()
        if unknown := approval.guards - _APPROVABLE:
            raise ConflictError(f"{min(unknown)} cannot be approved; {', '.join(sorted(_APPROVABLE))} can")
        if approval.guards:
            check_witnesses(self._policy.environment, approval.witnesses)
        with self._store.reading() as work:
            record = work.issuers.get(issuer_label)
        if not self._publishes(record):
            raise ConflictError(f"{issuer_label} has no certificate that lets it sign CRLs, or it has expired")
        published: list[CrlRecord] = []
        for scope in self.scopes(record):
            published += self._publish(scope, actor, approval, with_complete=True)
        self._prune(record)
        return published

    def due(self, *, everything: bool = False) -> list[str]:
        """Return the file names that ``publish_due`` would publish now, or with ``everything`` every list."""
        names = []
        for record in self._automatic():
            for scope in self.scopes(record):
                with_complete = True if everything else self._due(scope)
                if with_complete is not None:
                    kind = CrlKind.COMPLETE if with_complete else CrlKind.DELTA
                    names.append(crl_name(record.label, scope.name, kind))
        return names

    def publish_due(self, *, actor: str = "publisher", everything: bool = False) -> PublishReport:
        """Publish what is due, of every issuer that signs without a person; one failure does not stop the others."""
        published: list[str] = []
        failures: list[Failure] = []
        for record in self._automatic():
            for scope in self.scopes(record):
                with_complete = True if everything else self._due(scope)
                if with_complete is None:
                    continue
                try:
                    made = self._publish(scope, actor, Approval(), with_complete=with_complete)
                except ConflictError as error:  # another publisher is at it
                    _log.info("%s", error)
                except PkiError as error:
                    failures.append(Failure(issuer_label=record.label, scope=scope.name, error=error))
                else:
                    published += [crl_name(record.label, one.scope, one.kind) for one in made]
            self._prune(record)
        return PublishReport(published=tuple(published), failures=tuple(failures))

    def _automatic(self) -> list[IssuerRecord]:
        """Return the issuers whose lists are signed without a person."""
        with self._store.reading() as work:
            records = work.issuers.all()
        return [one for one in records if self._publishes(one) and not self._policy.needs_person(one.level)]

    def ages(self) -> list[CrlAge]:
        """Return what is published, for health checks and metrics."""
        with self._store.reading() as work:
            return work.crls.ages()

    def promised(self) -> dict[str, datetime]:
        """Return, for each CA with a revocation that its full list does not know, by when that was to know it."""
        now = self._clock.now()
        with self._store.reading() as work:
            unlisted = work.crls.unlisted(now)
            records = {one.id: one for one in work.issuers.all()} if unlisted else {}
        return {
            records[issuer_id].label: self._policy.next_listing(records[issuer_id].level, latest, since)
            for issuer_id, (latest, since) in unlisted.items()
        }

    def overdue(self) -> list[CrlAge]:
        """Return the lists with less than half of their life left: somebody should look why."""
        now = self._clock.now()
        return [age for age in self.ages() if age.used_up(now) > 0.5]  # noqa: PLR2004  # half

    def scopes(self, record: IssuerRecord) -> list[Scope]:
        """Return what an issuer's lists cover: everything, and each shard its certificates name or ever named."""
        address = self._shard_address(record)
        with self._store.reading() as work:
            names = set(work.crls.scopes(record.id)) - {FULL}
        names |= {f"{shard:02d}" for shard in range(address[1])}
        full = self._scope(record, FULL, "")
        return [full, *(self._scope(record, name, address[0].replace("{shard}", name)) for name in sorted(names))]

    def _scope(self, record: IssuerRecord, name: str, shard_url: str) -> Scope:
        freshest = ""
        if self._policy.delta_period:
            folder = self._policy.crl_url.format(issuer=record.label).rpartition("/")[0]
            freshest = f"{folder}/{crl_name(record.label, name, CrlKind.DELTA)}"
        return Scope(issuer=record, name=name, shard_url=shard_url, freshest_url=freshest)

    def _shard_address(self, record: IssuerRecord) -> tuple[str, int]:
        """Return the address of an issuer's shards, with {shard} in it, and how many its certificates name."""
        fitting = [
            profile.extensions
            for profile in self._profiles().values()
            if profile.edition is record.edition
            and profile.issuer_level is record.level
            and profile.branch == record.branch
            and profile.extensions.crl_shards
        ]
        if not fitting:
            folder = self._policy.crl_url.format(issuer=record.label).rpartition("/")[0]
            return f"{folder}/{record.label}-{{shard}}.crl", 0
        return fitting[0].crl_url.replace("{issuer}", record.label), max(one.crl_shards for one in fitting)

    def _publishes(self, record: IssuerRecord) -> bool:
        if not record.certificate_der or record.not_after is None or record.not_after <= self._clock.now():
            return False
        return read_facts(record.certificate_der).may_sign_crls

    def _due(self, scope: Scope) -> bool | None:
        """Return True when the complete list is due, False when only its delta is, None when nothing is."""
        now = self._clock.now()
        with self._store.reading() as work:
            complete = work.crls.published(scope.issuer.id, scope.name, CrlKind.COMPLETE)
            delta = work.crls.published(scope.issuer.id, scope.name, CrlKind.DELTA)
            is_behind = complete is not None and work.crls.unknown_since(complete, scope.shard) is not None
        if complete is None or not _is_fresh(complete, self._policy.period_of(scope.issuer.level), now):
            return True
        if not scope.freshest_url and is_behind:
            return True
        if scope.freshest_url and (delta is None or not _is_fresh(delta, self._policy.delta_period, now)):
            return False
        return None

    def _publish(self, scope: Scope, actor: str, approval: Approval, *, with_complete: bool) -> list[CrlRecord]:
        record = scope.issuer
        try:
            signer = self._key_store().bind(record.key_label)
            if signer.spki_der != record.spki_der:
                raise KeyRejectedError(f"the key {signer.label!r} is not the one issuer {record.label!r} was made with")
            task = Task(
                scope=scope,
                signer=signer,
                actor=actor,
                with_complete=with_complete,
                approved=approval.guards,
                approved_by=approval.witnesses,
            )
            return self._publisher.publish(task)
        except PkiError as error:
            if not isinstance(error, RequestError):
                self._tell(scope, actor, error)
            raise

    def _tell(self, scope: Scope, actor: str, error: PkiError) -> None:
        """Log and audit a list that was not published."""
        name = crl_name(scope.issuer.label, scope.name, CrlKind.COMPLETE)
        _log.error("%s was not published: %s: %s", name, error.code, error)
        entry = AuditEntry(actor, "crl.failed", scope.issuer.id, detail=f"{scope.name} {error.code}: {error}"[:1000])
        try:
            with self._store.transaction() as work:
                work.audit.append("crls", self._clock.now(), [entry])
        except StoreUnavailableError as away:
            _log.error("and the audit row of it could not be written: %s", away)  # one line is enough

    def _prune(self, record: IssuerRecord) -> None:
        """Remove revocations that two lists of every scope have been without: rows of the past cost nothing then."""
        now = self._clock.now()
        with self._store.reading() as work:
            latest = [work.crls.latest(record.id, name, CrlKind.COMPLETE, 2) for name in work.crls.scopes(record.id)]
        if not latest or any(len(crls) < 2 for crls in latest):  # noqa: PLR2004  # two
            return
        # Nor later than now, or than either: one of a clock that ran ahead says nothing of what ends until then.
        crls = [crl for two in latest for crl in two]
        listing = Listing(
            record.id,
            ended_before=min([now, *(crl.this_update for crl in crls)]),
            changed_before=min([now, *(crl.snapshot for crl in crls)]) - MARGIN,
        )
        removed = _PAGE
        while removed >= _PAGE:
            with self._store.transaction() as work:
                removed = work.revocations.prune(listing, _PAGE)


def _is_fresh(record: CrlRecord, period: timedelta, now: datetime) -> bool:
    """Tell whether a list is younger than a period; one of the future is not: the clock went back, and G4 says so."""
    return timedelta(0) <= now - record.this_update < period


def raise_failures(failures: Sequence[Failure]) -> None:
    """Raise the worst of the failures, so that a flow ends as loudly as it must: our own faults first."""
    if failures:
        raise min((failure.error for failure in failures), key=lambda error: error.code.startswith(("hsm", "store")))
