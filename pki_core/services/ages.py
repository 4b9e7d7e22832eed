"""Ages: how long ago what must happen again and again happened, and how long ago it may be at most.

Each alarm has a page in deployments/RUNBOOK.md. Roots are looked at as well: two years before its end one needs a
successor, and the alarm lasts until there is one. So does that of a CPS signer in the last tenth of its life.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pki_core.model.clock import Clock
from pki_core.model.crls import crl_name
from pki_core.model.errors import OverdueError
from pki_core.model.pools import ROOT_WARNING, STATUS_MAX_AGE
from pki_core.model.profiles import Level
from pki_core.model.states import BatchState, CertificateState
from pki_core.services.cps_signers import CpsSigners
from pki_core.services.crls import Crls
from pki_core.services.ocsp_directory import OcspDirectory
from pki_core.store.unit_of_work import Store, UnitOfWork

LAST_RUNS = {  # a sweep's mark -> how long ago its last whole run may be: three of its schedule
    "check_pools": timedelta(hours=1),
    "clean_ccp": timedelta(hours=3),
    "sweep_expired": timedelta(hours=3),
    "resign_contracts": timedelta(hours=3),
    "renew_contracts": timedelta(days=3),
    "remind_renewals": timedelta(days=3),
}
_UNSEALED = timedelta(hours=1)
_UNTOLD = timedelta(minutes=15)
_UNSIGNED = timedelta(hours=1)  # large batches before it take their time
_MINUTE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """One thing that was looked at; ``seconds`` None = it never happened."""

    name: str
    seconds: int | None
    most: int
    is_late: bool

    @property
    def text(self) -> str:
        """What an alarm says of it."""
        if self.seconds is None:
            return f"{self.name}: never"
        return f"{self.name}: {self.seconds // _MINUTE} min, at most {self.most // _MINUTE}"


@dataclass(frozen=True, slots=True)
class _Root:
    """A root of the RCP or of ours; roots of one kind succeed each other."""

    name: str
    kind: tuple[str, ...]
    valid_to: datetime


class Ages:
    """Looks at ages."""

    def __init__(self, store: Store, clock: Clock, crls: Crls, signers: CpsSigners, excess: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._crls = crls
        self._signers = signers
        self._excess = excess  # says the sum where answers to vehicles may be too long, else ""

    def look(self) -> list[Age]:
        """Return what was found, late or not. UnavailableError when the store is away."""
        now = self._clock.now()
        with self._store.reading() as work:
            found = [*_runs(work, now), *_statuses(work, now), *_queues(work, now), *_answers(work, now)]
            found += _without_successor(_roots(work, now), now)
            ended = {one.label for one in work.issuers.all() if one.not_after is None or one.not_after <= now}
        return [*found, *self._responders(now, ended), *self._cps_signers(now), *self._lists(now, ended)]

    def _lists(self, now: datetime, ended: set[str]) -> Iterator[Age]:
        """CRLs: past half their life somebody should look why."""
        overdue = self._crls.overdue()
        for one in self._crls.ages():
            if one.issuer_label not in ended:
                name = f"CRL {crl_name(one.issuer_label, one.scope, one.kind)}"
                half = (one.next_update - one.this_update) / 2
                yield _age(name, now - one.this_update, half, is_late=one in overdue)

    def _responders(self, now: datetime, ended: set[str]) -> Iterator[Age]:
        """OCSP responders: the rotation makes a successor with a fifth of a life left; at a tenth it has failed."""
        for ca in OcspDirectory(self._store).current().cas:
            good = [one for one in ca.responders if one.state is CertificateState.GOOD]
            if good and ca.is_trusted and ca.record.label not in ended:
                last = max(good, key=lambda one: one.not_after)
                life = timedelta(seconds=last.not_after - last.not_before)
                age = now - datetime.fromtimestamp(last.not_before, now.tzinfo)
                yield _age(f"OCSP responder of {ca.record.label}", age, life * 0.9)

    def _cps_signers(self, now: datetime) -> Iterator[Age]:
        """Signers of contract data, where there ever was one: without any, contracts and their batches wait."""
        standings = self._signers.standings()
        for algorithm in sorted({one.signer.algorithm for one in standings}):
            good = [one for one in standings if one.is_in_force and one.signer.algorithm is algorithm]
            if good:
                last = max(good, key=lambda one: one.ends)
                begins = last.signer.record.not_before
                yield _age(f"CPS signer with a {algorithm} key", now - begins, (last.ends - begins) * 0.9)
            else:
                yield Age(name=f"no CPS signer with a {algorithm} key is in force", seconds=0, most=0, is_late=True)
        if told := self._excess():
            yield Age(name=told, seconds=0, most=0, is_late=True)


def raise_late(ages: Sequence[Age]) -> None:
    """Raise OverdueError, naming everything that is late; nothing when nothing is."""
    late = [one.text for one in ages if one.is_late]
    if late:
        raise OverdueError("; ".join(late))


def _age(name: str, age: timedelta, most: timedelta, *, is_late: bool | None = None) -> Age:
    return Age(
        name=name,
        seconds=int(age.total_seconds()),
        most=int(most.total_seconds()),
        is_late=age > most if is_late is None else is_late,
    )


def _runs(work: UnitOfWork, now: datetime) -> Iterator[Age]:
    for name, most in LAST_RUNS.items():
        last = work.marks.read(name)
        if last is None:
            yield Age(name=f"last {name}", seconds=None, most=int(most.total_seconds()), is_late=True)
        else:
            yield _age(f"last {name}", now - last, most)


def _statuses(work: UnitOfWork, now: datetime) -> Iterator[Age]:
    """Rows of the pools whose CA is silent: a run of check_pools postpones them, and comes to its end all the same."""
    most = STATUS_MAX_AGE + LAST_RUNS["check_pools"]
    before = now - most
    untold = {
        "vehicle": work.provisioning_pool.longest_untold(before),
        "contract": work.contract_pool.longest_untold(before),
    }
    for what, found in untold.items():
        if found is not None:
            name, told_at, late = found
            more = f" and {late - 1} more" if late > 1 else ""
            yield _age(f"status told by another CA of {what} {name}{more}", now - told_at, most)


def _queues(work: UnitOfWork, now: datetime) -> Iterator[Age]:
    """What waits to be sealed, told or signed: empty is young."""
    queued = work.batches.in_state(BatchState.QUEUED, 1, without=work.partners.suspended())
    sealed = work.audit.last_checkpoint()
    unsealed = work.audit.oldest_after(sealed.last_id if sealed else 0)
    events = work.outbox.waiting(0, 1)
    waits = {
        "oldest audit row without a seal": (unsealed, _UNSEALED),
        "oldest event in the outbox": (events[0].at if events else None, _UNTOLD),
        "oldest batch that waits for a runner": (queued[0].created_at if queued else None, _UNSIGNED),
        "webhook delivery that is due": (work.webhooks.longest_due(now), _UNTOLD),
    }
    for name, (since, most) in waits.items():
        yield _age(name, now - (since or now), most)


def _answers(work: UnitOfWork, now: datetime) -> Iterator[Age]:
    """OCSP answers signed ahead: refreshed at half their life, so at three quarters the refresh has failed."""
    seconds = int(now.timestamp())
    worn = work.ocsp.worn_out(seconds)
    row = worn or work.ocsp.oldest()
    if row is not None:
        age, most = timedelta(seconds=seconds - row[0]), timedelta(seconds=(row[1] - row[0]) * 3 // 4)
        yield _age("oldest OCSP answer signed ahead", age, most, is_late=worn is not None)


def _roots(work: UnitOfWork, now: datetime) -> list[_Root]:
    pool = [
        _Root(f"{one.kind} root {one.id} of the RCP", ("rcp", one.kind), one.valid_to)
        for one in work.root_pool.all()
        if one.is_active
    ]
    own = [
        _Root(f"our root {one.label}", ("own", one.branch, one.edition, one.algorithm), one.not_after)
        for one in work.issuers.all()
        if one.level is Level.ROOT and one.not_after is not None
    ]
    return [one for one in (*pool, *own) if one.valid_to > now]


def _without_successor(roots: Sequence[_Root], now: datetime) -> Iterable[Age]:
    lasting = {one.kind for one in roots if one.valid_to - now >= ROOT_WARNING}
    for one in roots:
        if one.kind not in lasting:
            yield Age(
                name=f"{one.name} ends on {one.valid_to:%Y-%m-%d} and has no successor; in its last two years since",
                seconds=int((ROOT_WARNING - (one.valid_to - now)).total_seconds()),
                most=0,
                is_late=True,
            )
