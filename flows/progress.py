"""A live progress bar on standard error, fed from SQL counts while something else signs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from pki_core.model.batches import BatchCounts
from pki_core.model.errors import PkiError

_SECONDS_BETWEEN_LOOKS = 0.25


class _Rate:
    """Rows a second since the first one moved, so that starting up does not count."""

    def __init__(self) -> None:
        self._last_still = (time.monotonic(), -1)

    def text(self, done: int) -> str:
        """Return the rate to show for a count."""
        now = time.monotonic()
        started, first = self._last_still
        if first in {-1, done}:
            self._last_still = (now, done)
            return "-/s"
        return f"{(done - first) / max(now - started, 1e-3):,.0f}/s"


@contextmanager
def batch_progress(look: Callable[[], BatchCounts], *, quiet: bool) -> Iterator[None]:
    """Show a bar for the length of the block; ``look`` is called a few times a second."""
    if quiet:
        yield
        return
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[refused]} refused"),
    )
    with Progress(*columns, console=console) as progress:
        counts = look()
        bar = progress.add_task("signing", total=counts.total, refused=counts.refused, rate="-/s")
        over, rate = Event(), _Rate()
        thread = Thread(target=_follow, args=(look, over, lambda now: _show(progress, bar, now, rate)), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _show(progress: Progress, bar: TaskID, counts: BatchCounts, rate: _Rate) -> None:
    done = counts.issued + counts.refused
    progress.update(bar, completed=done, refused=counts.refused, rate=rate.text(done))


def _follow(look: Callable[[], BatchCounts], over: Event, show: Callable[[BatchCounts], None]) -> None:
    last = False
    while not last:
        last = over.wait(_SECONDS_BETWEEN_LOOKS)
        with suppress(PkiError):  # the bar misses one look; the work reports its own errors
            show(look())
