"""Revocation as plain values: reasons (RFC 5280 5.3.1) and the shard of a CRL a certificate belongs to."""

from enum import IntEnum

from pki_core.model.errors import MalformedError


class Reason(IntEnum):
    """CRLReason. ``UNSPECIFIED`` is left out of CRLs and OCSP answers (RFC 5280 5.3.1); 7 is not used."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    REMOVE_FROM_CRL = 8  # in delta CRLs only
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10

    @property
    def tells_of_key(self) -> bool:
        """Tell whether somebody else may hold the private key: then it is certified never again."""
        return self in COMPROMISES


COMPROMISES = frozenset({Reason.KEY_COMPROMISE, Reason.CA_COMPROMISE, Reason.AA_COMPROMISE})


# What a partner may say of its own certificates (OPNC revokeCertificate).
PARTNER_REASONS = {
    "unspecified": Reason.UNSPECIFIED,
    "keyCompromise": Reason.KEY_COMPROMISE,
    "affiliationChanged": Reason.AFFILIATION_CHANGED,
    "superseded": Reason.SUPERSEDED,
    "cessationOfOperation": Reason.CESSATION_OF_OPERATION,
    "privilegeWithdrawn": Reason.PRIVILEGE_WITHDRAWN,
    "aACompromise": Reason.AA_COMPROMISE,
}
REASONS = {
    **PARTNER_REASONS,
    "cACompromise": Reason.CA_COMPROMISE,
    "certificateHold": Reason.CERTIFICATE_HOLD,
}
_NAMES = {reason: name for name, reason in REASONS.items()}


def parse_reason(name: str) -> Reason:
    """Return the reason of a name as RFC 5280 writes it; MalformedError when there is none."""
    if name not in REASONS:
        raise MalformedError(f"{name!r} is not a reason; there are {', '.join(REASONS)}")
    return REASONS[name]


def reason_name(reason: Reason) -> str:
    """Return a reason as RFC 5280 writes it."""
    return _NAMES[reason]


def shard_of(serial: int, shards: int) -> int:
    """Return which of an issuer's ``shards`` partial CRLs lists a serial: its last octet decides, it is random."""
    return (serial & 0xFF) % shards
