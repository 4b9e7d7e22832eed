"""What a ceremony file may ask for: held against environment, profile, parent and sizes before a key is made."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pki_core.issuance.subject import Subject, build_subject
from pki_core.model.ceremonies import Act, CeremonyPlan
from pki_core.model.errors import CeremonyError, CsrRejectedError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.limits import NAME_LIMIT
from pki_core.model.profiles import Edition, Level, Profile
from pki_core.model.requests import RequestedSubject
from pki_core.services.budget import SignerSize, certificate_octets, check_ocpp_budget
from pki_core.services.cps_signers import answer_parts
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import name_der
from pki_core.wire.csr import read_subject

_WITNESSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CeremonyEnvironment:
    """Where ceremonies take place."""

    name: str
    directory: Path
    profiles: Mapping[str, Profile]
    organization: str  # of contract certificates: their size is part of an answer's


def check_witnesses(environment: str, witnesses: Sequence[str]) -> None:
    """Raise CeremonyError when an environment's ceremonies need more people than are named.

    Case, blanks and ways to write a character in Unicode make nobody another person.
    """
    people = {"".join(unicodedata.normalize("NFKC", name).split()).casefold() for name in witnesses} - {""}
    if environment != "dev" and len(people) < _WITNESSES:
        raise CeremonyError(f"outside dev a ceremony needs {_WITNESSES} different witnesses")


def check_plan(plan: CeremonyPlan, environment: CeremonyEnvironment) -> None:
    """Raise CeremonyError when an environment carries out no such plan."""
    profile = environment.profiles.get(plan.profile)
    if plan.environment != environment.name:
        raise CeremonyError(f"this file is for {plan.environment!r}, but this environment is {environment.name!r}")
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
    if not plan.label.replace("-", "").isalnum() or not plan.label.isascii() or len(plan.label) > NAME_LIMIT:
        raise CeremonyError(f"a label has at most {NAME_LIMIT} letters, digits and dashes: it becomes part of URLs")
    if not 0 < len(plan.key_label) <= NAME_LIMIT:
        raise CeremonyError(f"a key label has 1 to {NAME_LIMIT} characters")
    try:
        named = subject_of(plan, profile)[-1][1].strip()
    except CsrRejectedError as error:
        raise CeremonyError(str(error)) from error
    if not named:
        raise CeremonyError("a certificate needs a common name")


def check_parent(plan: CeremonyPlan, profile: Profile, parent: IssuerRecord) -> None:
    """Refuse a parent the certificate may not stand below. A responder answers for a CA of any level and branch."""
    if parent.algorithm is not plan.algorithm:
        raise CeremonyError(f"a chain keeps one algorithm: {plan.parent} is {parent.algorithm}")
    is_above = parent.level is profile.issuer_level and (
        parent.level is Level.ROOT or parent.branch == profile.branch  # a root is above every branch
    )
    if parent.edition is not profile.edition or not (is_above or plan.act is Act.CREATE_RESPONDER):
        raise CeremonyError(f"profile {profile.id} makes no certificate below {plan.parent}")


def check_names(plan: CeremonyPlan, profile: Profile, work: UnitOfWork) -> None:
    """Refuse a label that is another's but for its case, and a CA's name that another CA has, unless the file says so.

    RFC 5280 allows two CAs of one name, but readers that build a chain by names alone may take the wrong one.
    """
    issuers = [record for record in work.issuers.all() if record.label != plan.label]
    labels = {*(record.label for record in issuers), *work.responders.labels(), *work.cps_signers.labels()}
    for label in sorted(labels - {plan.label}):
        if label.casefold() == plan.label.casefold():
            raise CeremonyError(f"the label {plan.label!r} differs from {label!r} in its case alone")
    name = _comparable(name_der(subject_of(plan, profile)))
    namesakes = [record.label for record in issuers if plan.act.makes_ca and _comparable(record.subject_der) == name]
    if plan.same_name_as and plan.same_name_as not in namesakes:
        raise CeremonyError(f"same_name_as says {plan.same_name_as!r}, but no such CA has this name")
    if namesakes and not plan.same_name_as:
        last = namesakes[-1]
        raise CeremonyError(f"{last} has this name: give another common_name, or say same_name_as = '{last}', too")


def check_size(
    plan: CeremonyPlan, environment: CeremonyEnvironment, parent: IssuerRecord | None, store: Store, now: datetime
) -> int | None:
    """Measure the planned certificate, alone and in the largest of its answers, before a key is made for it.

    Answers without it do not count: what is too large by now has to have a successor.

    Returns the octets of the certificates of that answer, None when the plan is no part of one.

    Raises:
        CeremonyError: it is larger than its profile allows, or the answer would not fit.
    """
    profiles = environment.profiles
    profile = profiles[plan.profile]
    subject = subject_of(plan, profile)
    planned = IssuerRecord(
        id=0,
        label=plan.label,
        branch=profile.branch,
        edition=profile.edition,
        level=profile.level,
        algorithm=plan.algorithm,
        parent_id=parent.id if parent else None,
        key_label=plan.key_label,
        subject_der=name_der(subject),
        spki_der=b"",
        key_identifier=bytes(profile.extensions.key_identifier_octets),
        certificate_der=b"",
        not_before=None,
        not_after=None,
    )
    octets = certificate_octets(profile, parent or planned, subject)
    if octets > profile.max_der_octets:
        raise CeremonyError(f"the certificate would have {octets} octets; {profile.max_der_octets} are allowed")
    if parent is None or plan.act is Act.CREATE_RESPONDER or profile.edition is not Edition.ISO_2:
        return None
    with store.reading() as work:
        issuers, signers = answer_parts(work, now)
    instead = parent if plan.act is Act.CREATE_CPS_SIGNER else replace(planned, certificate_der=bytes(octets))
    if instead is parent:
        signers = [SignerSize(parent.id, octets)]
    kind = instead.branch, instead.level, instead.edition
    others = [one for one in issuers if (one.branch, one.level, one.edition) != kind]
    return check_ocpp_budget(profiles, [*others, instead], environment.organization, signers)


def _comparable(subject_der: bytes) -> list[str]:
    """Return the parts of a CA's name as RFC 5280 7.1 compares them, without the DC, which tells its role only."""
    return [" ".join(part.split()).casefold() for part in read_subject(subject_der)]


def requested_of(plan: CeremonyPlan) -> RequestedSubject:
    """Return the names a plan asks for."""
    return RequestedSubject(common_name=plan.common_name, organization=plan.organization, country=plan.country)


def subject_of(plan: CeremonyPlan, profile: Profile) -> Subject:
    """Return the subject a profile makes of them; CsrRejectedError when it cannot."""
    return build_subject(profile.subject, requested_of(plan), plan.common_name)
