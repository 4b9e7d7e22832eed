"""Signed tokens on the wire (RFC 7515 3.1, RFC 7518 3.4): what is signed, the compact form, public keys as JWK."""

import base64
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pki_core.model.errors import InvariantError

_POINT = 65  # 04, x, y: an uncompressed P-256 point ends the SubjectPublicKeyInfo (RFC 5480 2.2)
_SCALAR = 32
_UNCOMPRESSED = 4


def signing_input(key_id: str, claims: Mapping[str, object]) -> bytes:
    """Return header and claims of an ES256 token as they are signed."""
    header = {"alg": "ES256", "typ": "JWT", "kid": key_id}
    return b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))


def compact(signed: bytes, signature: bytes) -> str:
    """Return a token; ``signature`` is an ECDSA-Sig-Value, which JWS writes as r and s of 32 octets each."""
    r, s = decode_dss_signature(signature)
    raw = r.to_bytes(_SCALAR, "big") + s.to_bytes(_SCALAR, "big")
    return (signed + b"." + _base64url(raw)).decode("ascii")


def jwk_of(key_id: str, spki_der: bytes) -> dict[str, str]:
    """Return a P-256 public key as JWK (RFC 7517 4, RFC 7518 6.2)."""
    point = spki_der[-_POINT:]
    if len(point) != _POINT or point[0] != _UNCOMPRESSED:
        raise InvariantError(f"the key {key_id!r} is not a P-256 key")
    x, y = point[1 : 1 + _SCALAR], point[1 + _SCALAR :]
    encoded = {"x": _base64url(x).decode(), "y": _base64url(y).decode()}
    return {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key_id, **encoded}


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
