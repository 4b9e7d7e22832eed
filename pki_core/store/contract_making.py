"""Contracts made by us on their way into the CCP, many at once; and those among them that are due for renewal."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, and_, bindparam, case, cast, or_, select, update

from pki_core.model.pools import Namespace, ProvisioningKey
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.bulk import insert_rows, is_one_of
from pki_core.store.issuers import is_fallen
from pki_core.store.pool_tables import contract, contract_data
from pki_core.store.times import from_seconds, to_seconds


class MadeRow(NamedTuple):
    """A contract of ours; its fields are named as the columns are: this is the hot path."""

    emaid: str
    emaid_as_issued: str
    pcid: str
    algorithm: str
    key_sha256: bytes
    namespace: int
    is_default: bool
    chain_id: int
    certificate_id: int
    valid_from: int
    valid_to: int
    cps_fingerprint: str
    signer_id: int
    updated_at: int
    checked_at: int


_COLUMNS = MadeRow._fields
_HALF_DAY = 43_200  # seconds
_DATA_COLUMNS = ("emaid", "signed_data", "renew_days", "meta_data")
_KEPT = frozenset({"emaid", "is_default"})  # of a contract that is replaced

# Built once. A column is named as its parameter must not be: SQLAlchemy keeps those names for itself.
_REPLACE = (
    update(contract)
    .where(contract.c.emaid == bindparam("the_emaid"))
    .values(leaf_der=None, **{name: bindparam(f"the_{name}") for name in _COLUMNS if name not in _KEPT})
)
_REPLACE_DATA = (
    update(contract_data)
    .where(contract_data.c.emaid == bindparam("the_emaid"))
    .values(**{name: bindparam(f"the_{name}") for name in _DATA_COLUMNS if name != "emaid"})
)


_status = tables.certificate_status
_IS_STATUS = and_(
    _status.c.issuer_id == tables.certificate.c.issuer_id, _status.c.serial == tables.certificate.c.serial
)
_HELD = (
    select(
        contract.c.emaid,
        contract.c.emaid_as_issued,
        contract.c.pcid,
        contract.c.algorithm,
        contract.c.key_sha256,
        contract.c.namespace,
        contract.c.is_default,
        contract.c.valid_from,
        contract.c.valid_to,
        contract.c.cps_fingerprint,
        contract_data.c.signed_data,
        case((is_fallen(tables.certificate.c.issuer_id), CertificateState.REVOKED.value), else_=_status.c.status),
        contract_data.c.meta_data,
        contract.c.checked_at,
    )
    .join_from(contract, contract_data, contract_data.c.emaid == contract.c.emaid)
    .join(tables.certificate, tables.certificate.c.id == contract.c.certificate_id, isouter=True)
    .join(_status, _IS_STATUS, isouter=True)
    .where(contract.c.pcid == bindparam("the_pcid"))
    .order_by(contract.c.is_default.desc(), contract.c.emaid)
)


class DueContract(NamedTuple):
    """A contract whose operator wants it renewed."""

    emaid_as_issued: str
    pcid: str
    algorithm: KeyAlgorithm
    valid_to: datetime
    renew_days: int
    partner_id: str
    cps_fingerprint: str
    certificate_id: int
    meta: str | None


class HeldContract(NamedTuple):
    """What an answer to a vehicle needs of a contract."""

    emaid: str
    emaid_as_issued: str
    pcid: str
    algorithm: KeyAlgorithm
    key_sha256: bytes
    namespace: Namespace
    is_default: bool
    valid_from: datetime
    valid_to: datetime
    cps_fingerprint: str
    signed_data: bytes
    state: CertificateState | None  # of a certificate of ours; revoked where a CA above it is
    meta: str
    checked_at: datetime

    @property
    def key(self) -> ProvisioningKey:
        """The vehicle's key it is for."""
        return ProvisioningKey(self.pcid, self.algorithm)

    @property
    def is_own(self) -> bool:
        """Whether we issued its certificate."""
        return self.state is not None


class ContractMakingGateway:
    """Rows of ``contract`` and ``contract_data`` that we make ourselves."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def vehicles_of(self, emaids: Collection[str]) -> dict[str, str]:
        """Return EMAID and PCID of the contracts that are there."""
        rows = self._connection.execute(
            select(contract.c.emaid, contract.c.pcid).where(
                is_one_of(self._connection, contract.c.emaid, sorted(emaids))
            )
        )
        return {row.emaid: row.pcid for row in rows}

    def with_contracts(self, pcids: Collection[str]) -> set[str]:
        """Return which vehicles have a contract: theirs is no first one."""
        are = is_one_of(self._connection, contract.c.pcid, sorted(pcids))
        return set(self._connection.scalars(select(contract.c.pcid).where(are).distinct()))

    def in_force(self, emaids: Collection[str], now: datetime) -> set[str]:
        """Return which contracts have begun and not ended, and are not known to be revoked or on hold."""
        if not emaids:
            return set()
        is_good = and_(_status.c.status == CertificateState.GOOD.value, ~is_fallen(tables.certificate.c.issuer_id))
        found = self._connection.scalars(
            select(contract.c.emaid)
            .join(tables.certificate, tables.certificate.c.id == contract.c.certificate_id, isouter=True)
            .join(_status, _IS_STATUS, isouter=True)
            .where(
                is_one_of(self._connection, contract.c.emaid, sorted(emaids)),
                contract.c.valid_from <= to_seconds(now),
                contract.c.valid_to > to_seconds(now),
                or_(contract.c.certificate_id.is_(None), is_good),
            )
        )
        return set(found)

    def put(
        self, rows: Sequence[MadeRow], data: Sequence[tuple[str, bytes, int | None, str | None]], known: set[str]
    ) -> None:
        """Insert contracts with their signed data, or write them over those that are ``known``."""
        insert_rows(self._connection, contract, _COLUMNS, [row for row in rows if row.emaid not in known])
        insert_rows(self._connection, contract_data, _DATA_COLUMNS, [one for one in data if one[0] not in known])
        replaced = [
            {f"the_{name}": value for name, value in row._asdict().items()} for row in rows if row.emaid in known
        ]
        if replaced:
            self._connection.execute(_REPLACE, replaced)
            changes = [{f"the_{name}": value for name, value in zip(_DATA_COLUMNS, one, strict=True)} for one in data]
            self._connection.execute(_REPLACE_DATA, [one for one in changes if one["the_emaid"] in known])

    def due(self, now: datetime, before: datetime, after: str, limit: int) -> list[DueContract]:
        """Return contracts behind an EMAID that are good, end before a moment and are to be renewed, in order.

        Those that are renewed for a short time only are due when half of that is left: never again and again.
        """
        owner = tables.certificate.c
        rows = self._connection.execute(
            select(
                contract.c.emaid_as_issued,
                contract.c.pcid,
                contract.c.algorithm,
                contract.c.valid_to,
                contract_data.c.renew_days,
                owner.partner_id,
                contract.c.cps_fingerprint,
                owner.id,
                contract_data.c.meta_data,
            )
            .join_from(contract, contract_data, contract_data.c.emaid == contract.c.emaid)
            .join(tables.certificate, owner.id == contract.c.certificate_id)
            .join(_status, _IS_STATUS)
            .where(
                _status.c.status == CertificateState.GOOD.value,  # what was revoked or is on hold stays so
                contract.c.valid_to < to_seconds(before),
                contract.c.valid_to - cast(contract_data.c.renew_days, BigInteger) * _HALF_DAY < to_seconds(now),
                contract.c.emaid > after,
                contract_data.c.renew_days.is_not(None),
                owner.partner_id.is_not(None),
            )
            .order_by(contract.c.emaid)
            .limit(limit)
        )
        return [DueContract(row[0], row[1], KeyAlgorithm(row[2]), from_seconds(row[3]), *row[4:]) for row in rows]

    def lock_good(self, emaids: Collection[str]) -> dict[str, int]:
        """Return the certificates of those contracts whose certificate is ours and good.

        Neither a contract nor its status changes before the transaction ends.
        """
        if not emaids:
            return {}
        rows = self._connection.execute(
            select(contract.c.emaid, contract.c.certificate_id)
            .join(tables.certificate, tables.certificate.c.id == contract.c.certificate_id)
            .join(_status, _IS_STATUS)
            .where(
                is_one_of(self._connection, contract.c.emaid, sorted(emaids)),
                _status.c.status == CertificateState.GOOD.value,
            )
            .order_by(contract.c.emaid)
            .with_for_update(of=[contract, _status])
        )
        return {row.emaid: row.certificate_id for row in rows}

    def held_by(self, pcid: str) -> list[HeldContract]:
        """Return a vehicle's contracts with their signed data, the default first, by one look."""
        rows = self._connection.execute(_HELD, {"the_pcid": pcid})
        return [
            HeldContract(
                row[0],
                row[1],
                row[2],
                KeyAlgorithm(row[3]),
                bytes(row[4]),
                Namespace(row[5]),
                row[6],
                from_seconds(row[7]),
                from_seconds(row[8]),
                row[9],
                bytes(row[10]),
                None if row[11] is None else CertificateState(row[11]),
                row[12] or "",
                from_seconds(row[13]),
            )
            for row in rows
        ]
