"""The gate before the pools: who may call a route is what its declaration says, judged before anything is read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Any

from flask import Response

from pki_core.model.errors import InvariantError, NotAuthorizedError
from pki_core.model.partners import Partner
from pki_core.runtime import Runtime
from webapp.api_routes import Answer, Body, Route
from webapp.callers import caller_reader
from webapp.rest import RestCallers


class Dialect(Enum):
    """Whose words a route speaks: Hubject's Open Plug & Charge Protocol, or CharIN's OPNC."""

    OPCP = "opcp"
    OPNC = "opnc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What differs between the dialects: the place, what comes in and what goes out."""

    path: str
    answers: dict[int, Answer]
    body: Body | None = None
    aliases: tuple[str, ...] = field(default=())


def in_dialects(name: str, common: Route, opcp: Words, opnc: Words) -> list[Route]:
    """Declare one view in both dialects; ``common`` has what they share, the view and refusals among its answers.

    The view is called with the dialect, the partner and what stands in the path.
    """
    return [
        replace(
            common,
            path=words.path,
            aliases=words.aliases,
            view=partial(_view_of(common), dialect),
            answers={**words.answers, **common.answers},
            body=words.body,
            name=f"{name}{suffix}",
        )
        for dialect, words, suffix in ((Dialect.OPCP, opcp, ""), (Dialect.OPNC, opnc, "_opnc"))
    ]


class Gate:
    """Tells callers apart and lets through whom the declaration names."""

    def __init__(self, runtime: Runtime) -> None:
        self._callers = RestCallers(runtime, caller_reader(runtime))
        self._access = runtime.access

    def guard(self, routes: Iterable[Route]) -> list[Route]:
        """Return routes whose views are called with the partner, and only for the roles they name."""
        return [replace(route, view=self._guarded(route)) for route in routes]

    def _guarded(self, route: Route) -> Callable[..., Response]:
        allowed, view = frozenset(route.roles or ()), _view_of(route)

        def guarded(**places: Any) -> Response:  # noqa: ANN401  # what stands in the path
            partner: Partner = self._callers.partner(route.scope)
            if allowed and not allowed & partner.roles:
                raise NotAuthorizedError(f"this is for the roles {', '.join(sorted(allowed))}")
            with self._access.foreign_status.asked_by(
                partner.id
            ):  # what is asked of other CAs, bounded for him and for all
                answer: Response = view(partner, **places)
            answer.headers.setdefault("Cache-Control", "no-store")
            return answer

        return guarded


def _view_of(route: Route) -> Callable[..., Response]:
    if route.view is None:
        raise InvariantError(f"the route {route.path} has no view")
    return route.view
