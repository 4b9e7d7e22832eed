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
# Not public, whatever the Python at hand knows of them: its tables are as old as it is.
_NEVER_PUBLIC = (
    IPv6Network("fec0::/10"),  # RFC 3879, site-local
    IPv6Network("3fff::/20"),  # RFC 9637, documentation
    IPv6Network("5f00::/16"),  # RFC 9602, segment routing
    IPv6Network("::ffff:0:0:0/96"),  # RFC 2765, IPv4 addresses translated by SIIT
)
_ISATAP = 0x0000_5EFE  # RFC 5214 6.1: the first half of its interface identifiers, but for the bit "universal"
_NOT_UNIVERSAL = 0xFDFF_FFFF
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
    if any(address in network for network in _NEVER_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def _is_among(address: Address, allowed: Sequence[Network]) -> bool:
    return any(address in network for network in allowed)


def _carried(address: Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv6Address):
        for network, shift in _CARRIERS:
            if address in network:
                yield IPv4Address((int(address) >> shift) & _V4_BITS)
        if (int(address) >> 32) & _NOT_UNIVERSAL == _ISATAP:
            yield IPv4Address(int(address) & _V4_BITS)
