"""Revocations, CRLs, OCSP answers, credentials and EST requests; the intents of a reservation in one row."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


_POSITIONS = 4096  # certificate id = reservation number * 4096 + position
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    _join_intents()
    op.create_table(
        "crl_piece",
        sa.Column("crl_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("crl_id", "seq", name=op.f("pk_crl_piece")),
    )
    op.create_table(
        "mark",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mark")),
    )
    op.create_table(
        "ocsp_response",
        sa.Column("issuer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("hash_algorithm", sa.String(length=8), nullable=False),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.Column("response_der", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "serial", "hash_algorithm", name=op.f("pk_ocsp_response")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_ocsp_response_this_update", "ocsp_response", ["this_update"], unique=False)
    op.create_table(
        "revocation",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=True),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=True),
        sa.Column("entry_der", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_revocation")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_revocation_changed_at", "revocation", ["changed_at"], unique=False)
    op.create_index("ix_revocation_issuer_id_number", "revocation", ["issuer_id", "number"], unique=False)
    op.create_index(
        "ix_revocation_issuer_id_shard_number", "revocation", ["issuer_id", "shard", "number"], unique=False
    )
    op.create_index("ix_revocation_issuer_id_not_after", "revocation", ["issuer_id", "not_after"], unique=False)
    op.create_index(
        "ix_revocation_released",
        "revocation",
        ["issuer_id", "changed_at"],
        unique=False,
        sqlite_where=sa.text("released_at IS NOT NULL"),
        postgresql_where=sa.text("released_at IS NOT NULL"),
    )
    op.create_index(
        "ix_revocation_in_force",
        "revocation",
        ["issuer_id", "serial"],
        unique=True,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("partner_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_credential_partner_id_partner")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        sa.UniqueConstraint("sha256", name=op.f("uq_credential_sha256")),
    )
    op.create_index("ix_credential_partner_id", "credential", ["partner_id"], unique=False)
    op.create_table(
        "crl",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("crl_number", sa.BigInteger(), nullable=False),
        sa.Column("base_number", sa.BigInteger(), nullable=True),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.Column("snapshot", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("octets", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_crl_issuer_id_issuer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crl")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_crl_issuer_id_scope_crl_number", "crl", ["issuer_id", "scope", "crl_number"], unique=False)
    op.create_table(
        "crl_publication",
        sa.Column("issuer_id", sa.Integer(), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("crl_id", sa.BigInteger(), nullable=True),
        sa.Column("crl_number", sa.BigInteger(), nullable=False),
        sa.Column("runner", sa.String(length=160), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["issuer_id"], ["issuer.id"], name=op.f("fk_crl_publication_issuer_id_issuer")),
        sa.PrimaryKeyConstraint("issuer_id", "scope", "kind", name=op.f("pk_crl_publication")),
    )
    op.create_table(
        "est_request",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("partner_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("subject_sha256", sa.String(length=64), nullable=False),
        sa.Column("spki_sha256", sa.String(length=64), nullable=False),
        sa.Column("csr_der", sa.LargeBinary(), nullable=False),
        sa.Column("common_name", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("certificate_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_est_request_partner_id_partner")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_est_request")),
    )
    op.create_index(
        "ix_est_request_who", "est_request", ["partner_id", "label", "spki_sha256", "subject_sha256"], unique=False
    )


def downgrade() -> None:
    """Undo; reservations that are open must be settled first, their intents are not cut up again."""
    op.drop_table("intent")
    op.create_table(
        "intent",
        sa.Column("certificate_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("tbs_der", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("certificate_id", name=op.f("pk_intent")),
    )
    op.drop_index("ix_est_request_who", "est_request")
    op.drop_table("est_request")
    op.drop_table("crl_publication")
    op.drop_index("ix_crl_issuer_id_scope_crl_number", "crl")
    op.drop_table("crl")
    op.drop_index("ix_credential_partner_id", "credential")
    op.drop_table("credential")
    op.drop_index("ix_revocation_in_force", "revocation")
    op.drop_index("ix_revocation_released", "revocation")
    op.drop_index("ix_revocation_issuer_id_not_after", "revocation")
    op.drop_index("ix_revocation_issuer_id_shard_number", "revocation")
    op.drop_index("ix_revocation_issuer_id_number", "revocation")
    op.drop_index("ix_revocation_changed_at", "revocation")
    op.drop_table("revocation")
    op.drop_index("ix_ocsp_response_this_update", "ocsp_response")
    op.drop_table("ocsp_response")
    op.drop_table("mark")
    op.drop_table("crl_piece")


def _join_intents() -> None:
    """Bring the intents of each open reservation into one row."""
    rows = op.get_bind().execute(sa.text("SELECT certificate_id, serial, tbs_der FROM intent ORDER BY certificate_id"))
    joined: dict[int, tuple[list[str], list[bytes]]] = {}
    for row in rows.all():
        serials, ders = joined.setdefault(row.certificate_id // _POSITIONS, ([], []))
        serials.append(row.serial)
        ders.append(bytes(row.tbs_der))
    op.drop_table("intent")
    intent = op.create_table(
        "intent",
        sa.Column("reservation", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("serials", sa.Text(), nullable=False),
        sa.Column("tbs_der", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("reservation", name=op.f("pk_intent")),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Read once, at a crash: compressing it costs more than writing it.
        op.execute("ALTER TABLE intent ALTER COLUMN tbs_der SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE intent ALTER COLUMN serials SET STORAGE EXTERNAL")
    for number, (serials, ders) in joined.items():
        values = {"reservation": number, "serials": " ".join(serials), "tbs_der": b"".join(ders)}
        op.execute(sa.insert(intent).values(**values))
