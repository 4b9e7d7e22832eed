"""Keys of certificates that were revoked as compromised are remembered, and not certified again."""

import hashlib
from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_COMPROMISED = (1, 2, 10)  # keyCompromise, cACompromise, aACompromise (RFC 5280 5.3.1)
_PIECE = 2000

_status = sa.table(
    "certificate_status",
    sa.column("certificate_id", sa.BigInteger),
    sa.column("not_after", sa.BigInteger),
    sa.column("reason", sa.SmallInteger),
)
_der = sa.table(
    "certificate_der",
    sa.column("id", sa.BigInteger),
    sa.column("not_after", sa.BigInteger),
    sa.column("der", sa.LargeBinary),
)


def upgrade() -> None:
    """Apply; of what was revoked before, the keys of certificates whose octets are still here."""
    keys = op.create_table(
        "compromised_key",
        sa.Column("spki_sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("spki_sha256", name=op.f("pk_compromised_key")),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    ids = connection.execute(
        sa.select(_status.c.certificate_id, _status.c.not_after).where(_status.c.reason.in_(_COMPROMISED))
    ).all()
    known: set[str] = set()
    for start in range(0, len(ids), _PIECE):
        piece = ids[start : start + _PIECE]
        one_of = sa.tuple_(_der.c.id, _der.c.not_after).in_([(row.certificate_id, row.not_after) for row in piece])
        new = set(_keys_of(connection.execute(sa.select(_der.c.der).where(one_of)).scalars())) - known
        known |= new
        if new:
            op.bulk_insert(keys, [{"spki_sha256": key} for key in sorted(new)])


def downgrade() -> None:
    """Undo."""
    op.drop_table("compromised_key")


def _keys_of(ders: Iterable[bytes]) -> Iterable[str]:
    for der in ders:
        try:
            key = x509.load_der_x509_certificate(bytes(der)).public_key()
        except ValueError:
            continue  # no certificate of ours is like that
        yield hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
