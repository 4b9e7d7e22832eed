"""Checkpoints over the audit chains, in place of two columns of each row that were never filled."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit_checkpoint",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("heads", sa.Text(), nullable=False),
        sa.Column("sealed_at", sa.BigInteger(), nullable=False),
        sa.Column("previous_sha256", sa.String(length=64), nullable=False),
        sa.Column("key_label", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_checkpoint")),
    )
    op.drop_column("audit", "previous_hash")
    op.drop_column("audit", "row_hash")


def downgrade() -> None:
    """Undo."""
    op.add_column("audit", sa.Column("previous_hash", sa.LargeBinary(), nullable=True))
    op.add_column("audit", sa.Column("row_hash", sa.LargeBinary(), nullable=True))
    op.drop_table("audit_checkpoint")
