"""Credentials of partners: hashes of machine secrets, fingerprints of client certificates, one-time codes."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, String, bindparam, exists, func, insert, select, update

from pki_core.model.credentials import Credential, CredentialKind
from pki_core.model.partners import Partner
from pki_core.store import tables
from pki_core.store.certificates import counting_good
from pki_core.store.driver import run
from pki_core.store.partners import partner_of
from pki_core.store.times import from_seconds, to_seconds

# Built once: every request asks one of them.
_BY_HASH = select(tables.credential).where(tables.credential.c.sha256 == bindparam("wanted"))
_OF_PARTNER = (
    select(tables.credential)
    .where(tables.credential.c.partner_id == bindparam("wanted"))
    .order_by(tables.credential.c.id)
)


class Standing(NamedTuple):
    """What the store says of a shown certificate: as a credential, whose it is, its status and its CAs', its key."""

    credential: Credential | None
    partner: Partner | None
    are_good: bool
    is_compromised: bool  # its key, by whatever certificate that was learnt


class CredentialGateway:
    """Rows of ``credential``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, partner_id: str, kind: CredentialKind, sha256: str, now: datetime, not_after: datetime | None = None
    ) -> int:
        """Add a credential and return its number; ConflictError when somebody has the very same."""
        number = self._connection.execute(
            insert(tables.credential)
            .values(
                partner_id=partner_id,
                kind=kind.value,
                sha256=sha256,
                created_at=to_seconds(now),
                not_after=None if not_after is None else to_seconds(not_after),
            )
            .returning(tables.credential.c.id)
        ).scalar_one()
        return int(number)

    def find(self, sha256: str) -> Credential | None:
        """Return the credential with a hash, in force or not; None when there is none."""
        row = run(self._connection, _BY_HASH, {"wanted": sha256}).fetchone()
        return None if row is None else _credential(*row)

    def standing(
        self, sha256: str | None, own_partner_id: str | None, serials: Sequence[tuple[int, str]], key: str
    ) -> Standing:
        """Return all that the store knows about a certificate that is shown, in one look.

        The partner is that of the credential with the certificate's hash, else ``own_partner_id``; ``serials`` are
        (issuer id, serial) of the certificate and of the CAs above it. Of another CA's there is no hash and no serial.
        ``key`` is its public key, as ``compromised_key`` names it.
        """
        values: dict[str, int | str | None] = {"wanted": sha256, "own": own_partner_id, "key": key}
        distinct = sorted(set(serials))
        for number, (issuer_id, serial) in enumerate(distinct):
            values[f"i{number}"], values[f"s{number}"] = issuer_id, serial
        rows = run(self._connection, _standing(len(distinct)), values).fetchall()
        *shown, known_partner_id, _, _, good, is_compromised = rows[0]
        partner = None
        if known_partner_id is not None:
            partner = partner_of(known_partner_id, [(row[-4], row[-3]) for row in rows])
        credential = None if shown[0] is None else _credential(*shown)
        return Standing(credential, partner, good == len(distinct), bool(is_compromised))

    def of_partner(self, partner_id: str) -> list[Credential]:
        """Return every credential of a partner, in the order they were made."""
        rows = run(self._connection, _OF_PARTNER, {"wanted": partner_id}).fetchall()
        return [_credential(*row) for row in rows]

    def end(self, number: int, now: datetime) -> bool:
        """Withdraw a credential, or use a code up; False when that was done before."""
        return (
            self._connection.execute(
                update(tables.credential)
                .where(tables.credential.c.id == number, tables.credential.c.ended_at.is_(None))
                .values(ended_at=to_seconds(now))
            ).rowcount
            == 1
        )


def _credential(  # noqa: PLR0913, PLR0917  # the columns of the table, in their order
    number: int, partner_id: str, kind: str, sha256: str, created_at: int, not_after: int | None, ended_at: int | None
) -> Credential:
    return Credential(
        id=number,
        partner_id=partner_id,
        kind=CredentialKind(kind),
        sha256=sha256,
        created_at=from_seconds(created_at),
        not_after=None if not_after is None else from_seconds(not_after),
        ended_at=None if ended_at is None else from_seconds(ended_at),
    )


@lru_cache(maxsize=16)
def _standing(count: int) -> Select[Any]:
    """Built once for each number of serials: that takes longer than running it."""
    credential, scope, partner = tables.credential, tables.partner_scope, tables.partner
    asked = select(bindparam("wanted", type_=String).label("sha256")).subquery()
    whose = func.coalesce(credential.c.partner_id, bindparam("own", type_=String))
    return select(
        credential,
        partner.c.id.label("known_partner_id"),
        scope.c.kind.label("scope_kind"),
        scope.c.value.label("scope_value"),
        counting_good(count).scalar_subquery().label("good"),
        exists().where(tables.compromised_key.c.spki_sha256 == bindparam("key")).label("is_compromised"),
    ).select_from(
        asked.outerjoin(credential, credential.c.sha256 == asked.c.sha256)
        .outerjoin(partner, partner.c.id == whose)
        .outerjoin(scope, scope.c.partner_id == partner.c.id)
    )
