"""Contract data knows who signed it, and what its operator said beside (OPCP, CCP: metaData)."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; who signed what is there already, ``resign_contracts`` finds out."""
    op.add_column("contract", sa.Column("signer_id", sa.Integer(), nullable=True))
    op.add_column("contract_data", sa.Column("meta_data", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("contract_data", "meta_data")
    op.drop_column("contract", "signer_id")
