"""Enrolments that come at the same time become one call of ``Enrollment.issue``: a list of one each costs the most.

Nobody waits for company: who finds nobody at work begins at once, alone. Those who come meanwhile are the next list,
and one of them works for all. So a list is as long as the load is high, and two durable commits serve all of it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event, Lock
from typing import NamedTuple

from pki_core.issuance.issuer import Issuer
from pki_core.model.errors import InvariantError, PkiError, UnavailableError
from pki_core.model.partners import Partner
from pki_core.model.requests import IssueRequest, Outcome
from pki_core.services.enroll import Enrollment, IssueHooks
from pki_core.services.orders import Order
from pki_core.store.unit_of_work import UnitOfWork


class _Kind(NamedTuple):
    """What requests of one list have in common."""

    issuer: Issuer
    profile_id: int
    partner: Partner | None
    actor: str
    runner: str


class _Waiting:
    """One request, its caller's rows, and what became of it."""

    def __init__(self, request: IssueRequest, hooks: IssueHooks) -> None:
        self.request = request
        self.hooks = hooks
        self.woken = Event()
        self.list: list[_Waiting] = []  # to work for, when woken without an outcome
        self.outcome: Outcome | None = None
        self.error: PkiError | None = None


class _Together:
    """The hooks of all requests of a list."""

    def __init__(self, waiting: Sequence[_Waiting]) -> None:
        self._waiting = waiting

    def reserved(self, work: UnitOfWork, reservation: int) -> None:
        """Write beside the reservation."""
        for one in self._waiting:
            one.hooks.reserved(work, reservation)

    def renewed(self, work: UnitOfWork, times: tuple[datetime, datetime]) -> None:
        """Hold on what each caller holds."""
        for one in self._waiting:
            one.hooks.renewed(work, times)

    def signed(self, outcomes: Sequence[Outcome], keep: Callable[[], None]) -> None:
        """Tell each caller of its own."""
        for one, outcome in zip(self._waiting, outcomes, strict=True):
            one.hooks.signed([outcome], keep)

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Write beside the certificates, each caller for its own."""
        for one, outcome in zip(self._waiting, outcomes, strict=True):
            one.hooks.recorded(work, [outcome])


class Gathering:
    """Issues for many callers at once, in the process whose threads they are."""

    def __init__(self, enrollment: Enrollment) -> None:
        self._enrollment = enrollment
        self._lock = Lock()
        self._next: dict[_Kind, list[_Waiting]] = {}  # a kind that is here is being worked on

    def issue(self, issuer: Issuer, order: Order, request: IssueRequest, hooks: IssueHooks) -> Outcome:
        """Issue or refuse one request.

        Raises:
            PkiError: as ``Enrollment.issue``, and for this request alone unless the store or the token is away.
        """
        kind = _Kind(issuer, order.profile_id, order.partner, order.actor, order.runner)
        mine = _Waiting(request, hooks)
        with self._lock:
            following = self._next.get(kind)
            if following is None:
                self._next[kind] = []
                mine.list = [mine]
            else:
                following.append(mine)
        if not mine.list:
            mine.woken.wait()
        if mine.list:
            self._work(kind, order, mine.list)
        if mine.error is not None:
            raise mine.error
        if mine.outcome is None:
            raise InvariantError("an enrolment made together with this one ended without a word")
        return mine.outcome

    def _work(self, kind: _Kind, order: Order, waiting: list[_Waiting]) -> None:
        """Answer a list, then wake the first of those who came meanwhile to work for them."""
        try:
            self._issue(kind.issuer, order, waiting)
        finally:
            with self._lock:
                following = self._next.pop(kind)
                if following:
                    self._next[kind] = []
            if following:
                following[0].list = following
                following[0].woken.set()
            for one in waiting:
                one.woken.set()

    def _issue(self, issuer: Issuer, order: Order, waiting: Sequence[_Waiting]) -> None:
        try:
            outcomes = self._enrollment.issue(issuer, order, [one.request for one in waiting], _Together(waiting))
        except UnavailableError as error:
            for one in waiting:
                one.error = error
        except PkiError as error:
            if len(waiting) == 1:
                waiting[0].error = error
                return
            for one in waiting:  # nothing was issued; whose fault it was shows when each goes alone
                self._issue(issuer, order, [one])
        else:
            for one, outcome in zip(waiting, outcomes, strict=True):
                one.outcome = outcome
