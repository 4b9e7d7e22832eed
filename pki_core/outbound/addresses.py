"""Which addresses a call may go to: public ones (RFC 6890), and what the settings allow besides.

An IPv6 address that carries an IPv4 address is judged by both: a gateway on the way would deliver to the inner one.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_CARRIERS = (
    (IPv6Network("::ffff:0:0/96"), 0),  # RFC 4291 2.5.5.2, mapped
    (IPv6Network("::/96"), 0),  # RFC 4291 2.5.5.1, compatible
    (IPv6Network("64:ff9b::/96"), 0),  # RFC 6052, NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # RFC 8215
    (IPv6Network("2002::/16"), 80),  # RFC 3056, 6to4
)
_V4_BITS = 0xFFFFFFFF


def is_allowed(text: str, allowed: Sequence[Network]) -> bool:
    """Tell whether a call may go to an address; text that is none may not."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if any(address in network for network in allowed):
        return True
    if not _is_public(address):
        return False
    return all(_is_public(inner) or _is_among(inner, allowed) for inner in _carried(address))


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast


def _is_among(address: Address, allowed: Sequence[Network]) -> bool:
    return any(address in network for network in allowed)


def _carried(address: Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv6Address):
        for network, shift in _CARRIERS:
            if address in network:
                yield IPv4Address((int(address) >> shift) & _V4_BITS)
