"""Names: is the common name an identifier of the right kind, and does it belong to the partner who asks?"""

from dataclasses import dataclass
from typing import NamedTuple

from pki_core.model.errors import CsrRejectedError, MalformedError
from pki_core.model.identifiers import CheckDigitPolicy, Emaid, Pcid, judge_check_digit, parse_evse_identifier
from pki_core.model.partners import Partner
from pki_core.model.profiles import Edition, IdentifierRule, Profile
from pki_core.model.requests import IssueRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePolicy:
    """What an environment demands of identifiers beyond their grammar."""

    check_digit: CheckDigitPolicy
    countries: frozenset[str] | None = None  # None = any two letters


class JudgedName(NamedTuple):
    """A common name that may be certified."""

    common_name: str
    canonical: str  # equal for all spellings of the same identifier
    warnings: tuple[str, ...] = ()


def judge_name(request: IssueRequest, profile: Profile, partner: Partner | None, policy: NamePolicy) -> JudgedName:
    """Return the name a certificate will carry.

    ``partner`` None stands for the operator's own ceremonies, which no prefix binds.

    Raises:
        CsrRejectedError: ``identifier.missing``, ``identifier.invalid``, ``identifier.outside_prefixes`` or
            ``identifier.unexpected``.
    """
    text = request.subject.common_name
    if not text:
        raise CsrRejectedError("identifier.missing", "The subject has no common name.")
    try:
        judged, prefix, scope = _parse(text, profile, policy)
    except MalformedError as error:
        raise CsrRejectedError("identifier.invalid", str(error)) from error
    if partner is not None and scope and prefix not in getattr(partner, scope):
        message = f"{judged.common_name} starts with {prefix}, which is not one of {partner.id}'s prefixes."
        raise CsrRejectedError("identifier.outside_prefixes", message)
    expected = request.expected_identifier
    if expected and expected != text and not _same(expected, judged, profile, policy):
        message = f"The request names {judged.common_name}, the row expects {expected}."
        raise CsrRejectedError("identifier.unexpected", message)
    return judged


def _parse(text: str, profile: Profile, policy: NamePolicy) -> tuple[JudgedName, str, str]:
    """Return the judged name, its prefix and which of the partner's prefixes bind it."""
    rule = profile.subject.identifier
    if rule is IdentifierRule.EMAID:
        emaid = Emaid.parse(text, policy.countries)
        warning = judge_check_digit(emaid, policy.check_digit)
        name = JudgedName(
            common_name=emaid.as_issued, canonical=emaid.canonical, warnings=(warning,) if warning else ()
        )
        return name, emaid.provider_prefix, "provider_prefixes"
    if rule is IdentifierRule.EVSE:
        evse = parse_evse_identifier(text, policy.countries)
        return (
            JudgedName(common_name=evse.as_issued, canonical=evse.canonical),
            evse.operator_prefix,
            "operator_prefixes",
        )
    if rule is IdentifierRule.PCID:
        pcid = Pcid.parse(text, edition20=profile.edition is Edition.ISO_20)
        return JudgedName(common_name=pcid.as_issued, canonical=pcid.canonical), pcid.wmi, "wmis"
    return JudgedName(common_name=text, canonical=text), "", ""


def _same(expected: str, judged: JudgedName, profile: Profile, policy: NamePolicy) -> bool:
    try:
        other, _, _ = _parse(expected, profile, policy)
    except MalformedError:
        return False
    return other.canonical == judged.canonical
