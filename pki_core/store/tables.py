"""The tables. Times are whole seconds since 1970 UTC (BIGINT), serials lower hex with two digits an octet.

Sized for 100 million certificates: the status table that OCSP reads is narrow and holds the only index a random
serial touches; every other key on the issuing path grows at its end. ``certificate.id`` is known before the
certificate exists: reservation number * 4096 + position.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only for a column declared INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")
_SERIAL = String(40)
_HASH = String(64)

environment = Table(
    "environment",
    metadata,
    Column("id", SmallInteger, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("name", String(16), nullable=False),
    Column("environment_id", String(36), nullable=False),
    Column("token_kind", String(16), nullable=False),
    Column("token_label", String(64), nullable=False),
    Column("token_serial", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

partner = Table(
    "partner",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

partner_scope = Table(
    "partner_scope",
    metadata,
    Column("partner_id", ForeignKey("partner.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),  # role | provider | operator | wmi
    Column("value", String(16), primary_key=True),
)

profile = Table(
    "profile",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("hash", _HASH, nullable=False, unique=True),
    Column("name", String(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("first_used_at", BigInteger, nullable=False),
)

issuer = Table(
    "issuer",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("label", String(64), nullable=False, unique=True),
    Column("branch", String(8), nullable=False),
    Column("edition", String(16), nullable=False),
    Column("level", String(8), nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("parent_id", ForeignKey("issuer.id")),
    Column("key_label", String(64), nullable=False, unique=True),
    Column("subject_der", LargeBinary, nullable=False),
    Column("spki_der", LargeBinary, nullable=False),
    Column("key_identifier", LargeBinary, nullable=False),
    Column("certificate_id", BigInteger),  # set when the certificate is recorded: the issuer is active from then on
    Column("certificate_der", LargeBinary),
    Column("not_before", BigInteger),
    Column("not_after", BigInteger),
)

responder = Table(
    "responder",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("label", String(64), nullable=False, unique=True),
    Column("issuer_id", ForeignKey("issuer.id"), nullable=False),
    Column("key_label", String(64), nullable=False, unique=True),
    Column("certificate_id", BigInteger, nullable=False),
    Column("certificate_der", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
)

reservation = Table(
    "reservation",
    metadata,
    Column("number", _Number, Identity(), primary_key=True),
    Column("issuer_id", ForeignKey("issuer.id"), nullable=False),
    Column("profile_id", ForeignKey("profile.id"), nullable=False),
    Column("runner", String(160), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # a number is never used twice, not even that of a dropped row
)

intent = Table(
    "intent",
    metadata,
    Column("certificate_id", _Number, primary_key=True, autoincrement=False),
    Column("serial", _SERIAL, nullable=False),
    Column("tbs_der", LargeBinary, nullable=False),
)

certificate_status = Table(
    "certificate_status",
    metadata,
    Column("issuer_id", Integer, primary_key=True, autoincrement=False),  # no foreign key: checked per row, 5 us each
    Column("serial", _SERIAL, primary_key=True),
    Column("certificate_id", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("reason", SmallInteger),
    sqlite_with_rowid=False,
    postgresql_with={"fillfactor": 60},  # reserved -> good stays on its page and touches no index
)

certificate = Table(
    "certificate",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("issuer_id", Integer, nullable=False),
    Column("serial", _SERIAL, nullable=False),
    Column("profile_id", Integer, nullable=False),
    Column("partner_id", String(64)),
    Column("common_name", String(64), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
)

certificate_der = Table(
    "certificate_der",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("not_after", BigInteger, primary_key=True, autoincrement=False),
    Column("der", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (not_after)",  # a year is detached as a whole once it is archived
)

audit = Table(
    "audit",
    metadata,
    Column("id", _Number, Identity(), primary_key=True),
    Column("stream", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("issuer_id", Integer),
    Column("serial", _SERIAL),
    Column("profile_id", Integer),
    Column("certificate_sha256", LargeBinary),
    Column("detail", Text),
    Column("previous_hash", LargeBinary),  # the chain of its stream, filled when the row is sealed
    Column("row_hash", LargeBinary),
)

batch = Table(
    "batch",
    metadata,
    Column("number", _Number, Identity(), primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("partner_id", ForeignKey("partner.id"), nullable=False),
    Column("profile_id", ForeignKey("profile.id"), nullable=False),
    Column("profile_name", String(64), nullable=False),
    Column("issuer_id", ForeignKey("issuer.id"), nullable=False),
    Column("source_name", String(255), nullable=False),
    Column("source_sha256", _HASH, nullable=False),
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
    Column("csr_der", LargeBinary, nullable=False),
    Column("expected_identifier", String(64), nullable=False),
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
    Column("common_name", String(200), nullable=False),
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
