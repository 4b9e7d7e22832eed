"""Root Certificate Pool: a removal that one person has asked for waits for a second one."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("pool_root", sa.Column("removal_asked_by", sa.String(length=64), nullable=True))
    op.add_column("pool_root", sa.Column("removal_asked_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("pool_root", "removal_asked_at")
    op.drop_column("pool_root", "removal_asked_by")
