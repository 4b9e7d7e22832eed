"""Lengths that several floors agree on: a request is refused for what a column would not hold (RFC 5280 Appendix A)."""

from typing import Final

COMMON_NAME_LIMIT: Final = 64  # ub-common-name
ASKED_NAME_LIMIT: Final = 200  # of a name as a request has it: longer than any bound; profiles check the exact ones
FILE_NAME_LIMIT: Final = 255
# Labels of CAs and keys, ids of partners, names of people: columns hold no more, and a label may become a common name.
NAME_LIMIT: Final = COMMON_NAME_LIMIT
SHA256_DIGITS: Final = 64  # of a hash in hexadecimal
URL_LIMIT: Final = 2048  # of other people's servers
NOTE_LIMIT: Final = 4096  # what partners may attach for themselves, as JSON
SERIAL_OCTETS: Final = 20  # RFC 5280 4.1.2.2
