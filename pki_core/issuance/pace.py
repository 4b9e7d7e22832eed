"""Pace: how much a key signs at once, so that its caller can act in between, however slow the token (PKCS#11) is."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST = 50  # of a key whose speed is not known yet
MOST = 500  # a token that slows down all at once is noticed behind these
_SECONDS = 1.0  # that a piece should take: a lease lasts ten at least
_NEARLY = 1.2


class Pace:
    """Cuts what is to be signed into pieces of about a second, by the speed of the piece before."""

    def __init__(self) -> None:
        self._count = FIRST

    def run(
        self, items: Sequence[Item], sign: Callable[[Sequence[Item]], list[Result]], before: Callable[[], None] | None
    ) -> list[Result]:
        """Sign piece by piece, in order, with a call of ``before`` ahead of each; the first error ends it."""
        results: list[Result] = []
        first = 0
        while first < len(items):
            if before is not None:
                before()
            piece = items[first : first + self._count]
            started = monotonic()
            results += sign(piece)
            self._learn(len(piece), monotonic() - started)
            first += len(piece)
        return results

    def _learn(self, count: int, seconds: float) -> None:
        fitting = int(count * _SECONDS / max(seconds, _SECONDS / MOST))
        if seconds < _NEARLY * _SECONDS:
            fitting = max(fitting, 2 * count)  # a token with many sessions is no slower with more to do
        self._count = min(max(fitting, 1), MOST)
