"""Key ceremonies: one reviewed file, one act; a transcript with hashes; artefacts verified before they count.

The certificate goes the way of every other: through ``enroll.issue``. Nothing is overwritten: not a key, not an
issuer, not a file. Outside dev two different witnesses must be named and the file's reviewed hash be given.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pki_core.issuance.issuer import Issuer
from pki_core.issuance.subject import Subject, build_subject
from pki_core.model.ceremonies import Act, CeremonyPlan
from pki_core.model.certificates import serial_text
from pki_core.model.clock import Clock
from pki_core.model.errors import CeremonyError, ConflictError, CsrRejectedError, InvariantError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Edition, Level, Profile
from pki_core.model.requests import Issued, IssueRequest, Outcome, OwnKeyProof, RequestedSubject
from pki_core.model.signer import KeyStore, Signer
from pki_core.services.budget import MAX_OCTETS, certificate_octets, check_ocpp_budget
from pki_core.services.cps_signers import signer_octets
from pki_core.services.enroll import Enrollment, NoHooks, Order
from pki_core.services.issuers import Issuers
from pki_core.services.runners import runner_token
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import key_identifier_of, name_der, signature_is_valid, signature_of, signed_bytes_of
from pki_core.wire.csr import load_public_key
from pki_core.wire.pem import certificate_pem, pem_to_der

_WITNESSES = 2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyEnvironment:
    """Where ceremonies take place."""

    name: str
    directory: Path
    profiles: Mapping[str, Profile]


def check_witnesses(environment: str, witnesses: Sequence[str]) -> None:
    """Raise CeremonyError when an environment's ceremonies need more people than are named."""
    if environment != "dev" and len({name.strip().casefold() for name in witnesses} - {""}) < _WITNESSES:
        raise CeremonyError(f"outside dev a ceremony needs {_WITNESSES} different witnesses")


class _NothingRefused(NoHooks):
    """A ceremony's one request must become a certificate; what comes of it is decided when it is verified."""

    def recorded(self, work: UnitOfWork, outcomes: Sequence[Outcome]) -> None:  # noqa: ARG002  # the hook's shape
        for outcome in outcomes:
            if not isinstance(outcome, Issued):
                raise CeremonyError(f"{outcome.code}: {outcome.message}")


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
        self._check(plan)
        return plan

    def run(self, plan: CeremonyPlan, say: Say, *, reviewed_sha256: str = "") -> list[Path]:
        """Do what the plan says; returns the artefacts, the transcript last.

        Raises:
            CeremonyError, ConflictError: it may not be run, or would overwrite something; nothing was changed.
        """
        self._check_review(plan, reviewed_sha256)
        lines: list[str] = []

        def note(text: str) -> None:
            line = f"{self._clock.now().isoformat()} {text}"
            lines.append(line)
            say(line)

        certificate_path, transcript_path = self._artefacts(plan)
        note(f"ceremony {plan.act} {plan.label} in environment {plan.environment}")
        note(f"input file sha256 {plan.sha256}; witnesses {', '.join(plan.witnesses) or 'none (dev)'}")
        identity = self._key_store.identity
        note(f"token {identity.label} ({identity.kind}, serial {identity.serial})")
        made = self._issue(plan, note)
        certificate_path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = [path.with_name(f"{path.name}.unfinished") for path in (certificate_path, transcript_path)]
        unfinished[0].write_text(certificate_pem(made.outcome.certificate_der), encoding="ascii")
        self._verify(plan, unfinished[0], made, note)
        note("ceremony complete")
        unfinished[1].write_text("\n".join([*lines, ""]), encoding="utf-8")
        self._put_into_service(plan, made)  # from here on the CA issues; before, nobody can use it
        for path, final in zip(unfinished, (certificate_path, transcript_path), strict=True):
            path.rename(final)
        return [certificate_path, transcript_path]

    def _check(self, plan: CeremonyPlan) -> None:
        profile = self._environment.profiles.get(plan.profile)
        if plan.environment != self._environment.name:
            raise CeremonyError(
                f"this file is for {plan.environment!r}, but this environment is {self._environment.name!r}"
            )
        if profile is None:
            raise CeremonyError(f"there is no profile {plan.profile!r}")
        fits = {
            Act.CREATE_ROOT: profile.level is Level.ROOT and not plan.parent,
            Act.CREATE_SUB_CA: profile.level in {Level.SUB1, Level.SUB2} and bool(plan.parent),
            Act.CREATE_RESPONDER: profile.is_of_responders and bool(plan.parent),
            Act.CREATE_CPS_SIGNER: (profile.branch, profile.level) == ("cps", Level.LEAF) and bool(plan.parent),
        }
        if not fits[plan.act]:
            raise CeremonyError(f"profile {plan.profile} and parent {plan.parent!r} do not fit {plan.act}")
        if plan.algorithm not in profile.key_algorithms:
            raise CeremonyError(f"profile {plan.profile} allows no {plan.algorithm} key")
        if not plan.label.replace("-", "").isalnum() or not plan.label.isascii() or len(plan.label) > 64:  # noqa: PLR2004  # column width
            raise CeremonyError("a label has at most 64 letters, digits and dashes: it becomes part of URLs")
        try:
            named = _subject(plan, profile)[-1][1].strip()
        except CsrRejectedError as error:
            raise CeremonyError(str(error)) from error
        if not named:
            raise CeremonyError("a certificate needs a common name")

    def _check_review(self, plan: CeremonyPlan, reviewed_sha256: str) -> None:
        check_witnesses(self._environment.name, plan.witnesses)
        if self._environment.name != "dev" and reviewed_sha256.strip().casefold() != plan.sha256:
            raise CeremonyError("the reviewed hash is not this file's: give --sha256 with the hash both witnesses saw")

    def _artefacts(self, plan: CeremonyPlan) -> tuple[Path, Path]:
        directory = self._environment.directory
        paths = directory / f"{plan.label}.pem", directory / f"{plan.label}.transcript.txt"
        for path in paths:
            if path.exists():
                raise CeremonyError(f"{path} exists: a ceremony overwrites nothing")
        return paths

    def _issue(self, plan: CeremonyPlan, note: Say) -> _Made:
        profile = self._environment.profiles[plan.profile]
        parent = self._issuers.get(plan.parent) if plan.parent else None
        if parent is not None:
            _check_parent(plan, profile, parent.record)
        with self._store.reading() as work:
            pending = work.issuers.find(plan.label)
            taken = plan.label in {*work.responders.labels(), *work.cps_signers.labels()}
        if taken or (pending is not None and pending.certificate_der):
            raise ConflictError(f"there is an issuer, responder or signer {plan.label!r} already")
        self._check_size(plan, profile, parent, note)
        signer = self._make_key(plan, note) if pending is None else self._take_up(plan, profile, pending, note)
        with self._store.transaction() as work:
            profile_id = work.issuers.pin_profile(profile, self._clock.now())
            if not plan.act.makes_ca and parent is not None:
                issuer_id = parent.record.id
            else:
                issuer_id = pending.id if pending else work.issuers.add(**_pending(plan, profile, parent, signer))
        issuer = parent or self._own_issuer(plan.label, profile)
        outcome = self._enrollment.issue(
            issuer,
            Order(
                profile=profile,
                profile_id=profile_id,
                profile_hash=profile.hash,
                partner=None,
                actor="operator",
                runner=runner_token(),
            ),
            [
                IssueRequest(
                    reference=plan.label,
                    subject=_requested(plan),
                    spki_der=signer.spki_der,
                    proof=OwnKeyProof(),
                )
            ],
            _NothingRefused(),
        )[0]
        if not isinstance(outcome, Issued):
            raise InvariantError("a refused ceremony was recorded")
        note(f"profile {profile.id} sha256 {profile.hash}")
        note(f"certificate serial {serial_text(outcome.serial)} issued by {plan.parent or 'itself'}")
        note(f"certificate sha256 {hashlib.sha256(outcome.certificate_der).hexdigest()}")
        return _Made(outcome=outcome, signer=signer, issuer_id=issuer_id)

    def _make_key(self, plan: CeremonyPlan, note: Say) -> Signer:
        signer = self._key_store.generate(plan.key_label, plan.algorithm)
        in_file = self._key_store.identity.kind == "file"
        place = "in a file, for development only" if in_file else "in the token: sensitive, never extractable"
        note(f"key {plan.key_label} {plan.algorithm} made {place}")
        note(f"public key sha256 {hashlib.sha256(signer.spki_der).hexdigest()}")
        return signer

    def _take_up(self, plan: CeremonyPlan, profile: Profile, pending: IssuerRecord, note: Say) -> Signer:
        """Go on with a ceremony that was interrupted before its CA was put into service: same file, same key."""
        same = pending.key_label == plan.key_label and pending.subject_der == name_der(_subject(plan, profile))
        signer = self._key_store.bind(pending.key_label)
        if not same or signer.spki_der != pending.spki_der or pending.algorithm is not plan.algorithm:
            raise ConflictError(f"an interrupted ceremony made {plan.label!r} with another name or key; use its file")
        note(f"key {plan.key_label} is that of an interrupted run; what that run issued was never put into service")
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

    def _check_size(self, plan: CeremonyPlan, profile: Profile, parent: Issuer | None, note: Say) -> None:
        """Measure the planned certificate, alone and in its installation answer, before a key is made for it."""
        subject = _subject(plan, profile)
        planned = IssuerRecord(
            id=0,
            label=plan.label,
            branch=profile.branch,
            edition=profile.edition,
            level=profile.level,
            algorithm=plan.algorithm,
            parent_id=parent.record.id if parent else None,
            key_label=plan.key_label,
            subject_der=name_der(subject),
            spki_der=b"",
            key_identifier=bytes(profile.extensions.key_identifier_octets),
            certificate_der=b"",
            not_before=None,
            not_after=None,
        )
        octets = certificate_octets(profile, parent.record if parent else planned, subject)
        if octets > profile.max_der_octets:
            raise CeremonyError(f"the certificate would have {octets} octets; {profile.max_der_octets} are allowed")
        if parent is None:
            return
        with self._store.reading() as work:
            issuers, signers = work.issuers.all(), signer_octets(work)
        measured = replace(planned, certificate_der=bytes(octets))
        if (plan.act, profile.edition) == (Act.CREATE_CPS_SIGNER, Edition.ISO_2):
            signers = octets
        if total := check_ocpp_budget(self._environment.profiles, [*issuers, measured], signers):
            note(f"verified: the six certificates of an installation answer have {total} of {MAX_OCTETS} octets")

    def _own_issuer(self, label: str, profile: Profile) -> Issuer:
        """A root before its certificate exists: its window is what its profile will give it."""
        with self._store.reading() as work:
            record = work.issuers.get(label)
        first = self._clock.now() - timedelta(minutes=profile.backdate_minutes)
        window = first, first + timedelta(days=profile.validity_days, minutes=2 * profile.backdate_minutes)
        return self._issuers.bind(replace(record, not_before=window[0], not_after=window[1]))

    def _verify(self, plan: CeremonyPlan, path: Path, made: _Made, note: Say) -> None:
        """Read the artefact back and prove it: bytes, signature, key."""
        outcome, signer = made.outcome, made.signer
        der = pem_to_der(path.read_text(encoding="ascii"), ("CERTIFICATE",))
        if der != outcome.certificate_der:
            raise InvariantError(f"{path} does not hold the certificate that was issued")
        with self._store.reading() as work:
            issuer = work.issuers.get(plan.parent or plan.label)
        algorithm, key = load_public_key(issuer.spki_der)
        if not signature_is_valid(key, algorithm, signed_bytes_of(der), signature_of(der)):
            raise InvariantError(f"{path} does not verify under {issuer.label}")
        note(f"verified: signature of {issuer.label} over the artefact {path.name.removesuffix('.unfinished')}")
        challenge = b"pncpki ceremony proof of possession " + plan.sha256.encode()
        own_algorithm, own_key = load_public_key(signer.spki_der)
        if not signature_is_valid(own_key, own_algorithm, challenge, signer.sign([challenge])[0]):
            raise InvariantError(f"key {plan.key_label} does not sign for its own certificate")
        note(f"verified: the token signs with the key of {plan.label}")


def _check_parent(plan: CeremonyPlan, profile: Profile, parent: IssuerRecord) -> None:
    """Refuse a parent the certificate may not stand below. A responder answers for a CA of any level and branch."""
    if parent.algorithm is not plan.algorithm:
        raise CeremonyError(f"a chain keeps one algorithm: {plan.parent} is {parent.algorithm}")
    is_above = parent.level is profile.issuer_level and (
        parent.level is Level.ROOT or parent.branch == profile.branch  # a root is above every branch
    )
    if parent.edition is not profile.edition or not (is_above or plan.act is Act.CREATE_RESPONDER):
        raise CeremonyError(f"profile {profile.id} makes no certificate below {plan.parent}")


def _pending(plan: CeremonyPlan, profile: Profile, parent: Issuer | None, signer: Signer) -> dict[str, object]:
    return {
        "label": plan.label,
        "branch": profile.branch,
        "edition": profile.edition.value,
        "level": profile.level.value,
        "algorithm": plan.algorithm.value,
        "parent_id": parent.record.id if parent else None,
        "key_label": plan.key_label,
        "subject_der": name_der(_subject(plan, profile)),
        "spki_der": signer.spki_der,
        "key_identifier": key_identifier_of(signer.spki_der, profile.extensions.key_identifier_octets),
    }


def _requested(plan: CeremonyPlan) -> RequestedSubject:
    return RequestedSubject(common_name=plan.common_name, organization=plan.organization, country=plan.country)


def _subject(plan: CeremonyPlan, profile: Profile) -> Subject:
    return build_subject(profile.subject, _requested(plan), plan.common_name)
