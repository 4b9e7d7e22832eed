"""Who signed the contract data of the CCP (OPCP, CPS), and what is signed anew in its place."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, not_, or_, select, update

from pki_core.model.pools import Namespace
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.bulk import is_one_of, look_up_by_keys
from pki_core.store.issuers import is_fallen
from pki_core.store.pool_tables import contract, contract_data
from pki_core.store.times import from_seconds, to_seconds

_WINDOWED = ("emaid", "namespace", "certificate_id", "signer_id", "valid_to", "checked_at")


class SignedContractRow(NamedTuple):
    """Contract data with what decides whether it is signed anew."""

    emaid: str
    namespace: Namespace
    is_own: bool  # our certificate, and good; what others issued has only been asked about at a moment
    signer_id: int | None  # None = not looked at yet
    checked_at: datetime
    signed_data: bytes


class ContractSignerGateway:
    """The column ``contract.signer_id`` and the data it speaks of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def signed_by(
        self, signers: Collection[int], now: datetime, after: str, limit: int
    ) -> tuple[list[SignedContractRow], str]:
        """Return contracts in force, of these signers or of one not looked at yet, in a window behind an EMAID.

        The second value is the window's last EMAID, "" = no more. Certificates of ours that are revoked, or below a
        revoked CA, are left out.
        """
        look_up_by_keys(self._connection)
        window = (
            select(*(contract.c[name] for name in _WINDOWED))
            .where(contract.c.emaid > after)
            .order_by(contract.c.emaid)
            .limit(limit)
            .subquery()
        )
        last = self._connection.scalar(select(func.max(window.c.emaid))) or ""
        certificate, status = tables.certificate, tables.certificate_status
        same = and_(status.c.issuer_id == certificate.c.issuer_id, status.c.serial == certificate.c.serial)
        rows = self._connection.execute(
            select(window, contract_data.c.signed_data)
            .join_from(window, contract_data, contract_data.c.emaid == window.c.emaid)
            .join(certificate, certificate.c.id == window.c.certificate_id, isouter=True)
            .join(status, same, isouter=True)
            .where(
                window.c.valid_to > to_seconds(now),
                or_(window.c.signer_id.is_(None), window.c.signer_id.in_(sorted(signers))),
                or_(
                    window.c.certificate_id.is_(None),
                    and_(status.c.status == CertificateState.GOOD.value, not_(is_fallen(certificate.c.issuer_id))),
                ),
            )
            .order_by(window.c.emaid)
        )
        found = [
            SignedContractRow(
                row.emaid,
                Namespace(row.namespace),
                row.certificate_id is not None,
                row.signer_id,
                from_seconds(row.checked_at),
                bytes(row.signed_data),
            )
            for row in rows
        ]
        return found, last

    def note(self, signer_id: int, emaids: Collection[str]) -> None:
        """Note who signed data that nobody had looked at."""
        are = is_one_of(self._connection, contract.c.emaid, sorted(emaids))
        unknown = update(contract).where(are, contract.c.signer_id.is_(None))
        self._connection.execute(unknown.values(signer_id=signer_id))

    def replace(self, emaid: str, before: bytes, after: bytes, signer_id: int) -> bool:
        """Put data signed anew in the place of what was read; False when that is not there any more."""
        same = (contract_data.c.emaid == emaid, contract_data.c.signed_data == before)
        if not self._connection.execute(update(contract_data).where(*same).values(signed_data=after)).rowcount:
            return False
        self._connection.execute(update(contract).where(contract.c.emaid == emaid).values(signer_id=signer_id))
        return True
