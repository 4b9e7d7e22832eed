"""Credentials as plain values: what a partner shows to prove that he is who he says."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pki_core.model.partners import Partner


class CredentialKind(StrEnum):
    """Kinds of credentials."""

    SECRET = "secret"  # noqa: S105  # the word, not one: 256 random bits, shown once, kept as SHA-256
    CERTIFICATE = "certificate"  # a TLS client certificate, known by its SHA-256
    CODE = "code"  # good for one enrolment


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One credential of a partner. The secret itself is stored nowhere."""

    id: int
    partner_id: str
    kind: CredentialKind
    sha256: str  # lower hex
    created_at: datetime
    not_after: datetime | None
    ended_at: datetime | None  # withdrawn, or used up


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a request shows, as it came; nothing of it is believed yet."""

    certificate_der: bytes | None = None
    user: str = ""
    secret: str | None = None  # with the user name; None = no Basic credentials
    token_partner: str | None = None  # the partner a verified token names


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, after everything he showed was checked."""

    partner: Partner
    certificate_der: bytes | None = None  # one of ours that is in force: the one being renewed, or the partner's own
    profile_name: str = ""  # of that certificate
    serial: str = ""
    is_own_leaf: bool = False  # that certificate is an ISO 15118 leaf: alone, it may renew itself and nothing else
    speaks_for_partner: bool = False  # a credential of the partner's own was shown, not only one of its devices
    code_id: int | None = None  # the one-time code this call uses up
