"""Reminders: what ends soon is told to whoever renews it, once; what people must renew stands in the report.

Two marks in the same transactions as the events say how far the telling has come: up to which end all was told, and
up to which moment what came in since was looked through for earlier ends. Running it again, or after a run that died,
tells nothing twice and leaves nothing out. Each number of days has marks of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki_core.model.clock import Clock
from pki_core.model.errors import MalformedError
from pki_core.model.identifiers import provider_of, wmi_of
from pki_core.model.pools import Event, EventType, ProvisioningKey, RemovedContract
from pki_core.model.profiles import Level
from pki_core.services.expire import note_run
from pki_core.services.pool_events import STREAM
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork

ACTOR = "remind-renewals"
DAYS = 30
_MOST_DAYS = 365
_CONTRACTS, _PROVISIONING = "reminded contracts", "reminded provisioning"
_PAGE = 2000
_SLOW = timedelta(minutes=1)  # what came in within it may still be uncommitted: the next run's
_CA_SHARE = 5  # with a fifth of its life left a CA wants a successor: its leafs must fit into the rest


@dataclass(slots=True, kw_only=True)
class ReminderReport:
    """What was told; with ``dry_run``, what would be."""

    dry_run: bool
    contracts: int = 0
    provisioning: int = 0
    warnings: tuple[str, ...] = ()


class Reminders:
    """Tells what ends soon."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def run(self, *, days: int = DAYS, dry_run: bool = False, page: int = _PAGE) -> ReminderReport:
        """Tell operators of contracts, and OEMs of provisioning certificates, that end within ``days``.

        Raises:
            MalformedError: there are no so many days.
            UnavailableError: the store is away; finished pages stay told.
        """
        if not 0 < days <= _MOST_DAYS:
            raise MalformedError(f"reminders come 1 to {_MOST_DAYS} days ahead")
        now = self._clock.now()
        until = now + timedelta(days=days)
        report = ReminderReport(dry_run=dry_run, warnings=self._warnings(now))
        if dry_run:
            with self._store.reading() as work:
                report.contracts = _count(work, _CONTRACTS, (now, until), days, page)
                report.provisioning = _count(work, _PROVISIONING, (now, until), days, page)
            return report
        report.contracts = self._tell_late(_CONTRACTS, days, page) + self._tell(_CONTRACTS, days, until, page)
        report.provisioning = self._tell_late(_PROVISIONING, days, page) + self._tell(_PROVISIONING, days, until, page)
        note_run(self._store, self._clock, "remind_renewals")
        return report

    def _tell_late(self, kind: str, days: int, page: int) -> int:
        """Tell of what came in since the last run and ends before the mark, which runs past no earlier end again."""
        told = 0
        while True:
            with self._store.transaction() as work:
                now = self._clock.now()
                mark = work.marks.lock(_name(kind, days), now)
                since = work.marks.lock(_late_name(kind, days), _seen_before(mark, now, days))
                until = now - _SLOW
                if since >= until:
                    return told
                events, reached = _late_events(work, kind, (since, until), (now, max(mark, now)), page)
                self._note(work, _late_name(kind, days), events, reached)
                told += len(events)

    def _tell(self, kind: str, days: int, until: datetime, page: int) -> int:
        told, name = 0, _name(kind, days)
        while True:
            with self._store.transaction() as work:
                now = self._clock.now()
                since = max(work.marks.lock(name, now), now)
                if since >= until:
                    return told
                events, reached = _events(work, kind, (since, until), page)
                self._note(work, name, events, reached)
                told += len(events)

    def _note(self, work: UnitOfWork, name: str, events: Sequence[Event], reached: datetime) -> None:
        now = self._clock.now()
        work.outbox.append(now, events)
        work.marks.advance(name, reached)
        if events:
            detail = f"{len(events)} {name} up to {reached.isoformat()}"
            work.audit.append(STREAM, now, [AuditEntry(ACTOR, "pool.reminded", detail=detail)])

    def _warnings(self, now: datetime) -> tuple[str, ...]:
        """CAs of ours whose leafs will not fit into what is left of their lives; roots are an alarm of their own."""
        with self._store.reading() as work:
            records = work.issuers.all()
        return tuple(
            f"CA {one.label} ends on {one.not_after:%Y-%m-%d}: it needs a successor"
            for one in records
            if one.level is not Level.ROOT
            and one.not_before is not None
            and one.not_after is not None
            and now < one.not_after
            and (one.not_after - now) < (one.not_after - one.not_before) / _CA_SHARE
        )


def _name(kind: str, days: int) -> str:
    return kind if days == DAYS else f"{kind} {days}"


def _late_name(kind: str, days: int) -> str:
    return f"{_name(kind, days)} late"


def _seen_before(mark: datetime, now: datetime, days: int) -> datetime:
    """Return up to when what came in was seen by runs that left the one mark only; this moment when there were none."""
    return min(mark - timedelta(days=days), now) if mark > now else now


def _count(work: UnitOfWork, kind: str, window: tuple[datetime, datetime], days: int, page: int) -> int:
    """Walk as a run does, page by page, and leave the marks where they are."""
    now, until = window
    mark = work.marks.read(_name(kind, days)) or now
    since = work.marks.read(_late_name(kind, days)) or _seen_before(mark, now, days)
    seen, ends = now - _SLOW, (now, max(mark, now))
    late = _walked(since, seen, lambda at: _late_events(work, kind, (at, seen), ends, page))
    return late + _walked(max(mark, now), until, lambda at: _events(work, kind, (at, until), page))


def _walked(since: datetime, until: datetime, look: Callable[[datetime], tuple[list[Event], datetime]]) -> int:
    told = 0
    while since < until:
        events, since = look(since)
        told += len(events)
    return told


def _events(work: UnitOfWork, kind: str, ends: tuple[datetime, datetime], page: int) -> tuple[list[Event], datetime]:
    if kind == _CONTRACTS:
        contracts, reached = work.contract_pool.ending(*ends, page)
        return _contract_events(contracts), reached
    keys, reached = work.provisioning_pool.ending(*ends, page)
    return _vehicle_events(keys), reached


def _late_events(
    work: UnitOfWork, kind: str, changed: tuple[datetime, datetime], ends: tuple[datetime, datetime], page: int
) -> tuple[list[Event], datetime]:
    if kind == _CONTRACTS:
        contracts, reached = work.contract_pool.changed(changed, ends, page)
        return _contract_events(contracts), reached
    keys, reached = work.provisioning_pool.changed(changed, ends, page)
    return _vehicle_events(keys), reached


def _contract_events(contracts: Sequence[RemovedContract]) -> list[Event]:
    told = EventType.CONTRACT_RENEWAL
    return [Event(told, provider_of(one.emaid), one.pcid, one.emaid, namespace=one.namespace) for one in contracts]


def _vehicle_events(keys: Sequence[ProvisioningKey]) -> list[Event]:
    vehicles = dict.fromkeys((key.pcid, key.namespace) for key in keys)  # ISO 15118-20 has several algorithms
    told = EventType.PROVISIONING_RENEWAL
    return [Event(told, wmi_of(pcid), pcid, namespace=namespace) for pcid, namespace in vehicles]
