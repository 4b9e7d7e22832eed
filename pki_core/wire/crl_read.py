"""CRLs (RFC 5280 5.1) read back: frame and places strictly, extensions by another library than the one that wrote them.

The entries stay where they are; ``crl_scan`` reads them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asn1crypto import core
from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1_x509

from pki_core.model.errors import MalformedError
from pki_core.wire.unreadable import BY_ASN1CRYPTO

AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
CRL_NUMBER = "2.5.29.20"
DELTA_INDICATOR = "2.5.29.27"
ISSUING_DISTRIBUTION_POINT = "2.5.29.28"
FRESHEST_CRL = "2.5.29.46"

_SEQUENCE, _INTEGER, _BIT_STRING, _EXTENSIONS = 0x30, 0x02, 0x03, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_TIME_FORMS = {(_UTC_TIME, 13): "%y%m%d%H%M%SZ", (_GENERALIZED_TIME, 15): "%Y%m%d%H%M%SZ"}
_LENGTH_OCTETS = 5
_FRONT = 16_384  # no name and no extension of ours is nearly as long

Read = Callable[[int, int], bytes]  # (offset, octets)
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedCrl:
    """A CRL taken apart; nothing is judged here. Spans are (first octet, octets)."""

    version: int
    inner_algorithm_der: bytes
    outer_algorithm_der: bytes
    issuer_der: bytes
    this_update: tuple[int, datetime]  # tag and value
    next_update: tuple[int, datetime]
    tbs: Span
    entries: Span | None  # None = the field is absent
    critical: frozenset[str]
    key_identifier: bytes | None
    number: int | None
    base_number: int | None
    distribution_point: dict[str, Any] | None  # of the list itself, as plain values without what is default
    freshest_urls: tuple[str, ...]
    signature: bytes


class _Cursor:
    """Steps through DER; every length must be in its shortest form (X.690 10.1)."""

    def __init__(self, read: Read, at: int, end: int) -> None:
        self._read, self.at, self.end = read, at, end

    def peek(self) -> int:
        """Return the tag that comes next, 0 at the end."""
        return self._read(self.at, 1)[0] if self.at < self.end else 0

    def enter(self, tag: int) -> Span:
        """Step over one value and return the span of its content."""
        head = self._read(self.at, min(2 + _LENGTH_OCTETS, self.end - self.at))
        if len(head) < 2 or head[0] != tag:  # noqa: PLR2004  # tag and length
            raise MalformedError(f"tag {tag:#x} expected at octet {self.at} of the CRL")
        size, header = head[1], 2
        if size & 0x80:
            header += size & 0x7F
            size = int.from_bytes(head[2:header], "big")
            if header > len(head) or size < 0x80 or head[2] == 0:  # noqa: PLR2004  # X.690 10.1
                raise MalformedError(f"the length at octet {self.at} of the CRL is not DER")
        start = self.at + header
        if start + size > self.end:
            raise MalformedError(f"the value at octet {self.at} of the CRL is cut off")
        self.at = start + size
        return start, size

    def whole(self, tag: int) -> bytes:
        """Step over one value and return it with its header."""
        first = self.at
        self.enter(tag)
        return self._read(first, self.at - first)

    def time(self) -> tuple[int, datetime]:
        """Step over a Time (RFC 5280 5.1.2.4)."""
        tag = self.peek()
        text = self._read(*self.enter(tag))
        form = _TIME_FORMS.get((tag, len(text)))
        try:
            return tag, datetime.strptime(text.decode("ascii"), form or "").replace(tzinfo=UTC)
        except ValueError as error:
            raise MalformedError("a time of the CRL is not in the one form of RFC 5280 5.1.2.4") from error

    def finish(self) -> None:
        """Raise when something is left."""
        if self.at != self.end:
            raise MalformedError(f"something stands behind the last field at octet {self.at} of the CRL")


def decode_crl(read: Read, octets: int) -> DecodedCrl:
    """Take a CRL apart.

    Raises:
        MalformedError: not DER, or not the fields of a CertificateList.
    """
    outside = _Cursor(read, 0, octets)
    start, size = outside.enter(_SEQUENCE)
    outside.finish()
    signed = _Cursor(read, start, start + size)
    tbs_start, tbs_size = signed.enter(_SEQUENCE)
    tbs_end = tbs_start + tbs_size
    outer_algorithm_der = signed.whole(_SEQUENCE)
    bits = read(*signed.enter(_BIT_STRING))
    signed.finish()
    if bits[:1] != b"\0":
        raise MalformedError("the signature of the CRL is not whole octets")
    inside = _Cursor(read, tbs_start, tbs_end)
    version = int.from_bytes(read(*inside.enter(_INTEGER)), "big", signed=True)
    inner_algorithm_der, issuer_der = inside.whole(_SEQUENCE), inside.whole(_SEQUENCE)
    this_update, next_update = inside.time(), inside.time()
    entries = inside.enter(_SEQUENCE) if inside.peek() == _SEQUENCE else None
    extensions = inside.whole(_EXTENSIONS)
    inside.finish()
    return DecodedCrl(
        version=version,
        inner_algorithm_der=inner_algorithm_der,
        outer_algorithm_der=outer_algorithm_der,
        issuer_der=issuer_der,
        this_update=this_update,
        next_update=next_update,
        tbs=(start, tbs_end - start),
        entries=entries,
        signature=bits[1:],
        **_read_extensions(extensions),
    )


class _Extensions(core.SequenceOf):  # type: ignore[misc]  # asn1crypto is not typed
    _child_spec = asn1_crl.TBSCertListExtension
    explicit = (2, 0)


_NAMES = {
    "authority_key_identifier": AUTHORITY_KEY_IDENTIFIER,
    "crl_number": CRL_NUMBER,
    "delta_crl_indicator": DELTA_INDICATOR,
    "issuing_distribution_point": ISSUING_DISTRIBUTION_POINT,
    "freshest_crl": FRESHEST_CRL,
}


def _read_extensions(explicit_der: bytes) -> dict[str, Any]:
    try:
        listed = _Extensions.load(explicit_der, strict=True)
        ids = [extension["extn_id"].native for extension in listed]
        values = {extension["extn_id"].native: extension["extn_value"].parsed for extension in listed}
        critical = {extension["extn_id"].native for extension in listed if extension["critical"].native}
        is_der = listed.dump(force=True) == explicit_der
        if len(values) < len(ids) or not set(ids) <= set(_NAMES) or not is_der:
            raise MalformedError("an extension of the CRL stands twice, is not one of ours, or is not DER")
        return {
            "critical": frozenset(_NAMES[name] for name in critical),
            "key_identifier": _key_identifier(values.get("authority_key_identifier")),
            "number": _native(values.get("crl_number")),
            "base_number": _native(values.get("delta_crl_indicator")),
            "distribution_point": _point(values.get("issuing_distribution_point")),
            "freshest_urls": _urls(values.get("freshest_crl")),
        }
    except BY_ASN1CRYPTO as error:
        raise MalformedError("the extensions of the CRL do not decode") from error


def _native(value: core.Asn1Value | None) -> Any:  # noqa: ANN401  # asn1crypto is not typed
    return None if value is None else value.native


def _key_identifier(value: asn1_x509.AuthorityKeyIdentifier | None) -> bytes | None:
    if value is None:
        return None
    if len([part for part in value.native.values() if part is not None]) > 1:
        raise ValueError("names the issuer's certificate beside its key")
    return bytes(value["key_identifier"].native)


def _point(value: asn1_crl.IssuingDistributionPoint | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {name: part for name, part in value.native.items() if part not in (None, False)}


def _urls(value: asn1_x509.CRLDistributionPoints | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if any(point["reasons"].native is not None or point["crl_issuer"].native is not None for point in value):
        raise ValueError("a distribution point for some reasons or of another issuer")
    return tuple(name for point in value for name in point["distribution_point"].native)
