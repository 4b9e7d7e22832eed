"""Access tokens as plain values (RFC 6749, RFC 7519): what is asked for, what is granted, which keys sign."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SCOPE_OF_ISSUING = "pkigateway"  # EST and batches, in the words of existing gateways


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPolicy:
    """How an environment grants tokens."""

    issuer: str
    audiences: tuple[str, ...]  # the first one counts for clients that name none
    lifetime: timedelta
    key_life: timedelta
    roles: Mapping[str, tuple[str, ...]]  # a partner's role -> the words in the claim that clients read
    scopes: Mapping[str, tuple[str, ...]]  # a partner's role -> the services it may use


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """One client credentials grant (RFC 6749 4.4.2), as it came."""

    client_id: str
    client_secret: str = field(repr=False)
    audience: str = ""  # "" = the one of this service
    scope: str = ""  # "" = everything the client may have
    address: str = ""  # where it comes from, for counting failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A token and what RFC 6749 5.1 tells about it."""

    access_token: str = field(repr=False)
    scope: str
    expires_in: int  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A key that signs tokens. It is published before it signs, and until what it signed has expired."""

    number: int
    key_label: str  # in the key store, and the "kid" of its tokens
    spki_der: bytes
    signs_from: datetime
    ended_at: datetime | None  # withdrawn: nothing it signed counts any more
