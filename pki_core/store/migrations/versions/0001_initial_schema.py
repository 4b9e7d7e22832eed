"""Initial schema."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


_FIRST_YEAR, _LAST_YEAR = 2024, 2090  # roots live 40 years; what lies outside goes to the default partition


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("stream", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("issuer_id", sa.Integer(), nullable=True),
        sa.Column("serial", sa.String(length=40), nullable=True),
        sa.Column("profile_id", sa.Integer(), nullable=True),
        sa.Column("certificate_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=True),
        sa.Column("row_hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "batch_chunk",
        sa.Column("batch_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("runner", sa.String(length=160), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("reservation", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("issued", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("batch_number", "first_seq", name=op.f("pk_batch_chunk")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "batch_item",
        sa.Column("batch_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("row_id", sa.String(length=128), nullable=False),
        sa.Column("csr_der", sa.LargeBinary(), nullable=False),
        sa.Column("expected_identifier", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("batch_number", "seq", name=op.f("pk_batch_item")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "batch_verdict",
        sa.Column("batch_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.String(length=48), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("common_name", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("batch_number", "seq", name=op.f("pk_batch_verdict")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "certificate",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("partner_id", sa.String(length=64), nullable=True),
        sa.Column("common_name", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
    )
    op.create_table(
        "certificate_der",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("not_after", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", "not_after", name=op.f("pk_certificate_der")),
        postgresql_partition_by="RANGE (not_after)",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "certificate_status",
        sa.Column("issuer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.SmallInteger(), nullable=True),
        sa.PrimaryKeyConstraint("issuer_id", "serial", name=op.f("pk_certificate_status")),
        postgresql_with={"fillfactor": 60},
        sqlite_with_rowid=False,
    )
    op.create_table(
        "environment",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("environment_id", sa.String(length=36), nullable=False),
        sa.Column("token_kind", sa.String(length=16), nullable=False),
        sa.Column("token_label", sa.String(length=64), nullable=False),
        sa.Column("token_serial", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment")),
        sa.CheckConstraint("id = 1", name=op.f("ck_environment_one_row")),
    )
    op.create_table(
        "intent",
        sa.Column(
            "certificate_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("tbs_der", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("certificate_id", name=op.f("pk_intent")),
    )
    op.create_table(
        "issuer",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("branch", sa.String(length=8), nullable=False),
        sa.Column("edition", sa.String(length=16), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("key_label", sa.String(length=64), nullable=False),
        sa.Column("subject_der", sa.LargeBinary(), nullable=False),
        sa.Column("spki_der", sa.LargeBinary(), nullable=False),
        sa.Column("key_identifier", sa.LargeBinary(), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=True),
        sa.Column("certificate_der", sa.LargeBinary(), nullable=True),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("not_after", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["issuer.id"], name=op.f("fk_issuer_parent_id_issuer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuer")),
        sa.UniqueConstraint("key_label", name=op.f("uq_issuer_key_label")),
        sa.UniqueConstraint("label", name=op.f("uq_issuer_label")),
    )
    op.create_table(
        "partner",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partner")),
    )
    op.create_table(
        "profile",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("first_used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile")),
        sa.UniqueConstraint("hash", name=op.f("uq_profile_hash")),
    )
    op.create_table(
        "batch",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("partner_id", sa.String(length=64), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("profile_name", sa.String(length=64), nullable=False),
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("source_name", sa.String(length=255), nullable=False),
        sa.Column("source_sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("runner", sa.String(length=160), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_batch_issuer_id_issuer")),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_batch_partner_id_partner")),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_batch_profile_id_profile")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_batch")),
        sa.UniqueConstraint("id", name=op.f("uq_batch_id")),
        sa.UniqueConstraint(
            "partner_id", "profile_name", "source_sha256", name=op.f("uq_batch_partner_id_profile_name_source_sha256")
        ),
        sqlite_autoincrement=True,  # a number is never used twice, not even that of a dropped row
    )
    with op.batch_alter_table("batch", schema=None) as batch_op:
        batch_op.create_index("ix_batch_state", ["state"], unique=False)

    op.create_table(
        "partner_scope",
        sa.Column("partner_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_partner_scope_partner_id_partner")),
        sa.PrimaryKeyConstraint("partner_id", "kind", "value", name=op.f("pk_partner_scope")),
    )
    op.create_table(
        "reservation",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("profile_id", sa.Integer(), nullable=False),
        sa.Column("runner", sa.String(length=160), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_reservation_issuer_id_issuer")),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_reservation_profile_id_profile")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_reservation")),
        sqlite_autoincrement=True,  # a number is never used twice, not even that of a dropped row
    )
    op.create_table(
        "responder",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("key_label", sa.String(length=64), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=False),
        sa.Column("certificate_der", sa.LargeBinary(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_responder_issuer_id_issuer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_responder")),
        sa.UniqueConstraint("key_label", name=op.f("uq_responder_key_label")),
        sa.UniqueConstraint("label", name=op.f("uq_responder_label")),
    )
    if op.get_bind().dialect.name == "postgresql":
        for year in range(_FIRST_YEAR, _LAST_YEAR + 1):
            first, end = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (year, year + 1))
            op.execute(
                f"CREATE TABLE certificate_der_{year} PARTITION OF certificate_der FOR VALUES FROM ({first}) TO ({end})"
            )
        op.execute("CREATE TABLE certificate_der_other PARTITION OF certificate_der DEFAULT")


def downgrade() -> None:
    """Undo."""
    op.drop_table("responder")
    op.drop_table("reservation")
    op.drop_table("partner_scope")
    with op.batch_alter_table("batch", schema=None) as batch_op:
        batch_op.drop_index("ix_batch_state")

    op.drop_table("batch")
    op.drop_table("profile")
    op.drop_table("partner")
    op.drop_table("issuer")
    op.drop_table("intent")
    op.drop_table("environment")
    op.drop_table("certificate_status")
    op.drop_table("certificate_der")
    op.drop_table("certificate")
    op.drop_table("batch_verdict")
    op.drop_table("batch_item")
    op.drop_table("batch_chunk")
    op.drop_table("audit")
