"""Partners and the environment's stamp."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select

from pki_core.model.errors import ConflictError, NotFoundError
from pki_core.model.partners import Partner
from pki_core.model.signer import TokenIdentity
from pki_core.store import tables
from pki_core.store.driver import run
from pki_core.store.times import to_seconds

_scope = tables.partner_scope
SUSPENDED = ("status", "suspended")
SUSPENDED_IDS = select(_scope.c.partner_id).where(_scope.c.kind == SUSPENDED[0], _scope.c.value == SUSPENDED[1])

# Built once: every EST request asks it.
_WITH_SCOPES = (
    select(tables.partner_scope.c.kind, tables.partner_scope.c.value)
    .select_from(tables.partner)
    .outerjoin(tables.partner_scope, tables.partner_scope.c.partner_id == tables.partner.c.id)
    .where(tables.partner.c.id == bindparam("wanted"))
)


class PartnerGateway:
    """Rows of ``partner`` and ``partner_scope``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, partner: Partner, now: datetime) -> None:
        """Add a partner; ConflictError when the id is taken."""
        if self._connection.scalar(select(tables.partner.c.id).where(tables.partner.c.id == partner.id)):
            raise ConflictError(f"there is a partner {partner.id!r} already")
        self._connection.execute(insert(tables.partner).values(id=partner.id, created_at=to_seconds(now)))
        scopes = {
            "role": partner.roles,
            "provider": partner.provider_prefixes,
            "operator": partner.operator_prefixes,
            "wmi": partner.wmis,
        }
        self.widen(partner.id, [(kind, value) for kind, values in scopes.items() for value in sorted(values)])

    def lock(self, partner_id: str) -> Partner:
        """Return a partner whom nobody else changes before the transaction ends; NotFoundError when there is none."""
        # FOR NO KEY UPDATE: rows that name the partner (certificates, batches) need not wait for it.
        wanted = select(tables.partner.c.id).where(tables.partner.c.id == partner_id).with_for_update(key_share=True)
        self._connection.execute(wanted)
        return self.get(partner_id)

    def widen(self, partner_id: str, scopes: Sequence[tuple[str, str]]) -> None:
        """Give a partner (kind, value) of roles and prefixes he does not have."""
        rows = [{"partner_id": partner_id, "kind": kind, "value": value} for kind, value in scopes]
        if rows:
            self._connection.execute(insert(tables.partner_scope), rows)

    def narrow(self, partner_id: str, scopes: Sequence[tuple[str, str]]) -> None:
        """Take (kind, value) of roles and prefixes from a partner."""
        for kind, value in scopes:
            self._connection.execute(
                delete(_scope).where(_scope.c.partner_id == partner_id, _scope.c.kind == kind, _scope.c.value == value)
            )

    def holder(self, kind: str, value: str, but: str) -> str | None:
        """Return another partner who holds a prefix, None when there is none."""
        return self._connection.scalar(
            select(_scope.c.partner_id)
            .where(_scope.c.kind == kind, _scope.c.value == value, _scope.c.partner_id != but)
            .order_by(_scope.c.partner_id)
            .limit(1)
        )

    def get(self, partner_id: str) -> Partner:
        """Return a partner; NotFoundError when there is none."""
        rows = run(self._connection, _WITH_SCOPES, {"wanted": partner_id}).fetchall()
        if not rows:
            raise NotFoundError(f"there is no partner {partner_id!r}")
        return partner_of(partner_id, [(kind, value) for kind, value in rows])

    def ids(self) -> list[str]:
        """Return the ids of all partners."""
        return list(self._connection.scalars(select(tables.partner.c.id).order_by(tables.partner.c.id)))

    def suspended(self) -> frozenset[str]:
        """Return the ids of the partners that are suspended."""
        return frozenset(self._connection.scalars(SUSPENDED_IDS))


def partner_of(partner_id: str, rows: Iterable[tuple[str | None, str | None]]) -> Partner:
    """Return a partner from (kind, value) of its scopes; (None, None) stands for none."""
    kinds = ("role", "provider", "operator", "wmi", SUSPENDED[0])
    scopes: dict[str, set[str]] = {kind: set() for kind in kinds}
    for kind, value in rows:
        if kind is not None and value is not None:
            scopes[kind].add(value)
    return Partner(
        id=partner_id,
        roles=frozenset(scopes["role"]),
        provider_prefixes=frozenset(scopes["provider"]),
        operator_prefixes=frozenset(scopes["operator"]),
        wmis=frozenset(scopes["wmi"]),
        is_suspended=SUSPENDED[1] in scopes[SUSPENDED[0]],
    )


class EnvironmentGateway:
    """The one row that says which environment a database belongs to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stamp(self, name: str, environment_id: str, token: TokenIdentity, now: datetime) -> None:
        """Write the stamp; ConflictError when the database has one."""
        if self.read() is not None:
            raise ConflictError("this database belongs to an environment already")
        self._connection.execute(
            insert(tables.environment).values(
                id=1,
                name=name,
                environment_id=environment_id,
                token_kind=token.kind,
                token_label=token.label,
                token_serial=token.serial,
                created_at=to_seconds(now),
            )
        )

    def read(self) -> tuple[str, str, TokenIdentity] | None:
        """Return (name, environment id, token) or None for a database without a stamp."""
        row = self._connection.execute(select(tables.environment)).first()
        if row is None:
            return None
        token = TokenIdentity(kind=row.token_kind, label=row.token_label, serial=row.token_serial)
        return row.name, row.environment_id, token
