"""Delegated OCSP responders (RFC 6960 4.2.2.2): each CA gets a new one before the last fifth of the old one's life.

Short-lived and never revoked by list (id-pkix-ocsp-nocheck), so they are replaced while both are good: answers signed
by the old one stay valid until it ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, InvariantError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.ocsp import ResponderRecord
from pki_core.model.profiles import Edition, Level, Profile
from pki_core.model.requests import Issued, IssueRequest, Outcome, OwnKeyProof, RequestedSubject
from pki_core.model.signer import KeyStore, Signer
from pki_core.model.states import CertificateState
from pki_core.services.enroll import Enrollment, NoHooks
from pki_core.services.issuers import Issuers
from pki_core.services.ocsp_directory import AnsweredCa, OcspDirectory
from pki_core.services.orders import Order
from pki_core.services.runners import running
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork

_PROFILES = {Edition.ISO_2: "ocsp_responder", Edition.ISO_20: "ocsp_responder_20"}
_OVERLAP = 5  # a fifth of its life before its end, a responder has a successor


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponderRules:
    """What a rotation follows."""

    profiles: Mapping[str, Profile]
    rotate_roots: bool  # False: a root signs by ceremony only
    organization: str
    country: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationReport:
    """What a rotation did, in labels."""

    made: tuple[str, ...]  # responders
    kept: tuple[str, ...]  # CAs whose responder lasts
    skipped: tuple[str, ...]  # CAs that get none: expired, revoked, of TLS, or a root that signs by ceremony


class Responders:
    """Makes responders."""

    def __init__(
        self,
        store: Store,
        key_store: KeyStore,
        issuers: Issuers,
        enrollment: Enrollment,
        clock: Clock,
        rules: ResponderRules,
    ) -> None:
        self._store = store
        self._key_store = key_store
        self._issuers = issuers
        self._enrollment = enrollment
        self._clock = clock
        self._rules = rules

    def rotate(self, *, dry_run: bool = False) -> RotationReport:
        """Give every CA that needs one a new responder; a dry run only says which. Running it again does what is left.

        Raises:
            UnavailableError: store or token went away; responders made so far are in service.
        """
        made, kept, skipped = [], [], []
        for ca in OcspDirectory(self._store).current().cas:
            if self._is_skipped(ca):
                skipped.append(ca.record.label)
            elif (label := self._due(ca.record)) and (dry_run or self._make(ca.record, label)):
                made.append(label)
            else:
                kept.append(ca.record.label)
        return RotationReport(made=tuple(made), kept=tuple(kept), skipped=tuple(skipped))

    def _is_skipped(self, ca: AnsweredCa) -> bool:
        end = ca.record.not_after
        is_over = end is None or end <= self._clock.now()
        is_by_ceremony = ca.record.level is Level.ROOT and not self._rules.rotate_roots
        return is_over or not ca.is_trusted or is_by_ceremony or ca.record.edition not in _PROFILES

    def _lasts(self, responders: Sequence[ResponderRecord]) -> bool:
        now = int(self._clock.now().timestamp())
        return any(
            one.state is CertificateState.GOOD
            and one.not_before <= now < one.not_after - (one.not_after - one.not_before) // _OVERLAP
            for one in responders
        )

    def _make(self, ca: IssuerRecord, label: str) -> bool:
        """Make one; False when another process put the same one into service meanwhile."""
        profile = self._rules.profiles[_PROFILES[ca.edition]]
        signer = self._key(label, ca)
        subject = RequestedSubject(
            common_name=label, organization=self._rules.organization, country=self._rules.country
        )
        request = IssueRequest(reference=label, subject=subject, spki_der=signer.spki_der, proof=OwnKeyProof())
        with running() as runner:
            with self._store.transaction() as work:
                order = Order.pinned(work, profile, self._clock.now(), runner=runner, actor="rotation")
            hooks = _IntoService(label, ca.id, self._clock)
            try:
                self._enrollment.issue(self._issuers.get(ca.label), order, [request], hooks)
            except ConflictError:
                if self._due(ca):
                    raise  # it was not another process: the key's label belongs to something else
                return False
        return True

    def _due(self, ca: IssuerRecord) -> str:
        """Return the label of a CA's next responder, "" while it needs none: seen in one look, so two are never made.

        It is ``ocsp-{CA}-{n}``, with the CA's number where its label is too long for that.
        """
        with self._store.reading() as work:
            own = [one for one in work.responders.all() if one.issuer_id == ca.id]
            taken = set(work.responders.labels())
        if self._lasts(own):
            return ""
        name = ca.label if len(ca.label) + len("ocsp--000000") <= NAME_LIMIT else str(ca.id)
        number = 1
        while f"ocsp-{name}-{number}" in taken:
            number += 1
        return f"ocsp-{name}-{number}"

    def _key(self, label: str, ca: IssuerRecord) -> Signer:
        try:
            return self._key_store.generate(label, ca.algorithm)
        except ConflictError:
            return self._key_store.bind(label)  # of a rotation that ended before its responder was in service


class _IntoService(NoHooks):
    """Writes the responder in the transaction that records its certificate."""

    def __init__(self, label: str, ca_id: int, clock: Clock) -> None:
        self._label = label
        self._ca_id = ca_id
        self._clock = clock

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        """Put it into service; a refusal would be our own fault."""
        (outcome,) = outcomes
        if not isinstance(outcome, Issued):
            raise InvariantError(f"responder {self._label}: {outcome.code}: {outcome.message}")
        work.responders.add((self._label, self._label), self._ca_id, outcome)
        entry = AuditEntry(
            actor="rotation", action="responder.rotated", issuer_id=self._ca_id, detail=f"responder {self._label}"
        )
        work.audit.append("ceremonies", self._clock.now(), [entry])
