"""OCSP as plain values (RFC 6960): what is asked, what is known of a certificate, what is answered.

Times are whole seconds since 1970 UTC: the answering path compares and prints them many thousand times a second.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from pki_core.model.states import CertificateState

HASH_ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")


class OcspStatus(IntEnum):
    """OCSPResponseStatus (RFC 6960 4.2.1)."""

    SUCCESSFUL = 0
    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6


class CertificateId(NamedTuple):
    """One CertID (RFC 6960 4.1.1) with its complete bytes, which the answer repeats."""

    der: bytes
    hash_algorithm: str  # of HASH_ALGORITHMS; "" = one we do not know
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: str  # as stored; "" = no certificate can have it: negative, or longer than 20 octets


class OcspRequest(NamedTuple):
    """What a request asks; names and signatures of requestors are not read."""

    certificate_ids: tuple[CertificateId, ...]
    nonce: bytes | None


class StatusRecord(NamedTuple):
    """What the store knows of a serial under its issuer."""

    serial: str
    state: CertificateState
    not_after: int
    revoked_at: int | None
    reason: int | None


class StatusAnswer(NamedTuple):
    """One SingleResponse (RFC 6960 4.2.1): ``record`` None = unknown."""

    certificate_id_der: bytes
    record: StatusRecord | None
    this_update: int
    next_update: int
    archive_cutoff: int | None


class StatusChange(NamedTuple):
    """A line of the revocation feed: revoked, held or released."""

    number: int
    issuer_id: int
    serial: str
    changed_at: int
    status: int
    released_at: int | None


class StoredAnswer(NamedTuple):
    """A response signed ahead, for one certificate and one hash algorithm of its CertID."""

    serial: str
    hash_algorithm: str
    this_update: int
    next_update: int
    response_der: bytes


class CaStanding(NamedTuple):
    """A CA's own certificate: which serial of which issuer it is, and how that stands."""

    ca_id: int
    issuer_id: int
    serial: str
    state: CertificateState


class ResponderRecord(NamedTuple):
    """One delegated responder (RFC 6960 4.2.2.2) and how its certificate stands."""

    label: str
    issuer_id: int
    key_label: str
    serial: str
    certificate_der: bytes
    not_before: int
    not_after: int
    state: CertificateState


@dataclass(frozen=True, slots=True, kw_only=True)
class OcspPolicy:
    """How an environment answers; durations are seconds."""

    most_certificates: int  # CertIDs in one request
    leaf_seconds: int  # from thisUpdate to nextUpdate, for a leaf
    ca_seconds: int  # the same for a CA's own certificate
    archive_seconds: int  # how long an expired certificate is still answered for
    clock_tolerance_seconds: int
    cache_entries: int
    most_looking: int  # answers being made at once that no memory has, from their first look-up on
    most_live: int  # signatures being made or waited for at once
    hash_algorithms: tuple[str, ...]  # of CertIDs answered for ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response with what HTTP needs to know of it (RFC 9919 6)."""

    status: OcspStatus
    der: bytes
    cacheable: bool = False  # by anybody, until next_update: authoritative, and for no single client
    this_update: int = 0
    next_update: int = 0
    etag: str = ""  # SHA-256 of the response, lower hex
