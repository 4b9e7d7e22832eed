"""Contracts are found by the root of their CPS."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_contract_cps_fingerprint", "contract", ["cps_fingerprint"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_contract_cps_fingerprint", "contract")
