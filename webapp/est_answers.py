"""EST answers: the one place that owns every byte rule real clients hold us to (RFC 7030 4, RFC 8951 3).

libest and BouncyCastle are both stricter than the RFC, each in another way; this is what both read:
base64 in lines with ``Content-Transfer-Encoding: base64``, always ``Content-Length``, exact media types, empty bodies
on 401 and 202, integer ``Retry-After``, Basic as the first and separate ``WWW-Authenticate`` line.
"""

import base64
import secrets
from dataclasses import dataclass

from flask import Response

from pki_core.model.est import Authentication, EstLabel
from pki_core.services.est_calls import Delivery
from pki_core.wire.cms import certs_only
from webapp.errors import empty_answer

CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"  # libest compares it as a prefix
CA_CERTIFICATES = "application/pkcs7-mime"  # no parameter: lgtti and old BouncyCastle refuse one
CSR_ATTRIBUTES = "application/csrattrs"
_PKCS8 = "application/pkcs8"


def in_lines(der: bytes, length: int) -> bytes:
    """Return base64 in lines of a length, 0 for a single one; with a line feed at the end."""
    text = base64.b64encode(der)
    if length == 0:
        return text + b"\n"
    return b"".join(text[start : start + length] + b"\n" for start in range(0, len(text), length))


@dataclass(frozen=True, slots=True, kw_only=True)
class EstAnswers:
    """Builds answers."""

    realm: str
    retry_after_seconds: int

    def der(self, der: bytes, content_type: str, label: EstLabel) -> Response:
        """Return DER in base64."""
        answer = Response(in_lines(der, label.base64_line_length), 200, content_type=content_type)
        answer.headers["Content-Transfer-Encoding"] = "base64"  # RFC 8951 drops it; BouncyCastle decodes only with it
        return answer

    def delivery(self, delivery: Delivery) -> Response:
        """Return an issued certificate, or the wish to be asked again."""
        if not delivery.certificates:
            answer = empty_answer(202)
            answer.headers["Retry-After"] = str(self.retry_after_seconds)
        elif delivery.private_key_der:
            answer = self._key_and_certificate(delivery)
        else:
            answer = self.der(certs_only(delivery.certificates), CERTS_ONLY, delivery.offer.policy)
        if delivery.is_linked:
            answer.headers["Connection"] = "close"  # RFC 9266 4.1: one binding, one authentication
        return answer

    def _key_and_certificate(self, delivery: Delivery) -> Response:
        """Return the two parts of RFC 7030 4.4.2 as RFC 8951 3.2.4 writes them."""
        length = delivery.offer.policy.base64_line_length
        boundary = f"est-{secrets.token_hex(12)}"
        parts = b""
        for content_type, der in (
            (_PKCS8, delivery.private_key_der),
            (CERTS_ONLY, certs_only(delivery.certificates)),
        ):
            head = f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            parts += head.encode() + in_lines(der, length).replace(b"\n", b"\r\n")
        body = parts + f"--{boundary}--\r\n".encode()
        answer = Response(body, 200, content_type=f"multipart/mixed; boundary={boundary}")
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def who_are_you(self, label: EstLabel | None) -> Response:
        """Return 401 with an empty body, or 403 where nothing but a TLS client certificate would do."""
        schemes = frozenset(Authentication) if label is None else label.authentication
        wanted = []
        if Authentication.BASIC in schemes:
            wanted.append(f'Basic realm="{self.realm}"')
        if Authentication.BEARER in schemes:
            wanted.append(f'Bearer realm="{self.realm}"')
        if not wanted:
            message = "caller.not_authenticated: a TLS client certificate is needed\n"
            return Response(message, 403, content_type="text/plain; charset=utf-8")
        answer = empty_answer(401)
        for scheme in wanted:  # RFC 9110 11.6.1 allows one line for all; libest and BouncyCastle do not
            answer.headers.add("WWW-Authenticate", scheme)
        return answer
