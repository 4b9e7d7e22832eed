"""Contract data stays in its row on PostgreSQL.

It has some kilobytes that hardly compress, always read and written whole: put aside in pieces (TOAST), a row
costs the server nearly twice as much.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; rows that are there stay as they are."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE contract_data SET (toast_tuple_target = 8160)")


def downgrade() -> None:
    """Undo."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE contract_data RESET (toast_tuple_target)")
