"""Calls to other people's servers as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundPolicy:
    """Where calls may go, and for how long."""

    allowed_networks: tuple[IPv4Network | IPv6Network, ...]  # of addresses that are not public
    connect_seconds: float
    total_seconds: float  # name, connection, TLS, request and answer together


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPolicy:
    """How much partners' requests may have us ask other people's CAs; all of one process."""

    at_once: int  # requests that wait for such answers
    of_one_asker: int  # of these, of one partner
    seconds: float  # all questions of one request together


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundRequest:
    """One call."""

    url: str
    method: str = "GET"
    body: bytes = b""
    headers: Mapping[str, str]
    max_octets: int  # of the answer's body
    seconds: float | None = None  # fewer than the policy's for the whole call


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundAnswer:
    """What came back."""

    status: int
    body: bytes
