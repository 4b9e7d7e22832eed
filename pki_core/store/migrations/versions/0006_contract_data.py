"""Contract data made for operators: signers of the provisioning service, batches of contracts, renewals."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "cps_signer",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("key_label", sa.String(length=64), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=False),
        sa.Column("certificate_der", sa.LargeBinary(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_cps_signer_issuer_id_issuer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cps_signer")),
        sa.UniqueConstraint("key_label", name=op.f("uq_cps_signer_key_label")),
        sa.UniqueConstraint("label", name=op.f("uq_cps_signer_label")),
    )
    op.add_column("batch", sa.Column("kind", sa.String(length=16), server_default="csr", nullable=False))
    op.add_column("contract_data", sa.Column("renew_days", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("contract_data", "renew_days")
    op.drop_column("batch", "kind")
    op.drop_table("cps_signer")
