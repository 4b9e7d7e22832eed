"""Times in the store: whole seconds since 1970 UTC."""

from datetime import UTC, datetime


def to_seconds(moment: datetime) -> int:
    """Return the stored form of an aware time."""
    return int(moment.timestamp())


def from_seconds(seconds: int) -> datetime:
    """Return the aware UTC time of a stored value."""
    return datetime.fromtimestamp(seconds, UTC)
