"""Ed448 public keys from their secret scalars, by the group law of RFC 8032 5.2.4 alone: slow, and independent."""

PRIME = 2**448 - 2**224 - 1
D = -39081
BASE = (
    224580040295924300187604334099896036246789641632564134246125461686950415467406032909029192869357953282578032075146446173674602635247710,
    298819210078481492676017930443930673437544040154080242095928241372331506189835876003536878655418784733982303233503462500531545062832660,
)


def added(one, other):
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % PRIME
    x = (x1 * y2 + y1 * x2) * pow(1 + product, -1, PRIME) % PRIME
    y = (y1 * y2 - x1 * x2) * pow(1 - product, -1, PRIME) % PRIME
    return x, y


def public_octets(scalar):
    """The encoded point that a scalar makes of the base point."""
    found, step = (0, 1), BASE
    while scalar:
        if scalar & 1:
            found = added(found, step)
        step, scalar = added(step, step), scalar >> 1
    x, y = found
    return (y | (x & 1) << 455).to_bytes(57, "little")
