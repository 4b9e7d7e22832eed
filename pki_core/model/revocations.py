"""Revocation as plain values: reasons (RFC 5280 5.3.1) and the shard of a CRL a certificate belongs to."""

from enum import IntEnum


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


def shard_of(serial: int, shards: int) -> int:
    """Return which of an issuer's ``shards`` partial CRLs lists a serial: its last octet decides, it is random."""
    return (serial & 0xFF) % shards
