"""Fields of the pools' requests and answers: identifiers, certificates in base64 or PEM, namespaces, choices.

Patterns are quoted as clients of OPCP and OPNC know them; what is accepted is what the model accepts.
"""

import base64
from collections.abc import Mapping
from typing import Any

from flask import request

from pki_core.model.errors import MalformedError
from pki_core.model.identifiers import Emaid, Pcid
from pki_core.model.pools import PCID_MALFORMED, Namespace
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.pem import base64_to_der, pem_to_der
from webapp.pool_gate import Dialect

EMAID_PATTERNS = {
    Dialect.OPCP: r"^[A-Za-z]{2}[-]?\w{3}[-]?\w{9}[-]?(\w{1})?$",
    Dialect.OPNC: r"^[A-Za-z]{2}[-]?\w{3}[-]?\w{9,28}[-]?(\w{1})?$",
}
_MAX_CERTIFICATE = 8192  # characters: PEM with its armour
_TRUTH = {"true": True, "false": False, "": False}


def pcid_of(text: str) -> str:
    """Return a PCID, of either edition; MalformedError in the words clients know."""
    try:
        return Pcid.parse(text, edition20=True).as_issued
    except MalformedError:
        raise MalformedError(PCID_MALFORMED) from None


def emaid_of(text: str, dialect: Dialect) -> str:
    """Return an EMAID without separators; MalformedError in the words clients know."""
    try:
        return Emaid.parse(text).as_issued
    except MalformedError:
        raise MalformedError(f'emaid : must match "{EMAID_PATTERNS[dialect]}"') from None


def text_of(body: Mapping[str, Any], *names: str, limit: int = 256, needed: bool = False) -> str:
    """Return the first of some members as a text, "" when there is none.

    Raises:
        MalformedError: it is no text, is too long, or is needed and missing.
    """
    value = next((body[name] for name in names if body.get(name) is not None), "")
    if not isinstance(value, str) or len(value) > limit:
        raise MalformedError(f"{names[0]} is a text of at most {limit} characters")
    if needed and not value:
        raise MalformedError(f"{names[0]} is missing")
    return value


def texts_of(body: Mapping[str, Any], *names: str, most: int, limit: int) -> tuple[str, ...]:
    """Return the first of some members as a list of texts; a single text is a list of one, a missing one has none.

    Raises:
        MalformedError: it is another thing, has more members than ``most``, or one longer than ``limit``.
    """
    value: Any = next((body[name] for name in names if body.get(name) is not None), [])
    texts = [value] if isinstance(value, str) else value
    is_list = isinstance(texts, list) and len(texts) <= most
    if not is_list or not all(isinstance(one, str) and len(one) <= limit for one in texts):
        raise MalformedError(f"{names[0]} is a list of at most {most} texts of at most {limit} characters")
    return tuple(texts)


def certificate_of(body: Mapping[str, Any], *names: str, shown: str, needed: bool = True) -> bytes:
    """Return a certificate, sent as base64 of its DER or as PEM; b"" when it is not there and need not be.

    Raises:
        MalformedError: names the field as ``shown``, in the words clients know.
    """
    try:
        text = text_of(body, *names, limit=_MAX_CERTIFICATE, needed=needed)
        if "-----BEGIN" in text:
            return pem_to_der(text, ("CERTIFICATE",))
        return base64_to_der("".join(text.split()))
    except MalformedError:
        raise MalformedError(f"Invalid certificate format on {shown}") from None


def namespace_of(urn: str) -> Namespace:
    """Return the message definition a request is for; none said = ISO 15118-2."""
    return Namespace.of_urn(urn) if urn else Namespace.ISO_2_2013


def algorithm_of(name: str) -> KeyAlgorithm | None:
    """Return the algorithm a request chooses; None = any."""
    try:
        return KeyAlgorithm(name.lower()) if name else None
    except ValueError:
        raise MalformedError(f"signatureAlgorithm is one of {', '.join(KeyAlgorithm)}") from None


def flag_of(name: str, text: str) -> bool:
    """Return true or false; MalformedError for another word."""
    value = _TRUTH.get(text.strip().lower())
    if value is None:
        raise MalformedError(f"{name} is true or false")
    return value


def query_text(name: str) -> str:
    """Return a parameter of the query, "" when there is none; MalformedError when it stands there twice."""
    values = request.args.getlist(name)
    if len(values) > 1:
        raise MalformedError(f"{name} stands twice")
    return values[0] if values else ""


def base64_of(octets: bytes) -> str:
    """Return octets in base64 on one line (RFC 4648 4)."""
    return base64.b64encode(octets).decode("ascii")


def with_colons(octets: bytes) -> str:
    """Return octets as OPCP writes key identifiers: pairs of hexadecimal digits with colons between them."""
    return octets.hex(":")
