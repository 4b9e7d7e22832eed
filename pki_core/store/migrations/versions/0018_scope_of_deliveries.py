"""A webhook delivery keeps whom its event is for: whether it is still his is judged again when it is due."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; of deliveries that are there it is not known, and they are judged by roles alone."""
    op.add_column("webhook_delivery", sa.Column("scope", sa.String(8), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("webhook_delivery", "scope")
