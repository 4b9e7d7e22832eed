"""A live progress bar on standard error, fed from SQL counts while something else signs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pki_core.model.batches import BatchCounts
from pki_core.model.errors import PkiError

_SECONDS_BETWEEN_LOOKS = 0.25


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "-/s", style="cyan")


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
        _RateColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[refused]} refused"),
    )
    with Progress(*columns, console=console) as progress:
        counts = look()
        bar = progress.add_task("signing", total=counts.total, refused=counts.refused)
        over = Event()
        thread = Thread(target=_follow, args=(look, over, lambda now: _show(progress, bar, now)), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _show(progress: Progress, bar: TaskID, counts: BatchCounts) -> None:
    progress.update(bar, completed=counts.issued + counts.refused, refused=counts.refused)


def _follow(look: Callable[[], BatchCounts], over: Event, show: Callable[[BatchCounts], None]) -> None:
    last = False
    while not last:
        last = over.wait(_SECONDS_BETWEEN_LOOKS)
        with suppress(PkiError):  # the bar misses one look; the work reports its own errors
            show(look())
