"""Times in the store: whole seconds since 1970 UTC."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=64)
def to_seconds(moment: datetime) -> int:
    """Return the stored form of an aware time; a chunk asks for the same few again and again."""
    return int(moment.timestamp())


@lru_cache(maxsize=64)
def from_seconds(seconds: int) -> datetime:
    """Return the aware UTC time of a stored value."""
    return datetime.fromtimestamp(seconds, UTC)
