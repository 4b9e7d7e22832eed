"""The TLS context of the HTTPS listener (RFC 7030 3.3, RFC 8446, RFC 9325): made once, shared by all workers.

It is made before the workers are forked: they then share the keys of session tickets, and a client resumes its session
with any of them. A client certificate is asked for and not demanded; what it is worth is decided request by request.
"""

import ssl
from pathlib import Path

from pki_core.model.errors import SettingsError

# RFC 9325 4.2: forward secrecy and authenticated encryption. TLS 1.3 suites are all of that kind and not listed here.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(server_file: Path, trust_file: Path) -> ssl.SSLContext:
    """Return the context for a PEM file with key and certificate, and one with the CAs of clients.

    Raises:
        SettingsError: a file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    context.set_ciphers(_CIPHERS)
    # RFC 7030 3.5: renegotiation needs secure_renegotiation; we have none at all. Compression: CRIME.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = ssl.CERT_OPTIONAL
    try:
        context.load_cert_chain(server_file)
        context.load_verify_locations(trust_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the TLS files in {server_file.parent} cannot be used: {error}") from error
    return context
