"""The table of ceremonies that were begun: what each may take up again when it was interrupted.

Conventions as in ``tables``.
"""

from sqlalchemy import BigInteger, Column, String, Table

from pki_core.model.limits import NAME_LIMIT, SHA256_DIGITS
from pki_core.store.partner_tables import metadata

__all__ = ["ceremony", "metadata"]

ceremony = Table(
    "ceremony",
    metadata,
    Column("label", String(NAME_LIMIT), primary_key=True),
    Column("file_sha256", String(SHA256_DIGITS), nullable=False),
    Column("key_label", String(NAME_LIMIT), nullable=False, unique=True),
    Column("begun_at", BigInteger, nullable=False),
    Column("certificate_id", BigInteger),  # set in the transaction that records its certificate, once
)
