"""Events tell which edition of ISO 15118 a vehicle speaks (OPNC, webhook payloads: xsdMsgDefNamespace)."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("outbox_event", sa.Column("namespace", sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("outbox_event", "namespace")
