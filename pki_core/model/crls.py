"""CRLs as plain values: what a list covers, and what the store tells of one (RFC 5280 5)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pki_core.model.profiles import Level

# Longer than any transaction, and than clocks differ: what was recorded so long before a list was made, it knows.
MARGIN = timedelta(minutes=5)
RUN_EVERY = timedelta(minutes=5)  # deployments/prefect.yaml: how often the publisher looks at what is due
FULL = "full"  # the scope of the list that holds everything an issuer revoked; the others are shards "00", "01", ...


class CrlKind(StrEnum):
    """A complete list of its scope, or only what changed since one (RFC 5280 5.2.4)."""

    COMPLETE = "complete"
    DELTA = "delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlRecord:
    """One CRL that was signed. Numbers are counted per issuer and scope, complete lists and deltas together."""

    id: int
    issuer_id: int
    scope: str
    crl_number: int
    base_number: int | None  # of a delta
    this_update: datetime
    next_update: datetime
    snapshot: datetime  # when its data was read
    seen: int | None  # changes its maker saw that were recorded since MARGIN before the snapshot; None = not counted
    entries: int
    octets: int
    sha256: str

    @property
    def kind(self) -> CrlKind:
        """Complete or delta."""
        return CrlKind.COMPLETE if self.base_number is None else CrlKind.DELTA


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlAge:
    """How fresh a published CRL is: for health checks and metrics."""

    issuer_label: str
    scope: str
    kind: CrlKind
    crl_number: int
    this_update: datetime
    next_update: datetime
    entries: int

    def used_up(self, now: datetime) -> float:
        """Return which part of its life is over: 0.5 asks for attention, 1.0 and more means it has expired."""
        life = max(self.next_update - self.this_update, timedelta(seconds=1))
        return (now - self.this_update) / life


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlPolicy:
    """How CRLs are made in an environment."""

    environment: str
    crl_url: str  # holds {issuer}
    validity: timedelta
    period: timedelta  # between two complete lists
    delta_period: timedelta  # between two deltas; zero = there are none
    root_validity: timedelta
    automatic_roots: bool  # else a root signs at a person's command only
    growth_entries: int  # more new or vanished entries than this, and than ...
    growth_percent: int  # ... this share of the list before, need the approval of two people
    lease: timedelta

    def validity_of(self, level: Level) -> timedelta:
        """Return how long a CA's lists are valid."""
        return self.root_validity if level is Level.ROOT else self.validity

    def period_of(self, level: Level) -> timedelta:
        """Return how often a CA's complete list is renewed."""
        return self.root_validity / 3 if level is Level.ROOT else self.period

    def needs_person(self, level: Level) -> bool:
        """Tell whether a CA's lists are signed at a person's command only."""
        return level is Level.ROOT and not self.automatic_roots

    def next_listing(self, level: Level, latest: CrlRecord | None, now: datetime) -> datetime:
        """Return by when a revocation recorded now stands in a complete list, the last of which is ``latest``."""
        if self.needs_person(level):
            return latest.next_update if latest else now + self.validity_of(level)
        if self.delta_period and latest:
            return max(now, latest.this_update + self.period_of(level)) + 2 * RUN_EVERY
        return now + 2 * RUN_EVERY


def crl_name(issuer_label: str, scope: str, kind: CrlKind) -> str:
    """Return a CRL's file name in the repository: ``LABEL.crl``, ``LABEL-07.crl``, ``LABEL-delta.crl``."""
    shard = "" if scope == FULL else f"-{scope}"
    return f"{issuer_label}{shard}{'-delta' if kind is CrlKind.DELTA else ''}.crl"
