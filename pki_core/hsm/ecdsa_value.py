"""ECDSA-Sig-Value from what a token returns (RFC 3279 2.2.3 from PKCS#11 2.40, 2.3.1: r and s side by side)."""

from collections.abc import Sequence

# Tag and length of an INTEGER and of a SEQUENCE by content length, made once: joining is then two look-ups.
_INTEGER = tuple(bytes((0x02, length)) for length in range(128))
_POSITIVE_INTEGER = tuple(bytes((0x02, length + 1, 0x00)) for length in range(127))  # keeps a high first bit positive
_SEQUENCE = tuple(bytes((0x30, length)) if length < 128 else bytes((0x30, 0x81, length)) for length in range(256))  # noqa: PLR2004  # X.690 8.1.3


def encode_ecdsa_values(raw_signatures: Sequence[bytes]) -> list[bytes]:
    """Return the DER SEQUENCE of r and s for each raw signature (r and s of equal length)."""
    values: list[bytes] = []
    append = values.append
    integer, positive, sequence = _INTEGER, _POSITIVE_INTEGER, _SEQUENCE
    for raw in raw_signatures:
        half = len(raw) >> 1
        r = raw[:half]
        s = raw[half:]
        # X.690 8.3.2: the shortest form; one signature in 128 has a leading zero octet to drop (P-521: every second).
        if not r[0]:
            r = r.lstrip(b"\0") or b"\0"
        if not s[0]:
            s = s.lstrip(b"\0") or b"\0"
        r_der = (positive if r[0] & 0x80 else integer)[len(r)] + r
        s_der = (positive if s[0] & 0x80 else integer)[len(s)] + s
        append(sequence[len(r_der) + len(s_der)] + r_der + s_der)
    return values
