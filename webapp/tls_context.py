"""The TLS context of the HTTPS listener (RFC 7030 3.3, RFC 8446, RFC 9325): made once, shared by all workers.

It is made before the workers are forked: they then share the keys of session tickets, and a client resumes its session
with any of them. A client certificate is asked for and not demanded; what it is worth is decided request by request.
"""

import _ssl
import ctypes
import ssl
import sys
from pathlib import Path

from pki_core.model.errors import SettingsError

# RFC 9325 4.2: forward secrecy and authenticated encryption. TLS 1.3 suites are all of that kind and not listed here.
_ANY_PURPOSE = 7  # X509_PURPOSE_ANY
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
    if not _accept_any_purpose(context):
        sys.stderr.write("pncpki: certificates for TLS servers alone cannot be shown by clients with this Python\n")
    return context


def _accept_any_purpose(context: ssl.SSLContext) -> bool:
    """Let clients show certificates whose extended key usage is not clientAuth; tell whether that could be done.

    ISO 15118-20 station certificates are for TLS servers alone (Table B.5), and a station renews its own with it
    (RFC 7030 4.2.2). OpenSSL would refuse them in the handshake; the ssl module has no name for the setting. What a
    certificate may do is judged by the application; that its CAs are CAs OpenSSL checks all the same.
    """
    if sys.implementation.name != "cpython":
        return False
    try:
        library = ctypes.CDLL(_ssl.__file__)  # finds the very libssl this interpreter uses
        get_options, get_param = library.SSL_CTX_get_options, library.SSL_CTX_get0_param
        set_purpose = library.X509_VERIFY_PARAM_set_purpose
    except (AttributeError, OSError):  # linked into the interpreter, or its names are hidden
        return False
    get_options.argtypes, get_options.restype = [ctypes.c_void_p], ctypes.c_uint64
    get_param.argtypes, get_param.restype = [ctypes.c_void_p], ctypes.c_void_p
    set_purpose.argtypes, set_purpose.restype = [ctypes.c_void_p, ctypes.c_int], ctypes.c_int
    # CPython's context begins, behind the head of every object, with the pointer to OpenSSL's.
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value
    if (get_options(pointer) ^ context.options) & 0xFFFFFFFF:
        return False  # not what it was taken for
    return bool(set_purpose(get_param(pointer), _ANY_PURPOSE))
