"""A request for a certificate waits for approval once, also when it comes several times at the same moment."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_OPEN = "state IN ('pending', 'approved')"
_RANK = "CASE {0}.state WHEN 'approved' THEN 0 WHEN 'pending' THEN 1 ELSE 2 END, {0}.asked_at, {0}.id"

# A refusal beside an open request was meant for its double: a refused request is never kept again.
_DELETE_DOUBLES = f"""
DELETE FROM est_request WHERE state <> 'issued' AND EXISTS (
    SELECT 1 FROM est_request AS kept
    WHERE kept.partner_id = est_request.partner_id AND kept.label = est_request.label
    AND kept.spki_sha256 = est_request.spki_sha256 AND kept.subject_sha256 = est_request.subject_sha256
    AND kept.{_OPEN} AND ({_RANK.format("kept")}) < ({_RANK.format("est_request")})
)
"""  # noqa: S608  # nothing but the constants above


def upgrade() -> None:
    """Apply; of requests that were kept twice the approved one is left, or else the oldest."""
    op.execute(_DELETE_DOUBLES)
    op.create_index(
        "ix_est_request_open",
        "est_request",
        ["partner_id", "label", "spki_sha256", "subject_sha256"],
        unique=True,
        sqlite_where=sa.text(_OPEN),
        postgresql_where=sa.text(_OPEN),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_est_request_open", "est_request")
