"""The tables. Times are whole seconds since 1970 UTC (BIGINT), serials lower hex with two digits an octet.

Sized for 100 million certificates: the status table that OCSP reads is narrow and holds the only index a random
serial touches; every other key on the issuing path grows at its end. ``certificate.id`` is known before the
certificate exists: reservation number * 4096 + position.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

from pki_core.model.limits import ASKED_NAME_LIMIT, COMMON_NAME_LIMIT, NAME_LIMIT, SHA256_DIGITS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only for a column declared INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")
_SERIAL = String(40)
_HASH = String(SHA256_DIGITS)

environment = Table(
    "environment",
    metadata,
    Column("id", SmallInteger, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("name", String(16), nullable=False),
    Column("environment_id", String(36), nullable=False),
    Column("token_kind", String(16), nullable=False),
    Column("token_label", String(NAME_LIMIT), nullable=False),
    Column("token_serial", String(NAME_LIMIT), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

partner = Table(
    "partner",
    metadata,
    Column("id", String(NAME_LIMIT), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

partner_scope = Table(
    "partner_scope",
    metadata,
    Column("partner_id", ForeignKey("partner.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),  # role | provider | operator | wmi | status
    Column("value", String(16), primary_key=True),
)

profile = Table(
    "profile",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("hash", _HASH, nullable=False, unique=True),
    Column("name", String(NAME_LIMIT), nullable=False),
    Column("document", Text, nullable=False),
    Column("first_used_at", BigInteger, nullable=False),
)

issuer = Table(
    "issuer",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("label", String(NAME_LIMIT), nullable=False, unique=True),
    Column("branch", String(8), nullable=False),
    Column("edition", String(16), nullable=False),
    Column("level", String(8), nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("parent_id", ForeignKey("issuer.id")),
    Column("key_label", String(NAME_LIMIT), nullable=False, unique=True),
    Column("subject_der", LargeBinary, nullable=False),
    Column("spki_der", LargeBinary, nullable=False),
    Column("key_identifier", LargeBinary, nullable=False),
    Column("certificate_id", BigInteger),  # set when the certificate is recorded: the issuer is active from then on
    Column("certificate_der", LargeBinary),
    Column("not_before", BigInteger),
    Column("not_after", BigInteger),
)


def delegate_table(name: str) -> Table:
    """Return a table of certificates whose keys sign in a CA's stead; see ``store/delegates.py``."""
    return Table(
        name,
        metadata,
        Column("id", Integer, Identity(), primary_key=True),
        Column("label", String(NAME_LIMIT), nullable=False, unique=True),
        Column("issuer_id", ForeignKey("issuer.id"), nullable=False),
        Column("key_label", String(NAME_LIMIT), nullable=False, unique=True),
        Column("certificate_id", BigInteger, nullable=False),
        Column("certificate_der", LargeBinary, nullable=False),
        Column("not_before", BigInteger, nullable=False),
        Column("not_after", BigInteger, nullable=False),
    )


responder = delegate_table("responder")

reservation = Table(
    "reservation",
    metadata,
    Column("number", _Number, Identity(), primary_key=True),
    Column("issuer_id", ForeignKey("issuer.id"), nullable=False),
    Column("profile_id", ForeignKey("profile.id"), nullable=False),
    Column("runner", String(160), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # a number is never used twice, not even that of a dropped row
)

intent = Table(
    "intent",
    metadata,
    # One row for all of a reservation: a row each costs more than all else that is stored before a signature.
    Column("reservation", _Number, primary_key=True, autoincrement=False),
    Column("serials", Text, nullable=False),  # in order, separated by blanks
    Column(
        "tbs_der", LargeBinary, nullable=False
    ),  # the to-be-signed bytes, one behind the other: DER knows its length
)

certificate_status = Table(
    "certificate_status",
    metadata,
    Column("issuer_id", Integer, primary_key=True, autoincrement=False),  # no foreign key: checked per row, 5 us each
    Column("serial", _SERIAL, primary_key=True),
    Column("certificate_id", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("reason", SmallInteger),
    sqlite_with_rowid=False,
    postgresql_with={"fillfactor": 60},  # reserved -> good stays on its page and touches no index
)

certificate = Table(
    "certificate",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("issuer_id", Integer, nullable=False),
    Column("serial", _SERIAL, nullable=False),
    Column("profile_id", Integer, nullable=False),
    Column("partner_id", String(NAME_LIMIT)),
    Column("common_name", String(COMMON_NAME_LIMIT), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
)

certificate_der = Table(
    "certificate_der",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("not_after", BigInteger, primary_key=True, autoincrement=False),
    Column("der", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (not_after)",  # a year is detached as a whole once it is archived
)

audit = Table(
    "audit",
    metadata,
    Column("id", _Number, Identity(), primary_key=True),
    Column("stream", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(NAME_LIMIT), nullable=False),
    Column("action", String(32), nullable=False),
    Column("issuer_id", Integer),
    Column("serial", _SERIAL),
    Column("profile_id", Integer),
    Column("certificate_sha256", LargeBinary),
    Column("detail", Text),
)

audit_checkpoint = Table(
    "audit_checkpoint",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("last_id", BigInteger, nullable=False),  # every audit row up to here is in the chains
    Column("heads", Text, nullable=False),  # stream -> [rows, hash], JSON
    Column("sealed_at", BigInteger, nullable=False),
    Column("previous_sha256", _HASH, nullable=False),
    Column("key_label", String(NAME_LIMIT), nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

revocation = Table(
    "revocation",
    metadata,
    Column("number", _Number, Identity(), primary_key=True),  # order of recording, and of the entries of a CRL
    Column("issuer_id", Integer, nullable=False),
    Column("serial", _SERIAL, nullable=False),
    Column("status", SmallInteger, nullable=False),  # revoked | hold
    Column("revoked_at", BigInteger, nullable=False),
    Column("reason", SmallInteger),  # RFC 5280 5.3.1; null = unspecified, which a CRL leaves out
    Column("not_after", BigInteger, nullable=False),
    Column("shard", SmallInteger),  # of the CRL the certificate names; null = it names none, or the full one
    Column("entry_der", LargeBinary, nullable=False),  # its line in a CRL, encoded once
    Column("changed_at", BigInteger, nullable=False),  # when it was recorded, or released from hold
    Column("released_at", BigInteger),  # a hold that ended, or a reason that was corrected; null = in force
    sqlite_autoincrement=True,
)

compromised_key = Table(
    "compromised_key",
    metadata,
    Column("spki_sha256", _HASH, primary_key=True),  # of a certificate of ours that was revoked for that
    sqlite_with_rowid=False,
)

crl = Table(
    "crl",
    metadata,
    Column("id", _Number, Identity(), primary_key=True),
    Column("issuer_id", ForeignKey("issuer.id"), nullable=False),
    Column("scope", String(16), nullable=False),  # full, or the number of a shard
    Column("crl_number", BigInteger, nullable=False),
    Column("base_number", BigInteger),  # of a delta; null = a complete CRL
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("snapshot", BigInteger, nullable=False),  # when its data was read
    Column("seen", Integer),  # changes its maker saw, recorded since five minutes before that; null = not counted
    Column("entries", Integer, nullable=False),
    Column("octets", BigInteger, nullable=False),
    Column("sha256", _HASH, nullable=False),
    sqlite_autoincrement=True,
)

crl_piece = Table(
    "crl_piece",
    metadata,
    Column("crl_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("octets", LargeBinary, nullable=False),
)

crl_publication = Table(
    "crl_publication",
    metadata,
    Column("issuer_id", ForeignKey("issuer.id"), primary_key=True),
    Column("scope", String(16), primary_key=True),
    Column("kind", String(8), primary_key=True),  # complete | delta
    Column("crl_id", BigInteger),  # what is served; null = nothing yet
    Column("crl_number", BigInteger, nullable=False),
    Column("runner", String(160), nullable=False),  # who is making the next one
    Column("lease_until", BigInteger, nullable=False),
)

ocsp_response = Table(
    "ocsp_response",
    metadata,
    Column("issuer_id", Integer, primary_key=True, autoincrement=False),
    Column("serial", _SERIAL, primary_key=True),
    Column("hash_algorithm", String(8), primary_key=True),  # of the CertID it answers: sha1 | sha256 | sha384 | sha512
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("response_der", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

credential = Table(
    "credential",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("partner_id", ForeignKey("partner.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # secret | certificate
    Column("sha256", _HASH, nullable=False, unique=True),  # of the machine secret, or of the certificate
    Column("created_at", BigInteger, nullable=False),
    Column("not_after", BigInteger),
    Column("ended_at", BigInteger),  # withdrawn; null = in force
)

est_request = Table(
    "est_request",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("partner_id", ForeignKey("partner.id"), nullable=False),
    Column("label", String(NAME_LIMIT), nullable=False),
    Column("subject_sha256", _HASH, nullable=False),
    Column("spki_sha256", _HASH, nullable=False),
    Column("csr_der", LargeBinary, nullable=False),
    Column("common_name", String(ASKED_NAME_LIMIT), nullable=False),
    Column("state", String(16), nullable=False),  # pending | approved | refused | issued
    Column("asked_at", BigInteger, nullable=False),
    Column("decided_at", BigInteger),
    Column("decided_by", String(NAME_LIMIT)),
    Column("certificate_id", BigInteger),
)

mark = Table(
    "mark",
    metadata,
    Column("name", String(NAME_LIMIT), primary_key=True),  # last signed time, last run of a flow
    Column("at", BigInteger, nullable=False),
)

Index("ix_revocation_issuer_id_number", revocation.c.issuer_id, revocation.c.number)
Index("ix_revocation_changed_at", revocation.c.changed_at)
Index("ix_revocation_issuer_id_changed_at", revocation.c.issuer_id, revocation.c.changed_at)
Index("ix_revocation_issuer_id_shard_number", revocation.c.issuer_id, revocation.c.shard, revocation.c.number)
Index("ix_revocation_issuer_id_not_after", revocation.c.issuer_id, revocation.c.not_after)
Index(  # holds that ended: few, and soon removed
    "ix_revocation_released",
    revocation.c.issuer_id,
    revocation.c.changed_at,
    sqlite_where=revocation.c.released_at.is_not(None),
    postgresql_where=revocation.c.released_at.is_not(None),
)
Index(  # RFC 5280 5.1.2.6: a CRL lists a serial once
    "ix_revocation_in_force",
    revocation.c.issuer_id,
    revocation.c.serial,
    unique=True,
    sqlite_where=revocation.c.released_at.is_(None),
    postgresql_where=revocation.c.released_at.is_(None),
)
Index("ix_crl_issuer_id_scope_crl_number", crl.c.issuer_id, crl.c.scope, crl.c.crl_number)
Index("ix_ocsp_response_this_update", ocsp_response.c.this_update)
Index("ix_credential_partner_id", credential.c.partner_id)
Index(
    "ix_est_request_who",
    est_request.c.partner_id,
    est_request.c.label,
    est_request.c.spki_sha256,
    est_request.c.subject_sha256,
)
OPEN_EST_REQUEST = est_request.c.state.in_(("pending", "approved"))
Index(  # RFC 7030 4.2.3: who asks again asks for the same certificate
    "ix_est_request_open",
    est_request.c.partner_id,
    est_request.c.label,
    est_request.c.spki_sha256,
    est_request.c.subject_sha256,
    unique=True,
    sqlite_where=OPEN_EST_REQUEST,
    postgresql_where=OPEN_EST_REQUEST,
)
