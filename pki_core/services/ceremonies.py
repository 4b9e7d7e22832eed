"""Key ceremonies: one reviewed file, one act; a transcript with hashes; artefacts verified before they count.

The certificate goes the way of every other: through ``enroll.issue``. Nothing is overwritten: not a key, not an
issuer, not a file. A ceremony is written down before its key is made: interrupted anywhere, the same file goes on with
the same key and the same certificate. Outside dev two different witnesses must be named and the file's reviewed hash be
given.
"""

import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pki_core.issuance.issuer import Issuer
from pki_core.model.ceremonies import Act, BegunCeremony, CeremonyPlan
from pki_core.model.certificates import serial_text
from pki_core.model.clock import Clock
from pki_core.model.errors import CeremonyError, ConflictError, InvariantError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Profile
from pki_core.model.requests import Issued, IssueRequest, Outcome, OwnKeyProof
from pki_core.model.signer import KeyStore, Signer
from pki_core.model.states import CertificateState
from pki_core.services.budget import MAX_OCTETS
from pki_core.services.ceremony_artefacts import Artefacts
from pki_core.services.ceremony_rules import (
    CeremonyEnvironment,
    check_parent,
    check_plan,
    check_size,
    check_witnesses,
    requested_of,
    subject_of,
)
from pki_core.services.enroll import Enrollment, NoHooks, Order
from pki_core.services.issuers import Issuers
from pki_core.services.runners import runner_token
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import key_identifier_of, name_der, signature_is_valid, signature_of, signed_bytes_of
from pki_core.wire.contract_data import public_key_of
from pki_core.wire.csr import load_public_key

Say = Callable[[str], None]


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
        if artefacts.can_be_finished and (served := self._served(plan)):
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
        return Artefacts(self._environment.directory, plan.label).are_finished and bool(self._served(plan))

    def _served(self, plan: CeremonyPlan) -> bytes:
        """Return the certificate that this very plan has put into service, b"" when it has not."""
        with self._store.reading() as work:
            begun, pending = work.ceremonies.find(plan.label), work.issuers.find(plan.label)
            if begun is None or begun.file_sha256 != plan.sha256 or begun.certificate_id is None:
                return b""
            if not _is_in_service(work, plan.label, pending):
                return b""
            record = work.certificates.of_id(begun.certificate_id)
        return record.certificate_der if record else b""

    def _check_review(self, plan: CeremonyPlan, reviewed_sha256: str) -> None:
        check_witnesses(self._environment.name, plan.witnesses)
        if self._environment.name != "dev" and reviewed_sha256.strip().casefold() != plan.sha256:
            raise CeremonyError("the reviewed hash is not this file's: give --sha256 with the hash both witnesses saw")

    def _issue(self, plan: CeremonyPlan, note: Say) -> _Made:
        profile = self._environment.profiles[plan.profile]
        parent = self._issuers.get(plan.parent) if plan.parent else None
        if parent is not None:
            check_parent(plan, profile, parent.record)
        begun, pending = self._begun(plan)
        if total := check_size(plan, self._environment.profiles, parent.record if parent else None, self._store):
            note(f"verified: the six certificates of an installation answer have {total} of {MAX_OCTETS} octets")
        if pending is not None:
            signer = self._take_up(plan, profile, pending, note)
            begun = begun or self._begin(plan)  # it was interrupted in an earlier version, which wrote nothing down
        elif begun is not None and self._key_store.is_taken(plan.key_label):
            signer = self._bind(plan, note)
        else:
            begun = begun or self._begin_anew(plan)
            signer = self._make_key(plan, note)
        with self._store.transaction() as work:
            profile_id = work.issuers.pin_profile(profile, self._clock.now())
            if not plan.act.makes_ca and parent is not None:
                issuer_id = parent.record.id
            else:
                issuer_id = pending.id if pending else work.issuers.add(**_pending(plan, profile, parent, signer))
        if begun.certificate_id is None:
            outcome = self._enroll(plan, parent or self._own_issuer(plan.label, profile), profile_id, signer)
            note(f"profile {profile.id} sha256 {profile.hash}")
        else:
            outcome = self._recorded(plan, begun.certificate_id, signer, note)
        note(f"certificate serial {serial_text(outcome.serial)} issued by {plan.parent or 'itself'}")
        note(f"certificate sha256 {hashlib.sha256(outcome.certificate_der).hexdigest()}")
        return _Made(outcome=outcome, signer=signer, issuer_id=issuer_id)

    def _begun(self, plan: CeremonyPlan) -> tuple[BegunCeremony | None, IssuerRecord | None]:
        """Return what an interrupted run of this file has left; ConflictError when the label is another's."""
        with self._store.reading() as work:
            begun, pending = work.ceremonies.find(plan.label), work.issuers.find(plan.label)
            is_taken = _is_in_service(work, plan.label, pending)
        if is_taken:
            raise ConflictError(f"there is an issuer, responder or signer {plan.label!r} already")
        if begun is not None and begun.file_sha256 != plan.sha256:
            raise ConflictError(f"an interrupted ceremony has begun {plan.label!r} by another file: use that file")
        return begun, pending

    def _begin_anew(self, plan: CeremonyPlan) -> BegunCeremony:
        """Write down what is about to happen: whoever finds this key later knows that this file made it."""
        if self._key_store.is_taken(plan.key_label):
            raise ConflictError(f"there is a key {plan.key_label!r} already")
        return self._begin(plan)

    def _begin(self, plan: CeremonyPlan) -> BegunCeremony:
        now = self._clock.now()
        with self._store.transaction() as work:
            detail = f"{plan.act} {plan.label} file {plan.sha256}"
            work.audit.append("ceremonies", now, [AuditEntry(actor="operator", action="ceremony.begun", detail=detail)])
            return work.ceremonies.begin(plan, now)

    def _enroll(self, plan: CeremonyPlan, issuer: Issuer, profile_id: int, signer: Signer) -> Issued:
        profile = self._environment.profiles[plan.profile]
        order = Order(
            profile=profile,
            profile_id=profile_id,
            profile_hash=profile.hash,
            partner=None,
            actor="operator",
            runner=runner_token(),
        )
        request = IssueRequest(
            reference=plan.label, subject=requested_of(plan), spki_der=signer.spki_der, proof=OwnKeyProof()
        )
        (outcome,) = self._enrollment.issue(issuer, order, [request], _OneCertificate(plan.label))
        if not isinstance(outcome, Issued):
            raise InvariantError("a refused ceremony was recorded")
        return outcome

    def _recorded(self, plan: CeremonyPlan, certificate_id: int, signer: Signer, note: Say) -> Issued:
        """Return the certificate an interrupted run has made: there is never a second one."""
        with self._store.reading() as work:
            record = work.certificates.of_id(certificate_id)
        if record is None or public_key_of(record.certificate_der) != signer.spki_der:
            raise InvariantError(f"the certificate that was recorded for {plan.label} does not hold its key")
        if record.state is not CertificateState.GOOD:
            raise ConflictError(f"the certificate of {plan.label!r} was revoked before it served: use another label")
        note(f"profile {record.profile_name} sha256 {record.profile_hash}")
        note("the certificate is that of an interrupted run, which had not put it into service")
        return Issued(
            reference=plan.label,
            certificate_id=certificate_id,
            serial=int(record.serial, 16),
            common_name=record.common_name,
            certificate_der=record.certificate_der,
            not_before=record.not_before,
            not_after=record.not_after,
        )

    def _make_key(self, plan: CeremonyPlan, note: Say) -> Signer:
        signer = self._key_store.generate(plan.key_label, plan.algorithm)
        in_file = self._key_store.identity.kind == "file"
        place = "in a file, for development only" if in_file else "in the token: sensitive, never extractable"
        note(f"key {plan.key_label} {plan.algorithm} made {place}")
        note(f"public key sha256 {hashlib.sha256(signer.spki_der).hexdigest()}")
        return signer

    def _take_up(self, plan: CeremonyPlan, profile: Profile, pending: IssuerRecord, note: Say) -> Signer:
        """Go on with a ceremony that was interrupted before its CA was put into service: same file, same key."""
        if pending.key_label != plan.key_label or pending.subject_der != name_der(subject_of(plan, profile)):
            raise ConflictError(f"an interrupted ceremony made {plan.label!r} with another name or key; use its file")
        signer = self._bind(plan, note)
        if signer.spki_der != pending.spki_der:
            raise ConflictError(f"an interrupted ceremony made {plan.label!r} with another key than {plan.key_label!r}")
        return signer

    def _bind(self, plan: CeremonyPlan, note: Say) -> Signer:
        signer = self._key_store.bind(plan.key_label)
        if signer.algorithm is not plan.algorithm:
            raise ConflictError(f"the key {plan.key_label!r} is {signer.algorithm}, not {plan.algorithm}")
        note(f"key {plan.key_label} is that of an interrupted run of this file")
        note(f"public key sha256 {hashlib.sha256(signer.spki_der).hexdigest()}")
        return signer

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
        challenge = b"pncpki ceremony proof of possession " + plan.sha256.encode()
        own_algorithm, own_key = load_public_key(signer.spki_der)
        if not signature_is_valid(own_key, own_algorithm, challenge, signer.sign([challenge])[0]):
            raise InvariantError(f"key {plan.key_label} does not sign for its own certificate")
        note(f"verified: the token signs with the key of {plan.label}")


def _is_in_service(work: UnitOfWork, label: str, issuer: IssuerRecord | None) -> bool:
    """Tell whether a label belongs to a CA with its certificate, a responder or a signer."""
    others = {*work.responders.labels(), *work.cps_signers.labels()}
    return label in others or bool(issuer and issuer.certificate_der)


def _pending(plan: CeremonyPlan, profile: Profile, parent: Issuer | None, signer: Signer) -> dict[str, object]:
    return {
        "label": plan.label,
        "branch": profile.branch,
        "edition": profile.edition.value,
        "level": profile.level.value,
        "algorithm": plan.algorithm.value,
        "parent_id": parent.record.id if parent else None,
        "key_label": plan.key_label,
        "subject_der": name_der(subject_of(plan, profile)),
        "spki_der": signer.spki_der,
        "key_identifier": key_identifier_of(signer.spki_der, profile.extensions.key_identifier_octets),
    }
