"""OCSP responses (RFC 6960 4.2, profile of RFC 9919): what is known of certificates as DER.

A response names its responder by key, always says when the next one is due, and carries the responder's certificate
and no other. Elements are joined by hand: thousands a second are made of few and short parts.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from time import gmtime, strftime

from pki_core.model.ocsp import OcspStatus, StatusAnswer
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.wire.certificate import SIGNATURE_ALGORITHM_DER
from pki_core.wire.public_key import key_bits_of

_BASIC_OID = bytes.fromhex("06092b0601050507300101")
_NONCE_OID = bytes.fromhex("06092b0601050507300102")
_ARCHIVE_CUTOFF_OID = bytes.fromhex("06092b0601050507300106")
_HASH_OIDS = {
    "sha1": bytes.fromhex("06052b0e03021a"),
    "sha256": bytes.fromhex("0609608648016503040201"),
    "sha384": bytes.fromhex("0609608648016503040202"),
    "sha512": bytes.fromhex("0609608648016503040203"),
}
_NULL = b"\x05\x00"
_GOOD, _UNKNOWN = b"\x80\x00", b"\x82\x00"
_SEQUENCE, _INTEGER, _OCTET_STRING, _BIT_STRING, _ENUMERATED, _GENERALIZED_TIME = 0x30, 0x02, 0x04, 0x03, 0x0A, 0x18
_EXPLICIT_0, _EXPLICIT_1, _EXPLICIT_2 = 0xA0, 0xA1, 0xA2
_REVOKED = 0xA1
_SHORT = 0x80


def error_response(status: OcspStatus) -> bytes:
    """Return a response that is a status and nothing else (RFC 6960 4.2.1): 5 octets."""
    return bytes((_SEQUENCE, 3, _ENUMERATED, 1, status))


def response_data(
    responder_key_hash: bytes, produced_at: int, answers: Sequence[StatusAnswer], nonce: bytes | None = None
) -> bytes:
    """Return the ResponseData to be signed; ``responder_key_hash`` is the SHA-1 of the responder's public key bits."""
    content = (
        _responder_id(responder_key_hash)
        + _time(produced_at)
        + _tlv(_SEQUENCE, b"".join([_single(answer) for answer in answers]))
    )
    if nonce is not None:
        extension = _tlv(_SEQUENCE, _NONCE_OID + _tlv(_OCTET_STRING, _tlv(_OCTET_STRING, nonce)))
        content += _tlv(_EXPLICIT_1, _tlv(_SEQUENCE, extension))
    return _tlv(_SEQUENCE, content)


def signed_response(data_der: bytes, algorithm: KeyAlgorithm, signature: bytes, responder_der: bytes) -> bytes:
    """Join response data, signature and the responder's certificate to a successful response."""
    basic = _tlv(
        _SEQUENCE,
        data_der
        + SIGNATURE_ALGORITHM_DER[algorithm]
        + _tlv(_BIT_STRING, b"\0" + signature)
        + _certificates(responder_der),
    )
    wrapped = _tlv(_EXPLICIT_0, _tlv(_SEQUENCE, _BASIC_OID + _tlv(_OCTET_STRING, basic)))
    return _tlv(_SEQUENCE, bytes((_ENUMERATED, 1, OcspStatus.SUCCESSFUL)) + wrapped)


class CertificateIdForm:
    """CertIDs (RFC 6960 4.1.1) of one CA by one hash algorithm: only the serial differs."""

    def __init__(self, hash_algorithm: str, issuer_subject_der: bytes, issuer_spki_der: bytes) -> None:
        self.hash_algorithm = hash_algorithm
        # NULL parameters, as the clients in the field write them; one that leaves them out is answered live.
        algorithm = _tlv(_SEQUENCE, _HASH_OIDS[hash_algorithm] + _NULL)
        self._head = algorithm + b"".join(
            [
                _tlv(_OCTET_STRING, hashlib.new(hash_algorithm, octets, usedforsecurity=False).digest())
                for octets in (issuer_subject_der, key_bits_of(issuer_spki_der))
            ]
        )

    def der(self, serial: str) -> bytes:
        """Return the CertID of a serial, given as stored: positive, no leading zero octet."""
        octets = bytes.fromhex(serial)
        if octets[0] >= _SHORT:
            octets = b"\0" + octets
        return _tlv(_SEQUENCE, self._head + _tlv(_INTEGER, octets))


def _single(answer: StatusAnswer) -> bytes:
    content = (
        answer.certificate_id_der
        + _status(answer)
        + _time(answer.this_update)
        + _tlv(_EXPLICIT_0, _time(answer.next_update))
    )
    if answer.archive_cutoff is not None:  # RFC 6960 4.4.4
        extension = _tlv(_SEQUENCE, _ARCHIVE_CUTOFF_OID + _tlv(_OCTET_STRING, _time(answer.archive_cutoff)))
        content += _tlv(_EXPLICIT_1, _tlv(_SEQUENCE, extension))
    return _tlv(_SEQUENCE, content)


def _status(answer: StatusAnswer) -> bytes:
    record = answer.record
    if record is None:
        return _UNKNOWN
    if record.state is CertificateState.GOOD:
        return _GOOD
    if record.state not in {CertificateState.REVOKED, CertificateState.HOLD} or record.revoked_at is None:
        return _UNKNOWN  # drawn, burned, or half told: never good
    content = _time(min(record.revoked_at, answer.this_update))  # another machine's clock may be ahead of ours
    if record.reason:  # RFC 5280 5.3.1: unspecified (0) is left out
        content += _tlv(_EXPLICIT_0, bytes((_ENUMERATED, 1, record.reason)))
    return _tlv(_REVOKED, content)


@lru_cache(maxsize=64)
def _responder_id(key_hash: bytes) -> bytes:
    return _tlv(_EXPLICIT_2, _tlv(_OCTET_STRING, key_hash))


@lru_cache(maxsize=64)
def _certificates(responder_der: bytes) -> bytes:
    return _tlv(_EXPLICIT_0, _tlv(_SEQUENCE, responder_der))


@lru_cache(maxsize=4096)
def _time(seconds: int) -> bytes:
    """Return a GeneralizedTime (RFC 5280 4.1.2.5.2): whole seconds, Z."""
    return _tlv(_GENERALIZED_TIME, strftime("%Y%m%d%H%M%SZ", gmtime(seconds)).encode())


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < _SHORT:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _SHORT | len(octets))) + octets + content
