"""Issuers as plain values: what the store keeps of a CA certificate and its key."""

from dataclasses import dataclass
from datetime import datetime

from pki_core.model.profiles import Edition, Level
from pki_core.model.signer import KeyAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRecord:
    """One CA. ``certificate_der`` is empty until its certificate is recorded; until then it issues nothing."""

    id: int
    label: str
    branch: str
    edition: Edition
    level: Level
    algorithm: KeyAlgorithm
    parent_id: int | None
    key_label: str
    subject_der: bytes
    spki_der: bytes
    key_identifier: bytes
    certificate_der: bytes
    not_before: datetime | None
    not_after: datetime | None
