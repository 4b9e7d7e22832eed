"""The status of other people's certificates as plain values."""

from dataclasses import dataclass
from datetime import datetime

from pki_core.model.pools import ForeignStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """What was found out about one certificate."""

    standing: ForeignStatus
    source: str  # the address that told; "" = none did
    this_update: datetime | None  # when the CA knew it
    good_until: datetime | None  # when it has to be asked again
    revoked_at: datetime | None = None
    is_told_nowhere: bool = False  # the certificate names neither a responder nor a CRL
    is_untellable: bool = False  # it names nothing that may be asked: asking again is of no use
    reason: str = ""  # of the revocation, as RFC 5280 5.3.1 spells it; or why nobody told


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSources:
    """Where a certificate says its status is told."""

    ocsp_urls: tuple[str, ...]
    crl_urls: tuple[str, ...]
