"""Single facts about a certificate that a caller shows (RFC 5280 4.1.2.2, 4.1.2.7, 4.2.1.12)."""

from functools import lru_cache

from cryptography import x509

from pki_core.model.errors import MalformedError
from pki_core.wire.certificate_facts import spki_in
from pki_core.wire.public_key import key_name
from pki_core.wire.unreadable import BY_CRYPTOGRAPHY

_REGISTRAR = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")  # id-kp-cmcRA, RFC 6402 2.10


@lru_cache(maxsize=256)
def serial_of(certificate_der: bytes) -> int:
    """Return the serial number of a certificate; MalformedError when it cannot be read."""
    try:
        return x509.load_der_x509_certificate(certificate_der).serial_number
    except BY_CRYPTOGRAPHY as error:
        raise MalformedError("not a DER certificate") from error


@lru_cache(maxsize=256)
def key_shown(certificate_der: bytes) -> str:
    """Return the name of a certificate's key as ``key_name`` does; "" where it is of a kind that is not read here.

    We never certified such a key, and so never heard of one.
    """
    try:
        return key_name(spki_in(certificate_der))
    except BY_CRYPTOGRAPHY:
        return ""


def is_registrar(certificate_der: bytes) -> bool:
    """Tell whether a certificate of ours makes its holder a registration authority (RFC 7030 3.7)."""
    extensions = x509.load_der_x509_certificate(certificate_der).extensions
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return _REGISTRAR in usage
