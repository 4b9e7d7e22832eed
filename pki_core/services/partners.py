"""Partners: added, changed and suspended by the operator; roles, and prefixes that their identifiers start with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, MalformedError
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.partners import Partner
from pki_core.store.audit import AuditEntry
from pki_core.store.partners import SUSPENDED
from pki_core.store.unit_of_work import Store, UnitOfWork

ROLES = ("mo", "cpo", "oem", "cps", "operator")
_PREFIX_LENGTHS = {"provider": 5, "operator": 5, "wmi": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerChange:
    """What a partner gets and loses, as (kind, value)."""

    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]


class Partners:
    """Adds, changes, suspends and lists partners."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(self, partner: Partner, *, exclusive: bool = False) -> None:
        """Add a partner.

        Raises:
            ConflictError: the id is taken; or, with ``exclusive``, another partner holds one of the prefixes.
        """
        now = self._clock.now()
        with self._store.transaction() as work:
            if exclusive:
                _refuse_held(work, partner.id, _pairs_of(partner))
            work.partners.add(partner, now)
            work.audit.append("partners", now, [AuditEntry("operator", "partner.added", detail=_told(partner))])

    def change(self, partner_id: str, change: PartnerChange, *, by: str, exclusive: bool = True) -> Partner:
        """Give a partner roles and prefixes and take others; they count from the next request on.

        Raises:
            NotFoundError: there is no such partner.
            ConflictError: he has what is to be added, has not what is to be taken, would be left without a role; or,
                with ``exclusive``, another partner holds one of the prefixes.
        """
        now = self._clock.now()
        with self._store.transaction() as work:
            held = _pairs_of(work.partners.lock(partner_id))
            for kind, value in change.added:
                if (kind, value) in held:
                    raise ConflictError(f"partner {partner_id!r} has the {kind} {value} already")
            for kind, value in change.removed:
                if (kind, value) not in held:
                    raise ConflictError(f"partner {partner_id!r} has no {kind} {value}")
            if exclusive:
                _refuse_held(work, partner_id, change.added)
            work.partners.narrow(partner_id, change.removed)
            work.partners.widen(partner_id, change.added)
            changed = work.partners.get(partner_id)
            if not changed.roles:
                raise ConflictError("a partner keeps one role at least; to shut him out: pncpki partner suspend")
            detail = " ".join(
                [partner_id, *(f"+{kind}={value}" for kind, value in change.added)]
                + [f"-{kind}={value}" for kind, value in change.removed]
            )
            work.audit.append("partners", now, [AuditEntry(_who(by), "partner.changed", detail=detail)])
        return changed

    def suspend(self, partner_id: str, *, by: str) -> None:
        """Have nothing count that a partner shows, from the next request on; ConflictError when it is so already."""
        with self._store.transaction() as work:
            if work.partners.lock(partner_id).is_suspended:
                raise ConflictError(f"partner {partner_id!r} is suspended already")
            work.partners.widen(partner_id, [SUSPENDED])
            work.audit.append(
                "partners", self._clock.now(), [AuditEntry(_who(by), "partner.suspended", detail=partner_id)]
            )

    def resume(self, partner_id: str, *, by: str) -> None:
        """Let a suspended partner's credentials count again; ConflictError when he is not suspended."""
        with self._store.transaction() as work:
            if not work.partners.lock(partner_id).is_suspended:
                raise ConflictError(f"partner {partner_id!r} is not suspended")
            work.partners.narrow(partner_id, [SUSPENDED])
            work.audit.append(
                "partners", self._clock.now(), [AuditEntry(_who(by), "partner.resumed", detail=partner_id)]
            )

    def all(self) -> list[Partner]:
        """Return every partner."""
        with self._store.reading() as work:
            return [work.partners.get(partner_id) for partner_id in work.partners.ids()]


def _who(by: str) -> str:
    if not 0 < len(by) <= NAME_LIMIT or not by.isprintable():
        raise MalformedError(f"whoever decides has a name of at most {NAME_LIMIT} characters")
    return by


def _pairs_of(partner: Partner) -> list[tuple[str, str]]:
    """Return roles and prefixes as the store keeps them."""
    kinds = {
        "role": partner.roles,
        "provider": partner.provider_prefixes,
        "operator": partner.operator_prefixes,
        "wmi": partner.wmis,
    }
    return [(kind, value) for kind, values in kinds.items() for value in sorted(values)]


def _told(partner: Partner) -> str:
    """Say in one line who a partner is, for the audit."""
    return " ".join([partner.id, *(f"{kind}={value}" for kind, value in _pairs_of(partner))])


def _refuse_held(work: UnitOfWork, partner_id: str, pairs: Sequence[tuple[str, str]]) -> None:
    for kind, value in pairs:
        if kind != "role" and (holder := work.partners.holder(kind, value, partner_id)):
            raise ConflictError(
                f"partner {holder!r} holds the {kind} {value}: what is said in its name would count from both; "
                "with --shared it may be so"
            )


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


def describe_change(added: Mapping[str, Sequence[str]], removed: Mapping[str, Sequence[str]]) -> PartnerChange:
    """Check what an operator typed about a change: values by their kinds, role, provider, operator and wmi.

    Raises:
        MalformedError: says which part is wrong, or that nothing is to be changed.
    """
    change = PartnerChange(added=_pairs(added), removed=_pairs(removed))
    if not change.added and not change.removed:
        raise MalformedError("say what is to be added or removed")
    if twice := set(change.added) & set(change.removed):
        kind, value = min(twice)
        raise MalformedError(f"the {kind} {value} cannot be both added and removed")
    return change


def _pairs(values: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
    found = []
    for kind, typed in values.items():
        if kind == "role":
            if unknown := sorted(set(typed) - set(ROLES)):
                raise MalformedError(f"the roles are {', '.join(ROLES)}, not {unknown[0]!r}")
            found += [(kind, value) for value in sorted(set(typed))]
        else:
            found += [(kind, value) for value in sorted(_prefixes(kind, typed))]
    return tuple(found)


def _prefixes(kind: str, values: Sequence[str]) -> frozenset[str]:
    length = _PREFIX_LENGTHS[kind]
    for value in values:
        if len(value) != length or not value.isascii() or not value.isalnum():
            raise MalformedError(f"a {kind} prefix has {length} letters and digits, not {value!r}")
    return frozenset(value.upper() for value in values)
