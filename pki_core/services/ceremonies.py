"""Key ceremonies: one reviewed file, one act; a transcript with hashes; artefacts verified before they count.

The certificate goes the way of every other: through ``enroll.issue``. Nothing is overwritten: not a key, not an
issuer, not a file. A ceremony is written down before its key is made: interrupted anywhere, the same file goes on with
the same key and the same certificate. Outside dev two different witnesses must be named and the file's reviewed hash be
given.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pki_core.issuance.issuer import Issuer
from pki_core.model.ceremonies import Act, CeremonyPlan
from pki_core.model.certificates import serial_text
from pki_core.model.clock import Clock
from pki_core.model.errors import CeremonyError, ConflictError, InvariantError
from pki_core.model.profiles import Profile
from pki_core.model.requests import Issued, IssueRequest, Outcome, OwnKeyProof
from pki_core.model.signer import KeyStore, Signer
from pki_core.services.budget import MAX_OCTETS
from pki_core.services.ceremony_artefacts import Artefacts
from pki_core.services.ceremony_keys import CeremonyKeys, Say, prove
from pki_core.services.ceremony_records import CeremonyRecords, pending_issuer
from pki_core.services.ceremony_rules import (
    CeremonyEnvironment,
    check_names,
    check_parent,
    check_plan,
    check_size,
    check_witnesses,
    requested_of,
)
from pki_core.services.enroll import Enrollment, NoHooks
from pki_core.services.issuers import Issuers
from pki_core.services.orders import Order
from pki_core.services.runners import runner_token
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import signature_is_valid, signature_of, signed_bytes_of
from pki_core.wire.public_key import load_public_key


class _OneCertificate(NoHooks):
    """A ceremony's one request must become its only certificate; what comes of it is decided when it is verified."""

    def __init__(self, label: str) -> None:
        self._label = label

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if not isinstance(outcome, Issued):
                raise CeremonyError(f"{outcome.code}: {outcome.message}")
            work.ceremonies.record_certificate(self._label, outcome.certificate_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What a ceremony made, before it counts."""

    outcome: Issued
    signer: Signer
    issuer_id: int  # the new CA's own, or of a responder or signer the CA above it


class Ceremonies:
    """Runs ceremony files."""

    def __init__(
        self,
        environment: CeremonyEnvironment,
        store: Store,
        key_store: KeyStore,
        issuers: Issuers,
        enrollment: Enrollment,
        clock: Clock,
    ) -> None:
        self._environment = environment
        self._store = store
        self._key_store = key_store
        self._keys = CeremonyKeys(key_store)
        self._records = CeremonyRecords(store, clock)
        self._issuers = issuers
        self._enrollment = enrollment
        self._clock = clock

    def read(self, path: Path) -> CeremonyPlan:
        """Read a ceremony file and hold it against this environment, without doing anything.

        Raises:
            CeremonyError: the file cannot be read, or may not be run here.
        """
        try:
            content = path.read_bytes()
            document = tomllib.loads(content.decode("utf-8"))
        except (OSError, ValueError) as error:
            raise CeremonyError(f"{path} is not a readable ceremony file: {error}") from error
        plan = CeremonyPlan.from_document(document, hashlib.sha256(content).hexdigest())
        check_plan(plan, self._environment)
        return plan

    def run(self, plan: CeremonyPlan, say: Say, *, reviewed_sha256: str = "") -> list[Path]:
        """Do what the plan says, or what an interrupted run of it left to do; returns the artefacts, transcript last.

        Raises:
            CeremonyError, ConflictError: it may not be run, or would overwrite something; nothing was changed.
        """
        self._check_review(plan, reviewed_sha256)
        artefacts = Artefacts(self._environment.directory, plan.label)
        if artefacts.can_be_finished and (served := self._records.served(plan)):
            artefacts.refuse_other(served)
            say(f"{plan.label} is in service since an interrupted run; its artefacts are finished")
            return artefacts.finish()
        artefacts.refuse_present()
        lines: list[str] = []

        def note(text: str) -> None:
            line = f"{self._clock.now().isoformat()} {text}"
            lines.append(line)
            say(line)

        note(f"ceremony {plan.act} {plan.label} in environment {plan.environment}")
        note(f"input file sha256 {plan.sha256}; witnesses {', '.join(plan.witnesses) or 'none (dev)'}")
        identity = self._key_store.identity
        note(f"token {identity.label} ({identity.kind}, serial {identity.serial})")
        made = self._issue(plan, note)
        artefacts.write_certificate(made.outcome.certificate_der)
        self._verify(plan, artefacts, made, note)
        note("ceremony complete")
        artefacts.write_transcript(lines)
        self._put_into_service(plan, made)  # from here on the CA issues; before, nobody can use it
        return artefacts.finish()

    def is_complete(self, plan: CeremonyPlan) -> bool:
        """Tell whether this very plan was carried out to its end."""
        return Artefacts(self._environment.directory, plan.label).are_finished and bool(self._records.served(plan))

    def _check_review(self, plan: CeremonyPlan, reviewed_sha256: str) -> None:
        check_witnesses(self._environment.name, plan.witnesses)
        if self._environment.name != "dev" and reviewed_sha256.strip().casefold() != plan.sha256:
            raise CeremonyError("the reviewed hash is not this file's: give --sha256 with the hash both witnesses saw")

    def _issue(self, plan: CeremonyPlan, note: Say) -> _Made:
        profile = self._environment.profiles[plan.profile]
        parent = self._parent_of(plan, profile, note)
        begun, pending = self._records.begun(plan)
        above = parent.record if parent else None
        if total := check_size(plan, self._environment, above, self._store, self._clock.now()):
            note(f"verified: the six certificates of an installation answer have {total} of {MAX_OCTETS} octets")
        if pending is not None:
            signer = self._keys.take_up(plan, profile, pending, note)
            begun = begun or self._records.begin(plan)  # interrupted in an earlier version, which wrote nothing down
        elif self._keys.is_taken(plan):
            if begun is None:
                raise ConflictError(f"there is a key {plan.key_label!r} already")
            signer = self._keys.bind(plan, note)
        else:
            begun = begun or self._records.begin(plan)
            signer = self._keys.make(plan, note)
        with self._store.transaction() as work:
            order = Order.pinned(work, profile, self._clock.now(), runner=runner_token(), actor="operator")
            if not plan.act.makes_ca and parent is not None:
                issuer_id = parent.record.id
            else:
                issuer_id = pending.id if pending else work.issuers.add(**pending_issuer(plan, profile, parent, signer))
        if begun.certificate_id is None:
            outcome = self._enroll(plan, parent or self._own_issuer(plan.label, profile), order, signer)
            note(f"profile {profile.id} sha256 {profile.hash}")
        else:
            outcome = self._records.made(plan, begun.certificate_id, signer, note)
        note(f"certificate serial {serial_text(outcome.serial)} issued by {plan.parent or 'itself'}")
        note(f"certificate sha256 {hashlib.sha256(outcome.certificate_der).hexdigest()}")
        return _Made(outcome=outcome, signer=signer, issuer_id=issuer_id)

    def _parent_of(self, plan: CeremonyPlan, profile: Profile, note: Say) -> Issuer | None:
        """Return the CA above, None for a root, when plan and CAs may stand beside each other."""
        parent = self._issuers.get(plan.parent) if plan.parent else None
        if parent is not None:
            check_parent(plan, profile, parent.record)
        with self._store.reading() as work:
            check_names(plan, profile, work)
        if plan.same_name_as:
            note(f"the new CA has the name of {plan.same_name_as} as well, as the file says")
        return parent

    def _enroll(self, plan: CeremonyPlan, issuer: Issuer, order: Order, signer: Signer) -> Issued:
        request = IssueRequest(
            reference=plan.label, subject=requested_of(plan), spki_der=signer.spki_der, proof=OwnKeyProof()
        )
        (outcome,) = self._enrollment.issue(issuer, order, [request], _OneCertificate(plan.label))
        if not isinstance(outcome, Issued):
            raise InvariantError("a refused ceremony was recorded")
        return outcome

    def _put_into_service(self, plan: CeremonyPlan, made: _Made) -> None:
        outcome, now = made.outcome, self._clock.now()
        with self._store.transaction() as work:
            if plan.act is Act.CREATE_RESPONDER:
                work.responders.add((plan.label, plan.key_label), made.issuer_id, outcome)
            elif plan.act is Act.CREATE_CPS_SIGNER:
                work.cps_signers.add((plan.label, plan.key_label), made.issuer_id, outcome)
            else:
                validity = (outcome.not_before, outcome.not_after)
                work.issuers.activate(made.issuer_id, outcome.certificate_id, outcome.certificate_der, validity)
            detail = f"{plan.act} {plan.label} file {plan.sha256} witnesses {', '.join(plan.witnesses)}"
            work.audit.append("ceremonies", now, [AuditEntry(actor="operator", action="ceremony.run", detail=detail)])

    def _own_issuer(self, label: str, profile: Profile) -> Issuer:
        """A root before its certificate exists: its window is what its profile will give it."""
        with self._store.reading() as work:
            record = work.issuers.get(label)
        first = self._clock.now() - timedelta(minutes=profile.backdate_minutes)
        window = first, first + timedelta(days=profile.validity_days, minutes=2 * profile.backdate_minutes)
        return self._issuers.bind(replace(record, not_before=window[0], not_after=window[1]))

    def _verify(self, plan: CeremonyPlan, artefacts: Artefacts, made: _Made, note: Say) -> None:
        """Read the artefact back and prove it: bytes, signature, key."""
        outcome, signer = made.outcome, made.signer
        der, name = outcome.certificate_der, artefacts.certificate.name
        artefacts.refuse_other(der)
        with self._store.reading() as work:
            issuer = work.issuers.get(plan.parent or plan.label)
        algorithm, key = load_public_key(issuer.spki_der)
        if not signature_is_valid(key, algorithm, signed_bytes_of(der), signature_of(der)):
            raise InvariantError(f"{name} does not verify under {issuer.label}")
        note(f"verified: signature of {issuer.label} over the artefact {name}")
        prove(plan, signer, note)
