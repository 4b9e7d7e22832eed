"""The tables of the pools: RCP, PCP, CCP, their outbox, and the registration authority's end entities.

Sized for millions of vehicles: what we issued ourselves keeps its DER where it is and costs 200 octets here; the CA
certificates of a leaf are stored once for all that share them. Hashes are raw octets where there is one a row.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pki_core.model.identifiers import EMAID_LENGTH
from pki_core.model.limits import COMMON_NAME_LIMIT, NAME_LIMIT, SHA256_DIGITS
from pki_core.store.batch_tables import metadata  # one for all: whoever imports these tables knows those, too
from pki_core.store.tables import delegate_table

_Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only for a column declared INTEGER
_PCID = String(COMMON_NAME_LIMIT)
_ALGORITHM = String(16)
_HASH = String(SHA256_DIGITS)
_ONE_SOURCE = "(leaf_der IS NULL) <> (certificate_id IS NULL)"

certificate_chain = Table(
    "certificate_chain",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("sha256", _HASH, nullable=False, unique=True),  # over the certificates and the root's hash
    Column("sub2_der", LargeBinary),
    Column("sub1_der", LargeBinary, nullable=False),
    Column("root_sha256", _HASH, nullable=False),
    Column("valid_to", BigInteger, nullable=False),
    Column("is_own", Boolean, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

provisioning_certificate = Table(
    "provisioning_certificate",
    metadata,
    Column("pcid", _PCID, primary_key=True),  # upper case
    Column("algorithm", _ALGORITHM, primary_key=True),
    Column("pcid_as_sent", _PCID, nullable=False),
    Column("namespace", SmallInteger, nullable=False),
    Column("chain_id", Integer, nullable=False),  # no reference: it would cost as much as the row; chains are kept
    Column("certificate_id", BigInteger),  # issued by us: certificate.id
    Column("leaf_der", LargeBinary),  # issued by others
    Column("key_sha256", LargeBinary, nullable=False),
    Column("valid_to", BigInteger, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("v2g_roots", Text),
    Column("previous_pcid", _PCID),
    CheckConstraint(_ONE_SOURCE, name="one_source"),
    CheckConstraint("pcid = upper(pcid)", name="upper_case"),
    sqlite_with_rowid=False,
)

contract = Table(
    "contract",
    metadata,
    Column("emaid", String(EMAID_LENGTH), primary_key=True),  # so one EMAID has one contract, and one PCID
    Column("emaid_as_issued", String(15), nullable=False),
    Column("pcid", _PCID, nullable=False),
    Column("algorithm", _ALGORITHM, nullable=False),
    Column("key_sha256", LargeBinary, nullable=False),
    Column("namespace", SmallInteger, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("chain_id", ForeignKey("certificate_chain.id"), nullable=False),
    Column("certificate_id", BigInteger),
    Column("leaf_der", LargeBinary),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger, nullable=False),
    Column("cps_fingerprint", _HASH, nullable=False),
    Column("signer_id", Integer),  # cps_signer.id, 0 = a provisioning service of others; null = not looked at yet
    Column("updated_at", BigInteger, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    CheckConstraint(_ONE_SOURCE, name="one_source"),
    CheckConstraint("length(emaid) = 14 AND emaid = upper(emaid)", name="canonical"),
    CheckConstraint("valid_from < valid_to", name="validity"),
    # No contract without a provisioning certificate, whatever is deleted at the same moment.
    ForeignKeyConstraint(
        ["pcid", "algorithm"], ["provisioning_certificate.pcid", "provisioning_certificate.algorithm"]
    ),
    sqlite_with_rowid=False,
)

# Certificates of ours that were replaced in the CCP while the vehicle may still use them: they end with their contract.
former_contract = Table(
    "former_contract",
    metadata,
    Column("emaid", String(EMAID_LENGTH), primary_key=True),
    Column("certificate_id", BigInteger, primary_key=True, autoincrement=False),
    Column("pcid", _PCID, nullable=False),
    Column("algorithm", _ALGORITHM, nullable=False),
    Column("valid_to", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

contract_data = Table(
    "contract_data",
    metadata,
    Column("emaid", ForeignKey("contract.emaid"), primary_key=True),
    Column("signed_data", LargeBinary, nullable=False),
    Column("renew_days", SmallInteger),  # for how long its operator wants it renewed; null = not at all
    Column("meta_data", Text),  # what its operator said beside the order; vehicles' back ends get it with the data
)

cps_signer = delegate_table("cps_signer")

pool_root = Table(
    "pool_root",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("certificate_der", LargeBinary, nullable=False),
    Column("sha256", _HASH, nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger, nullable=False),
    Column("added_by", String(NAME_LIMIT), nullable=False),
    Column("confirmed_by", String(NAME_LIMIT)),
    Column("evidence", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("removal_asked_by", String(NAME_LIMIT)),
    Column("removal_asked_at", BigInteger),
    UniqueConstraint("sha256", "kind"),
    CheckConstraint("confirmed_by IS NULL OR lower(confirmed_by) <> lower(added_by)", name="two_people"),
)

outbox_event = Table(
    "outbox_event",
    metadata,
    Column("number", _Number, Identity(), primary_key=True),
    Column("id", String(36), nullable=False),
    Column("type", String(48), nullable=False),
    Column("scope", String(8), nullable=False),  # a WMI or a provider prefix; "" = everybody
    Column("at", BigInteger, nullable=False),
    Column("pcid", _PCID, nullable=False),
    Column("emaid", String(15), nullable=False),
    Column("root_id", String(36), nullable=False),
    Column("namespace", SmallInteger),
    sqlite_autoincrement=True,
)

end_entity = Table(
    "end_entity",
    metadata,
    Column("partner_id", ForeignKey("partner.id"), primary_key=True),
    Column("canonical", String(100), primary_key=True),
    Column("document", Text, nullable=False),  # everything else of it, JSON
    Column("registered_at", BigInteger, nullable=False),
)

_pcp, _ccp = provisioning_certificate.c, contract.c
Index("ix_provisioning_certificate_valid_to", _pcp.valid_to)
Index("ix_contract_valid_to", _ccp.valid_to)
Index("ix_contract_cps_fingerprint", _ccp.cps_fingerprint)
Index("ix_contract_pcid_algorithm", _ccp.pcid, _ccp.algorithm)
Index("ix_former_contract_pcid", former_contract.c.pcid)
Index("ix_former_contract_valid_to", former_contract.c.valid_to)
Index(
    "ix_contract_default",
    _ccp.pcid,
    unique=True,
    sqlite_where=text("is_default"),
    postgresql_where=text("is_default"),
)
for _table in (provisioning_certificate, contract):
    _own = _table.c.certificate_id.is_not(None)
    Index(
        f"ix_{_table.name}_certificate_id", _table.c.certificate_id, sqlite_where=_own, postgresql_where=_own
    )  # grows at its end
    _foreign = _table.c.leaf_der.is_not(None)
    Index(f"ix_{_table.name}_checked_at", _table.c.checked_at, sqlite_where=_foreign, postgresql_where=_foreign)
