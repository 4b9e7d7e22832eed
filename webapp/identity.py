"""Who is at the other end of the connection: one adapter for direct TLS and for trusted proxies (RFC 9440).

A proxy is believed only when the request comes from its address (or its Unix socket) and carries the secret header.
What it may say, and nothing else is read:

    X-Pncpki-Proxy-Secret   the shared secret
    Client-Cert             the client certificate, ``:base64:`` (RFC 9440 2.1); HAProxy: ``:%[ssl_c_der,base64]:``
    X-Ssl-Client-Cert       the same as nginx writes it, URL-escaped PEM: ``$ssl_client_escaped_cert``
    X-Ssl-Protocol          ``TLSv1.2`` or ``TLSv1.3``: the version on the client's side
    X-Ssl-Unique-Id         tls-unique of the client's connection in base64; HAProxy: ``%[ssl_fc_unique_id,base64]``
"""

import hmac
import ssl
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pki_core.model.errors import MalformedError, SettingsError
from pki_core.model.est import TrustedProxy
from pki_core.wire.pem import base64_to_der, pem_to_der

_MAX_HEADER = 16_384
_SHORTEST_SECRET = 16
_UNIQUE_ID_VERSION = "TLSv1.2"  # RFC 9266 3: tls-unique is not defined for TLS 1.3, though OpenSSL still gives a value


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """The certificate the client has proved to hold, not yet validated, and the binding of its connection."""

    certificate_der: bytes | None = None
    tls_unique: bytes | None = None
    source: str = "none"  # none | tls | proxy


class PeerReader:
    """Reads the peer of a request from its WSGI environment."""

    def __init__(self, proxy: TrustedProxy, home: Path) -> None:
        self._unix_socket = proxy.unix_socket
        self._secret = b""
        try:
            self._networks = [ip_network(network) for network in proxy.networks]
            if proxy.secret_file:
                self._secret = (home / proxy.secret_file).read_bytes().strip()
        except (OSError, ValueError) as error:
            raise SettingsError(f"the trusted proxy's settings cannot be read: {type(error).__name__}") from error
        if proxy.secret_file and len(self._secret) < _SHORTEST_SECRET:
            raise SettingsError(f"the secret of the trusted proxy has fewer than {_SHORTEST_SECRET} characters")

    def peer_identity(self, environ: dict[str, Any]) -> PeerIdentity:
        """Return who is at the other end.

        Raises:
            MalformedError: a trusted proxy sent something unreadable.
        """
        if self._is_proxy(environ):
            return _from_headers(environ)
        connection = environ.get("gunicorn.socket")
        if not isinstance(connection, ssl.SSLSocket):
            return PeerIdentity()
        bound = connection.version() == _UNIQUE_ID_VERSION
        return PeerIdentity(
            certificate_der=connection.getpeercert(binary_form=True),
            tls_unique=connection.get_channel_binding("tls-unique") if bound else None,
            source="tls",
        )

    def _is_proxy(self, environ: dict[str, Any]) -> bool:
        if not self._secret:
            return False
        secret = environ.get("HTTP_X_PNCPKI_PROXY_SECRET", "").encode("latin-1", "replace")
        if not hmac.compare_digest(secret, self._secret):
            return False
        address = environ.get("REMOTE_ADDR", "")
        if not address:
            return self._unix_socket
        try:
            return any(ip_address(address) in network for network in self._networks)
        except ValueError:
            return False


def _from_headers(environ: dict[str, Any]) -> PeerIdentity:
    certificate_der = None
    if (field := _header(environ, "HTTP_CLIENT_CERT")) != "":
        if field[:1] != ":" or field[-1:] != ":":
            raise MalformedError("the Client-Cert header is not a byte sequence of RFC 9440")
        certificate_der = base64_to_der(field[1:-1]) or None  # HAProxy writes "::" when there is none
    elif (escaped := _header(environ, "HTTP_X_SSL_CLIENT_CERT")) != "":
        certificate_der = pem_to_der(unquote(escaped), ("CERTIFICATE",))
    unique = _header(environ, "HTTP_X_SSL_UNIQUE_ID")
    bound = unique != "" and environ.get("HTTP_X_SSL_PROTOCOL") == _UNIQUE_ID_VERSION
    return PeerIdentity(
        certificate_der=certificate_der, tls_unique=base64_to_der(unique) if bound else None, source="proxy"
    )


def _header(environ: dict[str, Any], name: str) -> str:
    value = str(environ.get(name, "")).strip()
    if len(value) > _MAX_HEADER:
        raise MalformedError("a header of the proxy is too long")
    return value
