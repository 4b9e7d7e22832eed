"""The moments at which a runner or a loader may die, be late or be cut off, and how tests act there."""

import random
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from pki_core.issuance.issuer import Issuer
from pki_core.model.states import BatchState
from pki_core.services import batches, uploads
from pki_core.services.enroll import Enrollment
from pki_core.store.audit import AuditGateway
from pki_core.store.batches import BatchGateway
from pki_core.store.certificates import CertificateGateway
from pki_core.store.chunks import ChunkGateway
from pki_core.store.reservations import ReservationGateway


@dataclass(frozen=True)
class Point:
    """A moment of the journey: before or after a call that counts."""

    owner: type
    name: str
    when: str
    burns: bool = False  # serials are reserved then and will be void
    nth: int = 1  # time that it is reached
    counts: Callable[[tuple[Any, ...], Any], bool] = lambda _arguments, _result: True


def _finishes(arguments, _result):
    return arguments[2] is BatchState.DONE


def _has_finished(_arguments, result):
    return result is None


def _is_quarantine(arguments, _result):
    return arguments[3][0].action == "row.quarantined"


SIGNING = {
    "before the claim": Point(batches.Batches, "_claim", "before"),
    "before the claim is committed": Point(ChunkGateway, "claim", "after"),
    "after the claim": Point(batches.Batches, "_claim", "after"),
    "before the reservation": Point(Enrollment, "_reserve", "before"),
    "before the reservation is committed": Point(ChunkGateway, "attach", "after"),
    "after the reservation": Point(Enrollment, "_reserve", "after", burns=True),
    "before signing": Point(Issuer, "sign", "before", burns=True),
    "after signing": Point(Issuer, "sign", "after", burns=True),
    "before recording": Point(Enrollment, "_record", "before", burns=True),
    "between closing and recording": Point(ReservationGateway, "close", "after", burns=True),
    "between certificates and verdicts": Point(CertificateGateway, "record", "after", burns=True),
    "before the record is committed": Point(ChunkGateway, "finish", "after", burns=True),
    "after recording": Point(Enrollment, "_record", "after"),
}
FINISHING = {
    "before the batch ends": Point(BatchGateway, "move", "before", burns=True, counts=_finishes),
    "before the end is committed": Point(BatchGateway, "move", "after", burns=True, counts=_finishes),
    "after the batch has ended": Point(batches.Batches, "_claim", "after", counts=_has_finished),
}
UPLOADING = {
    "before the batch is there": Point(uploads.Uploads, "_begin", "before"),
    "before the empty batch is committed": Point(BatchGateway, "add", "after"),
    "after the empty batch": Point(uploads.Uploads, "_begin", "after"),
    "between the rows of a piece and their verdicts": Point(BatchGateway, "add_items", "after", nth=2),
    "before the second piece": Point(BatchGateway, "add_items", "before", nth=2),
    "after the last piece": Point(uploads.Uploads, "_store_rows", "after"),
    "between the chunks and the state": Point(ChunkGateway, "add", "after"),
    "before the upload is committed": Point(BatchGateway, "move", "after"),
    "after the upload": Point(uploads.Uploads, "submit", "after"),
}
QUARANTINE = {"before the quarantine is committed": Point(AuditGateway, "append", "after", counts=_is_quarantine)}
POINTS = {name: replace(point, nth=2) for name, point in SIGNING.items()} | FINISHING | UPLOADING | QUARANTINE


def interpose(point, act):
    """Act at the nth time that the point is reached."""
    original, reached = getattr(point.owner, point.name), count(1)

    def interposed(*arguments, **options):
        if point.when == "before" and point.counts(arguments, None) and next(reached) == point.nth:
            act()
        result = original(*arguments, **options)
        if point.when == "after" and point.counts(arguments, result) and next(reached) == point.nth:
            act()
        return result

    setattr(point.owner, point.name, interposed)


@contextmanager
def interposed(point, act):
    """Act when the point is reached, and leave everything as it was."""
    original = getattr(point.owner, point.name)
    interpose(point, act)
    try:
        yield
    finally:
        setattr(point.owner, point.name, original)


def pause_everywhere(seconds, seed):
    """Wait a random moment at every point, so that a kill at a random time may hit each of them."""
    chance = random.Random(seed)
    for point in SIGNING.values():
        original = getattr(point.owner, point.name)

        def slowed(*arguments, _original=original, **options):
            time.sleep(chance.uniform(0, seconds))
            result = _original(*arguments, **options)
            time.sleep(chance.uniform(0, seconds))
            return result

        setattr(point.owner, point.name, slowed)
