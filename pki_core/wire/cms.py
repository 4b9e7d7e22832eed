"""CMS certs-only messages (RFC 5652 5, RFC 5272 4.1 Simple PKI Response): certificates in the order they are given.

The certificates are a SET OF, which DER sorts; clients take the first one for the leaf and the last one for the root.
So the SET is written by hand, in the given order: BER, as every reader of CMS accepts and real V2G gateways send.
"""

from collections.abc import Sequence

_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_DATA = bytes.fromhex("06092a864886f70d010701")
_VERSION_1 = b"\x02\x01\x01"  # RFC 5652 5.1: no attribute certificates, no signers, id-data
_EMPTY_SET = b"\x31\x00"
_SHORT_FORM = 0x80


def tlv(tag: int, content: bytes) -> bytes:
    """Return a DER value with its tag and length (X.690 8.1.3)."""
    length = len(content)
    if length < _SHORT_FORM:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _SHORT_FORM | len(octets))) + octets + content


def certs_only(certificates_der: Sequence[bytes]) -> bytes:
    """Return a degenerate SignedData with these certificates, in this order, and nothing else."""
    signed_data = tlv(
        0x30,
        _VERSION_1 + _EMPTY_SET + tlv(0x30, _DATA) + tlv(0xA0, b"".join(certificates_der)) + _EMPTY_SET,
    )
    return tlv(0x30, _SIGNED_DATA + tlv(0xA0, signed_data))
