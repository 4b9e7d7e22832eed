"""Batches as plain values: upload, item, chunk, verdict."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pki_core.model.states import BatchState


class BatchKind(StrEnum):
    """What the rows of a batch are."""

    CSR = "csr"  # certificates for keys that somebody else made
    CONTRACT = "contract"  # contract data with keys that we make


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """One uploaded file and the profile version it is pinned to."""

    number: int
    id: str
    partner_id: str
    profile_id: int
    profile_name: str
    profile_hash: str
    kind: BatchKind
    issuer_id: int
    issuer_label: str
    source_name: str
    source_sha256: str
    state: BatchState
    runner: str
    total: int
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """Progress of a batch; reserved rows are pending, quarantined ones refused."""

    total: int
    issued: int
    refused: int

    @property
    def pending(self) -> int:
        """Rows without a verdict."""
        return self.total - self.issued - self.refused


class BatchItem(NamedTuple):
    """One row of the upload."""

    seq: int
    row_id: str
    csr_der: bytes
    expected_identifier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A slice of a batch that one runner works on under a lease."""

    batch_number: int
    first_seq: int
    last_seq: int
    runner: str
    reservation: int | None
    attempts: int
    issued: int
    refused: int


class Verdict(NamedTuple):
    """The one verdict of a row; ``certificate_id`` is None for a refused row."""

    seq: int
    certificate_id: int | None
    code: str
    message: str
    common_name: str


class BatchResult(NamedTuple):
    """A row with its verdict, as it goes into the result bundle."""

    seq: int
    row_id: str
    code: str
    message: str
    common_name: str
    serial: str
    not_after: datetime | None
    certificate_der: bytes
