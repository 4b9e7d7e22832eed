"""What a Host field may say (RFC 9110 7.2, RFC 9112 3.2): a host as RFC 3986 3.2.2 writes it, and perhaps a port."""

import re
from ipaddress import IPv6Address
from typing import Final

_NAME: Final = r"[\w.~!$&'()*+;=%-]"  # unreserved, sub-delims and percent signs
_HOST: Final = re.compile(
    rf"(?:\[(?:v[0-9a-f]+\.(?:{_NAME}|[,:])+|(?P<ipv6>[0-9a-f:.]+))\]|{_NAME}+)(?::[0-9]*)?", re.ASCII | re.IGNORECASE
)
_NO_ESCAPE: Final = re.compile(r"%(?![0-9a-f]{2})", re.ASCII | re.IGNORECASE)


def is_host_field(value: str) -> bool:
    """Tell whether a value is that of one Host line, in a request for an http URI (RFC 9110 4.2.1: never empty).

    A comma, which RFC 3986 allows in a name and no name of the DNS has, is what granian joins several lines with.
    """
    found = _HOST.fullmatch(value)
    if found is None or _NO_ESCAPE.search(value):
        return False
    if found["ipv6"] is None:
        return True
    try:
        IPv6Address(found["ipv6"])
    except ValueError:
        return False
    return True
