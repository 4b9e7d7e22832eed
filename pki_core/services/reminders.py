"""Reminders: what ends soon is told to whoever renews it, once; what people must renew stands in the report.

How far the telling has come is a mark in the same transaction as the events: running it again, or after a run that
died, tells nothing twice and leaves nothing out.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pki_core.model.clock import Clock
from pki_core.model.errors import MalformedError
from pki_core.model.identifiers import provider_of, wmi_of
from pki_core.model.pools import Event, EventType
from pki_core.model.profiles import Level
from pki_core.services.pool_events import STREAM
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork

ACTOR = "remind-renewals"
DAYS = 30
_MOST_DAYS = 365
_CONTRACTS, _PROVISIONING = "reminded contracts", "reminded provisioning"
_PAGE = 2000
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
                since = max(work.marks.read(_CONTRACTS) or now, now)
                report.contracts = work.contract_pool.count_ending(since, until)
                since = max(work.marks.read(_PROVISIONING) or now, now)
                report.provisioning = work.provisioning_pool.count_ending(since, until)
            return report
        report.contracts = self._tell(_CONTRACTS, until, page)
        report.provisioning = self._tell(_PROVISIONING, until, page)
        return report

    def _tell(self, name: str, until: datetime, page: int) -> int:
        told = 0
        while True:
            with self._store.transaction() as work:
                now = self._clock.now()
                since = max(work.marks.lock(name, now), now)
                if since >= until:
                    return told
                events, reached = _events(work, name, (since, until), page)
                work.outbox.append(now, events)
                work.marks.advance(name, reached)
                if events:
                    detail = f"{len(events)} {name} up to {reached.isoformat()}"
                    work.audit.append(STREAM, now, [AuditEntry(ACTOR, "pool.reminded", detail=detail)])
                told += len(events)

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


def _events(work: UnitOfWork, name: str, ends: tuple[datetime, datetime], page: int) -> tuple[list[Event], datetime]:
    if name == _CONTRACTS:
        contracts, reached = work.contract_pool.ending(*ends, page)
        told = EventType.CONTRACT_RENEWAL
        return [
            Event(told, provider_of(one.emaid), one.pcid, one.emaid, namespace=one.namespace) for one in contracts
        ], reached
    keys, reached = work.provisioning_pool.ending(*ends, page)
    vehicles = dict.fromkeys((key.pcid, key.namespace) for key in keys)  # ISO 15118-20 has several algorithms
    told = EventType.PROVISIONING_RENEWAL
    return [Event(told, wmi_of(pcid), pcid, namespace=namespace) for pcid, namespace in vehicles], reached
