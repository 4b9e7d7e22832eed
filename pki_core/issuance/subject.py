"""The subject name of a certificate (RFC 5280 4.1.2.6): the profile's rule applied to what a request asks for."""

from functools import lru_cache

from pki_core.model.errors import CsrRejectedError
from pki_core.model.limits import COMMON_NAME_LIMIT
from pki_core.model.profiles import SubjectRule
from pki_core.model.requests import RequestedSubject

Subject = tuple[tuple[str, str], ...]

# RFC 5280 appendix A.1, upper bounds in characters.
UPPER_BOUNDS = {"C": 2, "ST": 128, "L": 128, "O": 64, "OU": 64, "DC": 63, "CN": COMMON_NAME_LIMIT}

_ORDER = (
    ("C", "country"),
    ("ST", "state"),
    ("L", "locality"),
    ("O", "organization"),
    ("OU", "organizational_unit"),
)


def build_subject(rule: SubjectRule, requested: RequestedSubject, common_name: str) -> Subject:
    """Return the RDN sequence: the kept parts of the request, the profile's DC, the common name last.

    Raises:
        CsrRejectedError: ``subject.missing``, ``subject.too_long`` or ``subject.country_invalid``.
    """
    if len(common_name) > UPPER_BOUNDS["CN"]:
        raise CsrRejectedError(
            "subject.too_long", f"The common name has {len(common_name)} characters; 64 are allowed."
        )
    parts = tuple(getattr(requested, attribute) for _, attribute in _ORDER)
    return (*_fixed_part(rule, parts), ("CN", common_name))


@lru_cache(maxsize=4096)
def _fixed_part(rule: SubjectRule, parts: tuple[str, ...]) -> Subject:
    """Everything but the common name; a batch repeats it row after row."""
    subject: list[tuple[str, str]] = []
    for (name, attribute), value in zip(_ORDER, parts, strict=True):
        label = attribute.replace("_", " ")
        if name in rule.require and not value:
            raise CsrRejectedError("subject.missing", f"The subject must name the {label} ({name}).")
        if name not in rule.keep or not value:
            continue
        if name == "C":
            value = _country(value)  # noqa: PLW2901  # the checked form replaces the asked one
        if len(value) > UPPER_BOUNDS[name]:
            message = f"The {label} has {len(value)} characters; {UPPER_BOUNDS[name]} are allowed."
            raise CsrRejectedError("subject.too_long", message)
        subject.append((name, value))
    if rule.domain_component:
        subject.append(("DC", rule.domain_component))
    return tuple(subject)


def _country(text: str) -> str:
    if len(text) != UPPER_BOUNDS["C"] or not text.isascii() or not text.isalpha():
        raise CsrRejectedError("subject.country_invalid", "The country is not a two-letter code of ISO 3166.")
    return text.upper()
