"""Registration authority: charging stations a partner announces before they enrol (Hubject VRA)."""

from collections.abc import Sequence

from pki_core.model.clock import Clock
from pki_core.model.errors import LimitExceededError, MalformedError, NotAuthorizedError
from pki_core.model.identifiers import parse_evse_identifier
from pki_core.model.partners import Partner
from pki_core.model.registrations import EndEntity, canonical_name
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork

MAX_AT_ONCE = 1000
PAGE = 1000
UNREGISTERED = ("registration.missing", "This name is not registered; register it before it enrols.")
_NOT_ALLOWED = "operator not allowed"  # as clients of the registration authority know it


class Registrations:
    """End entities by partner and common name."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def put(self, partner: Partner, entities: Sequence[EndEntity]) -> int:
        """Register charging stations, each over the one of its name; returns how many are new.

        Raises:
            NotAuthorizedError: one is another operator's; none is registered.
            MalformedError, LimitExceededError: one is no EVSEID or SECCID, or there are too many.
        """
        if len(entities) > MAX_AT_ONCE:
            raise LimitExceededError(f"at most {MAX_AT_ONCE} end entities at once")
        if not entities:
            raise MalformedError("there is no end entity to register")
        for entity in entities:
            _check(partner, entity)
        return self._put(partner, entities)

    def put_file(self, partner_id: str, rows: Sequence[tuple[int, EndEntity]]) -> int:
        """Register the charging stations of a file, a thousand a transaction; returns how many are new.

        Each comes with its line. All of them are judged before the first is stored; what breaks off is done again from
        the start.

        Raises:
            NotFoundError: there is no such partner.
            NotAuthorizedError, MalformedError: as ``put``, and the line.
        """
        with self._store.reading() as work:
            partner = work.partners.get(partner_id)
        for line, entity in rows:
            try:
                _check(partner, entity)
            except (NotAuthorizedError, MalformedError) as error:
                raise type(error)(f"line {line}: {error}") from error
        entities = [entity for _, entity in rows]
        pieces = (entities[at : at + MAX_AT_ONCE] for at in range(0, len(entities), MAX_AT_ONCE))
        return sum(self._put(partner, piece) for piece in pieces)

    def _put(self, partner: Partner, entities: Sequence[EndEntity]) -> int:
        now = self._clock.now()
        with self._store.transaction() as work:
            work.partners.lock(partner.id)  # a name is replaced: of several at once the third would clash at every look
            new = work.registrations.put(partner.id, entities, now)
            names = sorted({entity.canonical for entity in entities})
            entries = [AuditEntry(partner.id, "entity.registered", detail=name) for name in names]
            work.audit.append("registrations", now, entries)
        return new

    def is_registered(self, partner: Partner, common_name: str) -> bool:
        """Tell whether a common name was announced; separators do not count."""
        with self._store.reading() as work:
            return all(are_registered(work, partner.id, [common_name]))

    def page(self, partner: Partner, after: str = "") -> list[EndEntity]:
        """Return up to 1,000 of a partner's own end entities behind a common name, in order."""
        with self._store.reading() as work:
            return work.registrations.page(partner.id, canonical_name(after), PAGE)

    def remove(self, partner: Partner, common_name: str) -> bool:
        """Forget an end entity; False when there is none of the partner's."""
        now, name = self._clock.now(), canonical_name(common_name)
        with self._store.transaction() as work:
            removed = bool(work.registrations.remove(partner.id, [name]))
            if removed:
                work.audit.append("registrations", now, [AuditEntry(partner.id, "entity.removed", detail=name)])
        return removed


def are_registered(work: UnitOfWork, partner_id: str, common_names: Sequence[str]) -> list[bool]:
    """Tell of each common name whether a partner announced it; separators do not count."""
    names = [canonical_name(one) for one in common_names]
    known = work.registrations.known(partner_id, sorted(set(names)))
    return [one in known for one in names]


def _check(partner: Partner, entity: EndEntity) -> None:
    identifier = parse_evse_identifier(entity.common_name)
    if "cpo" not in partner.roles or identifier.operator_prefix not in partner.operator_prefixes:
        raise NotAuthorizedError(_NOT_ALLOWED)
