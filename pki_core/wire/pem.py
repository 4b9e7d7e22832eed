"""PEM: textual encodings of certificates and requests (RFC 7468)."""

import binascii
import struct
from collections.abc import Collection
from functools import lru_cache
from typing import Final

from pki_core.model.errors import SHOWN_LIMIT, MalformedError

CSR_LABELS: Final = ("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")  # the second: RFC 7468 7, old software

_LINE: Final = 64  # RFC 7468 2: generators wrap at exactly 64 characters
_BEGIN: Final = "-----BEGIN "
_DASHES: Final = "-----"


def certificate_pem(der: bytes) -> str:
    """Return a certificate as PEM, with a line feed after each line."""
    text = binascii.b2a_base64(der, newline=False)
    body = b"\n".join(_lines(len(text)).unpack(text))
    return (b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n").decode("ascii")


@lru_cache(maxsize=512)  # certificates of a profile have a handful of lengths
def _lines(length: int) -> struct.Struct:
    """Return what cuts that many characters into lines: 1.5 us a certificate, slices in a loop take 2.5."""
    return struct.Struct(f"{_LINE}s" * (length // _LINE) + (f"{length % _LINE}s" if length % _LINE else ""))


def pem_to_der(text: str, labels: Collection[str]) -> bytes:
    """Return the content of the one PEM block in a text, whose label must be one of ``labels``.

    Text before and after the block is passed over (RFC 7468 2), and white space in its body may be anything at all:
    spreadsheets and JSON tools turn line ends into spaces.

    Raises:
        MalformedError: no block, several blocks, another label, no end line, or a body that is not base64.
    """
    # str.find, no pattern: a text full of BEGIN lines must not cost the square of its length
    begin = text.find(_BEGIN)
    label_end = text.find(_DASHES, begin + len(_BEGIN))
    if begin < 0 or label_end < 0:
        raise MalformedError("there is no PEM block")
    label = text[begin + len(_BEGIN) : label_end]
    if label not in labels:
        raise MalformedError(f"the PEM block is labelled {label[:SHOWN_LIMIT]!r}, not {' or '.join(map(repr, labels))}")
    end_line = f"-----END {label}-----"
    body_end = text.find(end_line, label_end)
    if body_end < 0:
        raise MalformedError(f"the PEM block has no line '{end_line}'")
    if text.find(_BEGIN, body_end) >= 0:
        raise MalformedError("there is more than one PEM block")
    return base64_to_der("".join(text[label_end + len(_DASHES) : body_end].split()))


def base64_to_der(text: str) -> bytes:
    """Decode base64 without white space (RFC 4648 4), strictly: a stray character is an error, not noise."""
    try:
        if len(text) % 4:  # strict_mode lets AAAA= pass
            raise binascii.Error
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # binascii.Error is one; a character outside ASCII gives the plain one
        raise MalformedError("the base64 text is damaged") from error
