"""A CRL remembers how many changes its maker saw, so that one which was committed late is found to be missing.

They are counted by issuer and time at each look at what is due, which the new index is for.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


_RELEASED = sa.text("released_at IS NOT NULL")


def upgrade() -> None:
    """Apply; lists that are there are judged by time alone until the next one."""
    op.add_column("crl", sa.Column("seen", sa.Integer()))
    # SQLite takes the younger of two indexes that seem as good: for holds that ended, the one of these alone.
    op.drop_index("ix_revocation_released", "revocation")
    op.create_index("ix_revocation_issuer_id_changed_at", "revocation", ["issuer_id", "changed_at"])
    op.create_index(
        "ix_revocation_released",
        "revocation",
        ["issuer_id", "changed_at"],
        sqlite_where=_RELEASED,
        postgresql_where=_RELEASED,
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_revocation_issuer_id_changed_at", "revocation")
    op.drop_column("crl", "seen")
