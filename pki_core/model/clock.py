"""The clock protocol: the one source of time, so that tests can set it."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the present moment: aware, UTC, cut to whole seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present moment: aware, UTC, cut to whole seconds."""
        return datetime.now(UTC).replace(microsecond=0)  # noqa: TID251  # the one place that may


def rfc3339(moment: datetime) -> str:
    """Return a time as RFC 3339 writes it, in UTC."""
    return moment.isoformat().replace("+00:00", "Z")
