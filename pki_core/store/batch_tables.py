"""Tables of batches: uploads, their rows and verdicts, the chunks they are signed in. Conventions as in ``tables``."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from pki_core.model.limits import ASKED_NAME_LIMIT, COMMON_NAME_LIMIT, FILE_NAME_LIMIT, NAME_LIMIT, SHA256_DIGITS
from pki_core.store.tables import metadata

__all__ = ["batch", "batch_chunk", "batch_item", "batch_verdict", "metadata"]

_Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only for a column declared INTEGER

batch = Table(
    "batch",
    metadata,
    Column("number", _Number, Identity(), primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("partner_id", ForeignKey("partner.id"), nullable=False),
    Column("profile_id", ForeignKey("profile.id"), nullable=False),
    Column("profile_name", String(NAME_LIMIT), nullable=False),
    Column("kind", String(16), nullable=False, server_default="csr"),  # what its rows are: csr | contract
    Column("issuer_id", ForeignKey("issuer.id"), nullable=False),
    Column("source_name", String(FILE_NAME_LIMIT), nullable=False),
    Column("source_sha256", String(SHA256_DIGITS), nullable=False),
    Column("state", String(16), nullable=False),
    Column("runner", String(160), nullable=False),  # who is loading it; a dead loader's batch is loaded anew
    Column("total", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    UniqueConstraint("partner_id", "profile_name", "source_sha256"),
    sqlite_autoincrement=True,  # a number is never used twice, not even that of a dropped row
)

batch_item = Table(
    "batch_item",
    metadata,
    Column("batch_number", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("row_id", String(128), nullable=False),
    Column("csr_der", LargeBinary, nullable=False),  # of a contract: its order, JSON
    Column("expected_identifier", String(COMMON_NAME_LIMIT), nullable=False),
    sqlite_with_rowid=False,
)

batch_verdict = Table(
    "batch_verdict",
    metadata,
    Column("batch_number", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("certificate_id", BigInteger),  # null = refused
    Column("code", String(48), nullable=False),
    Column("message", Text, nullable=False),
    Column("common_name", String(ASKED_NAME_LIMIT), nullable=False),
    sqlite_with_rowid=False,
)

batch_chunk = Table(
    "batch_chunk",
    metadata,
    Column("batch_number", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", Integer, primary_key=True, autoincrement=False),
    Column("last_seq", Integer, nullable=False),
    Column("state", String(8), nullable=False),  # open | claimed | done
    Column("runner", String(160), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("reservation", BigInteger),  # the reservation its runner works under; void it when the runner is dead
    Column("attempts", SmallInteger, nullable=False),
    Column("issued", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    sqlite_with_rowid=False,
)

Index("ix_batch_state", batch.c.state)
