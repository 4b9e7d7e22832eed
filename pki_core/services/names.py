"""Names: is the common name an identifier of the right kind, and does it belong to the partner who asks?"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from pki_core.model.errors import SHOWN_LIMIT, CsrRejectedError, MalformedError
from pki_core.model.identifiers import CheckDigitPolicy, Emaid, Pcid, judge_check_digit, parse_evse_identifier
from pki_core.model.partners import Partner
from pki_core.model.profiles import Edition, IdentifierRule, Profile
from pki_core.model.requests import IssueRequest

_MAX_ALTERNATIVE_NAMES = 16
_MAX_HOST = 253
# RFC 1123 2.1: labels of letters, digits and inner dashes; the last one is not a number.
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


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


def judge_alternative_names(request: IssueRequest, profile: Profile) -> tuple[str, ...]:
    """Return the alternative names a certificate will carry: DNS names (RFC 5280 4.2.1.6) and IP addresses.

    Raises:
        CsrRejectedError: ``names.not_allowed``, ``names.missing``, ``names.too_many`` or ``names.invalid``.
    """
    names = request.alternative_names
    if not profile.extensions.subject_alternative_names:
        if names:
            raise CsrRejectedError("names.not_allowed", "This certificate kind carries no alternative names.")
        return ()
    if not names:
        raise CsrRejectedError("names.missing", "This certificate kind needs a DNS name or an IP address.")
    if len(names) > _MAX_ALTERNATIVE_NAMES or len(set(names)) != len(names):
        message = f"Alternative names must differ, and {_MAX_ALTERNATIVE_NAMES} are allowed."
        raise CsrRejectedError("names.too_many", message)
    for name in names:
        if not _is_host(name):
            raise CsrRejectedError("names.invalid", f"{name[:SHOWN_LIMIT]!r} is neither a DNS name nor an IP address.")
    return names


def _is_host(name: str) -> bool:
    """Tell whether a name is an IP address in its canonical text, or a DNS name without a wildcard."""
    try:
        return str(ip_address(name)) == name
    except ValueError:
        return len(name) <= _MAX_HOST and _HOST.fullmatch(name) is not None


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
