"""OCSP requests (RFC 6960 4.1, nonces by RFC 9654): strict DER to what is asked.

Walked by hand, element by element: every length is held against what is there, and the bytes of a CertID come out
whole, to be repeated in the answer. Parts that change no answer (names and signatures of requestors) are stepped over.
"""

from functools import lru_cache
from typing import NamedTuple

from pki_core.model.errors import MalformedError
from pki_core.model.limits import SERIAL_OCTETS
from pki_core.model.ocsp import CertificateId, OcspRequest

_BOOLEAN, _INTEGER, _OCTET_STRING, _OID, _SEQUENCE = 0x01, 0x02, 0x04, 0x06, 0x30
_VERSION, _REQUESTOR, _REQUEST_EXTENSIONS = 0xA0, 0xA1, 0xA2
_SIGNATURE = _SINGLE_EXTENSIONS = 0xA0
_TRUE = b"\xff"
_LONG_FORM, _MOST_LENGTH_OCTETS, _HIGH_TAG = 0x80, 3, 0x1F
_NULL = b"\x05\x00"

# DER of the OID's content -> (our name, octets of a hash). RFC 9919 4.1; OCPP names the last three.
_HASHES = {
    bytes.fromhex("2b0e03021a"): ("sha1", 20),
    bytes.fromhex("608648016503040201"): ("sha256", 32),
    bytes.fromhex("608648016503040202"): ("sha384", 48),
    bytes.fromhex("608648016503040203"): ("sha512", 64),
}
_NONCE = bytes.fromhex("2b0601050507300102")
_ACCEPTABLE_RESPONSES = bytes.fromhex("2b0601050507300104")
_PREFERRED_ALGORITHMS = bytes.fromhex("2b0601050507300108")  # we sign with the one key we have
_BASIC_RESPONSE = bytes.fromhex("06092b0601050507300101")
_KNOWN_EXTENSIONS = frozenset({_NONCE, _ACCEPTABLE_RESPONSES, _PREFERRED_ALGORITHMS})
_MOST_EXTENSIONS = 16
_LONGEST_KEPT = 192  # octets: a CertID by SHA-512 has 170
_MOST_NONCE = 128  # RFC 9654 2.1: 1 to 128 octets; more or none is malformed


class _Element(NamedTuple):
    """One element: where it starts, its content starts, and it ends."""

    tag: int
    start: int
    content: int
    end: int


def parse_request(request_der: bytes, most_certificates: int) -> OcspRequest:
    """Read a request.

    Raises:
        MalformedError: not strict DER of RFC 6960 4.1, no CertID or more than ``most_certificates``, hashes of other
            lengths than their algorithm's, a nonce outside RFC 9654, or a critical extension we do not know.
    """
    outer = _one(request_der, 0, len(request_der), _SEQUENCE)
    if outer.end != len(request_der):
        raise MalformedError("octets follow the request")
    parts = _children(request_der, outer, 2)
    if not parts or parts[0].tag != _SEQUENCE or any(element.tag != _SIGNATURE for element in parts[1:]):
        raise MalformedError("an OCSPRequest is a TBSRequest and perhaps a signature")
    elements = _children(request_der, parts[0], 4)
    # RFC 6960 4.1.1: version 1 is the default, which DER leaves out; there is no other.
    if elements and elements[0].tag == _REQUESTOR:
        elements = elements[1:]
    if not elements or elements[0].tag != _SEQUENCE:
        raise MalformedError("a TBSRequest of version 1 has a list of requests")
    requests = _children(request_der, elements[0], most_certificates)
    if not requests:
        raise MalformedError("the request asks for nothing")
    nonce = _read_tail(request_der, elements[1:])
    return OcspRequest(tuple([_read_one(request_der, one) for one in requests]), nonce)


def _read_tail(der: bytes, elements: list[_Element]) -> bytes | None:
    """Read what follows the requests; returns the nonce."""
    if not elements:
        return None
    if len(elements) > 1 or elements[0].tag != _REQUEST_EXTENSIONS:
        raise MalformedError("only extensions follow the requests")
    nonce = None
    for oid, value in _extensions(der, elements[0], _KNOWN_EXTENSIONS):
        if oid == _NONCE:
            nonce = _read_nonce(value)
        elif oid == _ACCEPTABLE_RESPONSES:
            _check_acceptable(value)
    return nonce


def _read_one(der: bytes, request: _Element) -> CertificateId:
    """Read one Request: a CertID and perhaps extensions, of which we know none."""
    if request.tag != _SEQUENCE:
        raise MalformedError("a Request is a sequence")
    parts = _children(der, request, 2)
    if not parts or parts[0].tag != _SEQUENCE:
        raise MalformedError("a Request starts with a CertID")
    if len(parts) > 1:
        if parts[1].tag != _SINGLE_EXTENSIONS:
            raise MalformedError("only extensions follow a CertID")
        _extensions(der, parts[1], frozenset())
    certificate_id_der = der[parts[0].start : parts[0].end]
    if len(certificate_id_der) <= _LONGEST_KEPT:
        return _kept_certificate_id(certificate_id_der)
    return _read_certificate_id(certificate_id_der)


def _read_certificate_id(der: bytes) -> CertificateId:
    fields = _children(der, _one(der, 0, len(der), _SEQUENCE), 4)
    if [field.tag for field in fields] != [_SEQUENCE, _OCTET_STRING, _OCTET_STRING, _INTEGER]:
        raise MalformedError("a CertID is an algorithm, two hashes and a serial number")
    algorithm, name, key, serial = fields
    oid = _one(der, algorithm.content, algorithm.end, _OID)
    hash_algorithm, octets = _HASHES.get(der[oid.content : oid.end], ("", 0))
    if not hash_algorithm and not _is_oid(der[oid.content : oid.end]):
        raise MalformedError("the hash algorithm is no OID")
    if hash_algorithm and (
        der[oid.end : algorithm.end] not in {b"", _NULL}
        or name.end - name.content != octets
        or key.end - key.content != octets
    ):
        raise MalformedError(f"the hashes of a CertID are not those of {hash_algorithm}")
    return CertificateId(
        der=der,
        hash_algorithm=hash_algorithm,
        issuer_name_hash=der[name.content : name.end],
        issuer_key_hash=der[key.content : key.end],
        serial=_serial(der[serial.content : serial.end]),
    )


# Clients ask about the same certificates again, with another nonce each time.
_kept_certificate_id = lru_cache(maxsize=4096)(_read_certificate_id)


def _serial(octets: bytes) -> str:
    _check_integer(octets)
    value = octets[1:] if octets[0] == 0 and len(octets) > 1 else octets
    if octets[0] >= 0x80 or len(octets) > SERIAL_OCTETS:  # noqa: PLR2004  # the sign bit
        return ""
    return value.hex()


def _check_integer(octets: bytes) -> None:
    if not octets or (len(octets) > 1 and octets[0] in {0, 0xFF} and (octets[0] ^ octets[1]) < 0x80):  # noqa: PLR2004
        raise MalformedError("an INTEGER has the fewest octets that hold it")


def _is_oid(content: bytes) -> bool:
    """Tell whether octets are an OID's content: complete, and no part of it with leading zeros (X.690 8.19)."""
    if not content or content[-1] >= _LONG_FORM:
        return False
    starts = [0, *(place + 1 for place, octet in enumerate(content[:-1]) if octet < _LONG_FORM)]
    return all(content[place] != _LONG_FORM for place in starts)


def _read_nonce(value: bytes) -> bytes:
    inner = _one(value, 0, len(value), _OCTET_STRING)  # RFC 9654 2.1: an OCTET STRING in the OCTET STRING
    nonce = value[inner.content : inner.end]
    if inner.end != len(value) or not 0 < len(nonce) <= _MOST_NONCE:
        raise MalformedError(f"a nonce has 1 to {_MOST_NONCE} octets")
    return nonce


def _check_acceptable(value: bytes) -> None:
    """RFC 6960 4.4.3: a list of response types. Ours is the basic one."""
    outer = _one(value, 0, len(value), _SEQUENCE)
    oids = [value[oid.start : oid.end] for oid in _children(value, outer, _MOST_EXTENSIONS)]
    if outer.end != len(value) or _BASIC_RESPONSE not in oids:
        raise MalformedError("basic responses are not acceptable to the requestor, and there are no others")


def _extensions(der: bytes, wrapper: _Element, known: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (OID content, value) of extensions inside their explicit tag."""
    inner = _one(der, wrapper.content, wrapper.end, _SEQUENCE)
    listed = _children(der, inner, _MOST_EXTENSIONS)
    if inner.end != wrapper.end or not listed:  # RFC 5280 4.1: one or more
        raise MalformedError("extensions are one list")
    found: dict[bytes, bytes] = {}
    for extension in listed:
        oid, value = _read_extension(der, extension, known)
        if oid in found:
            raise MalformedError("an extension stands there twice")
        found[oid] = value
    return list(found.items())


def _read_extension(der: bytes, extension: _Element, known: frozenset[bytes]) -> tuple[bytes, bytes]:
    parts = _children(der, extension, 3) if extension.tag == _SEQUENCE else []
    tags = [part.tag for part in parts]
    if tags not in ([_OID, _OCTET_STRING], [_OID, _BOOLEAN, _OCTET_STRING]):
        raise MalformedError("an extension is an OID, perhaps criticality, and a value")
    octets = [der[part.content : part.end] for part in parts]
    is_oid = octets[0] in _KNOWN_EXTENSIONS or _is_oid(octets[0])
    if not is_oid or (len(octets) > 2 and octets[1] != _TRUE):  # noqa: PLR2004  # DER leaves FALSE out
        raise MalformedError("an extension is not DER")
    if len(octets) > 2 and octets[0] not in known:  # noqa: PLR2004
        raise MalformedError("a critical extension is not known here")  # RFC 5280 4.2
    return octets[0], octets[-1]


def _children(der: bytes, parent: _Element, most: int) -> list[_Element]:
    """Return the elements inside another one, which they fill."""
    found: list[_Element] = []
    at = parent.content
    while at < parent.end:
        if len(found) == most:
            raise MalformedError(f"more than {most} elements where at most that many belong")
        element = _read(der, at, parent.end)
        found.append(element)
        at = element.end
    return found


def _one(der: bytes, at: int, end: int, tag: int) -> _Element:
    element = _read(der, at, end)
    if element.tag != tag:
        raise MalformedError(f"an element has tag {element.tag:#04x} and not {tag:#04x}")
    return element


def _read(der: bytes, at: int, end: int) -> _Element:
    """Read the header at a place; the content must end before ``end``. X.690 10.1: the shortest definite length."""
    if end - at < 2:  # noqa: PLR2004  # a tag and a length
        raise MalformedError("an element is cut off")
    tag, length = der[at], der[at + 1]
    content = at + 2
    if length >= _LONG_FORM:
        octets = length - _LONG_FORM
        content += octets
        if not 0 < octets <= _MOST_LENGTH_OCTETS or content > end:
            raise MalformedError("a length is indefinite, too long or cut off")
        length = int.from_bytes(der[at + 2 : content], "big")
        if length < _LONG_FORM or der[at + 2] == 0:
            raise MalformedError("a length has more octets than it needs")
    if tag & _HIGH_TAG == _HIGH_TAG or content + length > end:
        raise MalformedError("an element is longer than what holds it")
    return _Element(tag, at, content, content + length)
