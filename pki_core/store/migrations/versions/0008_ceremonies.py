"""Ceremonies are written down before they make a key, so that an interrupted one can go on."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "ceremony",
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("key_label", sa.String(length=64), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("label", name=op.f("pk_ceremony")),
        sa.UniqueConstraint("key_label", name=op.f("uq_ceremony_key_label")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("ceremony")
