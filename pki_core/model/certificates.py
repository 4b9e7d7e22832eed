"""Certificates as plain values: what the store tells of one, and serial numbers in print."""

from dataclasses import dataclass
from datetime import datetime

from pki_core.model.errors import MalformedError
from pki_core.model.states import CertificateState

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """One certificate in the store."""

    serial: str
    issuer_label: str
    common_name: str
    partner_id: str | None
    profile_name: str
    profile_hash: str
    state: CertificateState
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    revoked_at: datetime | None
    reason: int | None
    certificate_der: bytes


def serial_text(serial: int) -> str:
    """Return a serial number in lower hex, two digits an octet: the form of SQL, results and logs."""
    return serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big").hex()


def parse_serial(text: str) -> str:
    """Bring a serial number as people paste it (colons, blanks, capitals, 0x, no leading zero) to its stored form.

    Raises:
        MalformedError: not hexadecimal, or longer than the 20 octets of RFC 5280 4.1.2.2.
    """
    digits = text.strip().lower().removeprefix("0x").replace(":", "").replace(" ", "")
    if not digits or not _HEX.issuperset(digits):
        raise MalformedError(f"{text!r} is not a serial number in hexadecimal")
    digits = digits.lstrip("0") or "0"
    digits = digits.zfill(len(digits) + len(digits) % 2)
    if len(digits) > 40:  # noqa: PLR2004  # two digits for each of 20 octets
        raise MalformedError("a serial number has at most 20 octets")
    return digits
