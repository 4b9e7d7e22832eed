"""CRLs as plain values: what a list covers, and what the store tells of one (RFC 5280 5)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

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


def crl_name(issuer_label: str, scope: str, kind: CrlKind) -> str:
    """Return a CRL's file name in the repository: ``LABEL.crl``, ``LABEL-07.crl``, ``LABEL-delta.crl``."""
    shard = "" if scope == FULL else f"-{scope}"
    return f"{issuer_label}{shard}{'-delta' if kind is CrlKind.DELTA else ''}.crl"
