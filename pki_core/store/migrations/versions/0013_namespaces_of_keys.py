"""Vehicles and contracts have the message definition of their key (ISO 15118-20 7.9.2.5), whatever was said of them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_P256, _ISO_2, _ISO_20 = "secp256r1", 2, 22


def upgrade() -> None:
    """Apply; contracts of vehicles that were published with the other edition's definition went to nobody."""
    for name in ("provisioning_certificate", "contract"):
        table = sa.table(name, sa.column("algorithm", sa.String), sa.column("namespace", sa.SmallInteger))
        is_first, says_first = table.c.algorithm == _P256, table.c.namespace == _ISO_2
        op.execute(table.update().where(is_first, ~says_first).values(namespace=_ISO_2))
        op.execute(table.update().where(~is_first, says_first).values(namespace=_ISO_20))


def downgrade() -> None:
    """Undo nothing: what was wrong before is not told apart from what was right."""
