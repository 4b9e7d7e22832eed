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
class OutboundRequest:
    """One call."""

    url: str
    method: str = "GET"
    body: bytes = b""
    headers: Mapping[str, str]
    max_octets: int  # of the answer's body


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundAnswer:
    """What came back."""

    status: int
    body: bytes
