"""The pools: roots, provisioning certificates, contracts, their events; registered end entities."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "certificate_chain",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sub2_der", sa.LargeBinary(), nullable=True),
        sa.Column("sub1_der", sa.LargeBinary(), nullable=False),
        sa.Column("root_sha256", sa.String(length=64), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.Column("is_own", sa.Boolean(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate_chain")),
        sa.UniqueConstraint("sha256", name=op.f("uq_certificate_chain_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outbox_event",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=48), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("pcid", sa.String(length=64), nullable=False),
        sa.Column("emaid", sa.String(length=15), nullable=False),
        sa.Column("root_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_outbox_event")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "pool_root",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("certificate_der", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.Column("added_by", sa.String(length=64), nullable=False),
        sa.Column("confirmed_by", sa.String(length=64), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "confirmed_by IS NULL OR lower(confirmed_by) <> lower(added_by)", name=op.f("ck_pool_root_two_people")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool_root")),
        sa.UniqueConstraint("sha256", "kind", name=op.f("uq_pool_root_sha256_kind")),
    )
    op.create_table(
        "provisioning_certificate",
        sa.Column("pcid", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("pcid_as_sent", sa.String(length=64), nullable=False),
        sa.Column("namespace", sa.SmallInteger(), nullable=False),
        sa.Column("chain_id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=True),
        sa.Column("leaf_der", sa.LargeBinary(), nullable=True),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.Column("v2g_roots", sa.Text(), nullable=True),
        sa.Column("previous_pcid", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "(leaf_der IS NULL) <> (certificate_id IS NULL)", name=op.f("ck_provisioning_certificate_one_source")
        ),
        sa.CheckConstraint("pcid = upper(pcid)", name=op.f("ck_provisioning_certificate_upper_case")),
        sa.PrimaryKeyConstraint("pcid", "algorithm", name=op.f("pk_provisioning_certificate")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_provisioning_certificate_certificate_id",
        "provisioning_certificate",
        ["certificate_id"],
        unique=False,
        sqlite_where=sa.text("certificate_id IS NOT NULL"),
        postgresql_where=sa.text("certificate_id IS NOT NULL"),
    )
    op.create_index(
        "ix_provisioning_certificate_checked_at",
        "provisioning_certificate",
        ["checked_at"],
        unique=False,
        sqlite_where=sa.text("leaf_der IS NOT NULL"),
        postgresql_where=sa.text("leaf_der IS NOT NULL"),
    )
    op.create_index("ix_provisioning_certificate_valid_to", "provisioning_certificate", ["valid_to"], unique=False)

    op.create_table(
        "contract",
        sa.Column("emaid", sa.String(length=14), nullable=False),
        sa.Column("emaid_as_issued", sa.String(length=15), nullable=False),
        sa.Column("pcid", sa.String(length=64), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("namespace", sa.SmallInteger(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("chain_id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=True),
        sa.Column("leaf_der", sa.LargeBinary(), nullable=True),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.Column("cps_fingerprint", sa.String(length=64), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(leaf_der IS NULL) <> (certificate_id IS NULL)", name=op.f("ck_contract_one_source")),
        sa.CheckConstraint("length(emaid) = 14 AND emaid = upper(emaid)", name=op.f("ck_contract_canonical")),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_contract_validity")),
        sa.ForeignKeyConstraint(
            ["chain_id"], ["certificate_chain.id"], name=op.f("fk_contract_chain_id_certificate_chain")
        ),
        sa.ForeignKeyConstraint(
            ["pcid", "algorithm"],
            ["provisioning_certificate.pcid", "provisioning_certificate.algorithm"],
            name=op.f("fk_contract_pcid_algorithm_provisioning_certificate"),
        ),
        sa.PrimaryKeyConstraint("emaid", name=op.f("pk_contract")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_contract_certificate_id",
        "contract",
        ["certificate_id"],
        unique=False,
        sqlite_where=sa.text("certificate_id IS NOT NULL"),
        postgresql_where=sa.text("certificate_id IS NOT NULL"),
    )
    op.create_index(
        "ix_contract_checked_at",
        "contract",
        ["checked_at"],
        unique=False,
        sqlite_where=sa.text("leaf_der IS NOT NULL"),
        postgresql_where=sa.text("leaf_der IS NOT NULL"),
    )
    op.create_index(
        "ix_contract_default",
        "contract",
        ["pcid"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    op.create_index("ix_contract_pcid_algorithm", "contract", ["pcid", "algorithm"], unique=False)
    op.create_index("ix_contract_valid_to", "contract", ["valid_to"], unique=False)

    op.create_table(
        "end_entity",
        sa.Column("partner_id", sa.String(length=64), nullable=False),
        sa.Column("canonical", sa.String(length=100), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_end_entity_partner_id_partner")),
        sa.PrimaryKeyConstraint("partner_id", "canonical", name=op.f("pk_end_entity")),
    )
    op.create_table(
        "contract_data",
        sa.Column("emaid", sa.String(length=14), nullable=False),
        sa.Column("signed_data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["emaid"], ["contract.emaid"], name=op.f("fk_contract_data_emaid_contract")),
        sa.PrimaryKeyConstraint("emaid", name=op.f("pk_contract_data")),
    )


def downgrade() -> None:
    """Undo."""
    for table in (
        "contract_data",
        "end_entity",
        "contract",
        "provisioning_certificate",
        "pool_root",
        "outbox_event",
        "certificate_chain",
    ):
        op.drop_table(table)
