"""What the two libraries raise for octets that are no certificate of anybody's: met by feeding them changed ones.

Both read parts when they are asked for them, so the asking belongs inside the ``try`` as well.
"""

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

BY_ASN1CRYPTO: Final = (ValueError, TypeError, LookupError, OverflowError, AttributeError)
BY_CRYPTOGRAPHY: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
