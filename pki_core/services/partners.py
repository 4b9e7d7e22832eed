"""Partners: added by the operator, with roles and the prefixes their identifiers must start with."""

from collections.abc import Sequence

from pki_core.model.clock import Clock
from pki_core.model.errors import MalformedError
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.partners import Partner
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store

ROLES = ("mo", "cpo", "oem", "cps", "operator")
_PREFIX_LENGTHS = {"provider": 5, "operator": 5, "wmi": 3}


class Partners:
    """Adds and lists partners."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(self, partner: Partner) -> None:
        """Add a partner; ConflictError when the id is taken."""
        now = self._clock.now()
        with self._store.transaction() as work:
            work.partners.add(partner, now)
            work.audit.append(
                "partners", now, [AuditEntry(actor="operator", action="partner.added", detail=_told(partner))]
            )

    def all(self) -> list[Partner]:
        """Return every partner."""
        with self._store.reading() as work:
            return [work.partners.get(partner_id) for partner_id in work.partners.ids()]


def _told(partner: Partner) -> str:
    """Say in one line who a partner is, for the audit."""
    scopes = {
        "roles": partner.roles,
        "providers": partner.provider_prefixes,
        "operators": partner.operator_prefixes,
        "wmis": partner.wmis,
    }
    return " ".join([partner.id, *(f"{name}={','.join(sorted(values))}" for name, values in scopes.items() if values)])


def describe_partner(
    partner_id: str, roles: Sequence[str], providers: Sequence[str], operators: Sequence[str], wmis: Sequence[str]
) -> Partner:
    """Check what an operator typed about a partner.

    Raises:
        MalformedError: says which part is wrong.
    """
    bare = partner_id.replace("-", "").replace("_", "").replace(".", "")
    if not bare.isalnum() or not bare.isascii() or len(partner_id) > NAME_LIMIT:
        raise MalformedError(f"a partner id has at most {NAME_LIMIT} letters, digits, dots, dashes and underscores")
    if not roles or (unknown := sorted(set(roles) - set(ROLES))):
        raise MalformedError(
            f"a partner has one or more of the roles {', '.join(ROLES)}" + (f", not {unknown[0]!r}" if roles else "")
        )
    return Partner(
        id=partner_id,
        roles=frozenset(roles),
        provider_prefixes=_prefixes("provider", providers),
        operator_prefixes=_prefixes("operator", operators),
        wmis=_prefixes("wmi", wmis),
    )


def _prefixes(kind: str, values: Sequence[str]) -> frozenset[str]:
    length = _PREFIX_LENGTHS[kind]
    for value in values:
        if len(value) != length or not value.isascii() or not value.isalnum():
            raise MalformedError(f"a {kind} prefix has {length} letters and digits, not {value!r}")
    return frozenset(value.upper() for value in values)
