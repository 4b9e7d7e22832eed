"""Certificates of contracts that were replaced are remembered, to be revoked with what follows them (OPCP, CCP)."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; what was replaced before is known by nothing but the names of certificates, and ends by itself."""
    op.create_table(
        "former_contract",
        sa.Column("emaid", sa.String(14), nullable=False),
        sa.Column("certificate_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pcid", sa.String(64), nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("valid_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("emaid", "certificate_id", name=op.f("pk_former_contract")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_former_contract_pcid", "former_contract", ["pcid"])
    op.create_index("ix_former_contract_valid_to", "former_contract", ["valid_to"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("former_contract")
