"""EMAID, EVSEID, SECCID and PCID: ISO 15118-2 Annex H, ISO 15118-20 Annex C, VDE-AR-E 2802-100-1.

An identifier has three forms: canonical (the key two of them are compared by), as issued (what stands in a
certificate's common name) and printed (what people read). Letters and digits are those of ASCII: Unicode knows other
digits, and letters whose upper case is an ASCII letter, so patterns name their characters and run before ``upper``.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from pki_core.model.emaid_check_digit import ALPHABET, din_check_digit, emaid_check_digit
from pki_core.model.errors import MalformedError
from pki_core.model.limits import COMMON_NAME_LIMIT

_ASSIGNED = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
    "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK "
    "FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR "
    "IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK "
    "ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF "
    "TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
ISO_3166_ALPHA_2 = frozenset(_ASSIGNED.split())

_EMAID = re.compile(r"([A-Za-z]{2})(-?)([A-Za-z0-9]{3})\2([A-Za-z0-9]{9})(?:\2([A-Za-z0-9]))?")
_EMAID_DIN = re.compile(r"([A-Za-z]{2})([-*]?)([A-Za-z0-9]{3})\2([A-Za-z0-9]{6})(?:\2([0-9Xx]))?")
_EVSEID = re.compile(r"([A-Za-z]{2})\*?([A-Za-z0-9]{3})\*?[Ee]([A-Za-z0-9*]+)")
_EVSEID_DIN = re.compile(r"\+?[0-9]{1,3}\*[0-9]{3,6}\*[0-9*]{1,32}")
_SECCID = re.compile(r"([A-Za-z]{2})-?([A-Za-z0-9]{3})-?[Ss]-?([A-Za-z0-9]{32,57})-?([A-Za-z0-9])")

_LETTERS_AND_DIGITS = frozenset(ALPHABET + ALPHABET.lower())
EMAID_LENGTH = 14  # of a canonical EMAID: without its check digit it is the same identifier
_EMAID_BARE = (EMAID_LENGTH, EMAID_LENGTH + 1)  # ISO 15118-2 XSD eMAIDType
_EVSEID_BARE = range(7, 38)  # ISO 15118-2 XSD evseIDType
_SECCID_BARE = range(39, 65)  # ISO 15118-20 Table B.5, the last character being the check digit
_PCID_2 = range(17, 19)  # OPCP: WMI 3 + 14, with or without a check digit
_PCID_20 = range(17, 65)  # ISO 15118-20 allows 255, a common name 64
_PREFIX = 5  # two letters of the country, three of the provider or operator
_WMI = 3  # ISO 3780
_SHOWN = 80  # an error message quotes no more than this of an input


class CheckDigitPolicy(StrEnum):
    """What a wrong EMAID check digit leads to; Hubject's own test contracts carry wrong ones."""

    OFF = "off"
    WARN = "warn"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Emaid:
    """Contract identifier. Two are equal when their first 14 characters are: the check digit adds no identity."""

    canonical: str
    check_digit: str = field(compare=False)  # as given, "" = none

    @classmethod
    def parse(cls, text: str, countries: frozenset[str] | None = None) -> Self:
        """Read an EMAID with all dashes or none; ``countries`` limits the first two letters, None allows any."""
        match = _EMAID.fullmatch(text)
        if match is None:
            raise MalformedError(f"EMAID {_shown(text)} {_emaid_fault(text)}.")
        country, _, provider, instance, check_digit = match.groups("")
        canonical = (country + provider + instance).upper()
        if countries is not None and canonical[:2] not in countries:
            raise MalformedError(f"EMAID {_shown(text)} {_country_fault(canonical)}.")
        return cls(canonical=canonical, check_digit=check_digit.upper())

    @property
    def as_issued(self) -> str:
        """The common name: 14 or 15 characters, as they were given, upper case, no dashes."""
        return self.canonical + self.check_digit

    @property
    def printed(self) -> str:
        """With dashes: DE-8AA-001234567-0."""
        bare = f"{self.canonical[:2]}-{self.canonical[2:5]}-{self.canonical[5:]}"
        return f"{bare}-{self.check_digit}" if self.check_digit else bare

    @property
    def provider_prefix(self) -> str:
        """Country and provider: what an operator's rights are measured by."""
        return provider_of(self.canonical)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evseid:
    """Charging point identifier: country, operator, the letter E, outlet. Asterisks separate and mean nothing."""

    canonical: str
    as_issued: str = field(compare=False)  # upper case, asterisks where they were given
    printed: str = field(compare=False)

    @classmethod
    def parse(cls, text: str, countries: frozenset[str] | None = None) -> Self:
        """Read an EVSEID in ISO 15118 form; ``countries`` limits the first two letters, None allows any."""
        match = _EVSEID.fullmatch(text)
        if match is None:
            raise MalformedError(f"EVSEID {_shown(text)} {_evseid_fault(text)}.")
        country, operator, outlet = match.group(1).upper(), match.group(2).upper(), match.group(3).upper()
        canonical = f"{country}{operator}E{outlet.replace('*', '')}"
        _check_lengths("EVSEID", text, canonical, _EVSEID_BARE)
        if countries is not None and country not in countries:
            raise MalformedError(f"EVSEID {_shown(text)} {_country_fault(canonical)}.")
        return cls(canonical=canonical, as_issued=text.upper(), printed=f"{country}*{operator}*E{outlet}")

    @property
    def operator_prefix(self) -> str:
        """Country and operator: what an operator's rights are measured by."""
        return self.canonical[:_PREFIX]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seccid:
    """Charging station controller identifier of ISO 15118-20; its check-digit rule is not public, so not verified."""

    canonical: str
    as_issued: str = field(compare=False)  # upper case, dashes where they were given

    @classmethod
    def parse(cls, text: str, countries: frozenset[str] | None = None) -> Self:
        """Read a SECCID; each dash is optional; ``countries`` limits the first two letters, None allows any."""
        match = _SECCID.fullmatch(text)
        if match is None:
            raise MalformedError(f"SECCID {_shown(text)} {_seccid_fault(text)}.")
        canonical = text.replace("-", "").upper()
        _check_lengths("SECCID", text, canonical, _SECCID_BARE)
        if countries is not None and canonical[:2] not in countries:
            raise MalformedError(f"SECCID {_shown(text)} {_country_fault(canonical)}.")
        return cls(canonical=canonical, as_issued=text.upper())

    @property
    def printed(self) -> str:
        """With dashes: DE-ICE-S-00003C4D557878675645330967543476-2."""
        bare = self.canonical
        return f"{bare[:2]}-{bare[2:5]}-S-{bare[6:-1]}-{bare[-1]}"

    @property
    def operator_prefix(self) -> str:
        """Country and operator: what an operator's rights are measured by."""
        return self.canonical[:_PREFIX]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pcid:
    """Vehicle's provisioning identifier. Compared in upper case; issued in the case it was asked for."""

    canonical: str
    as_issued: str = field(compare=False)

    @classmethod
    def parse(cls, text: str, *, edition20: bool = False) -> Self:
        """Read a PCID: 17 or 18 letters and digits; ``edition20`` allows up to 64.

        ISO 15118-20 [V2G20-2077] forbids I, O and Q; PCIDs in use have them, so they pass here in both editions.
        """
        lengths = _PCID_20 if edition20 else _PCID_2
        fault = _foreign_character(text, "")
        if not fault and len(text) not in lengths:
            fault = f"has {len(text)} characters instead of {lengths[0]} to {lengths[-1]}"
        if fault:
            raise MalformedError(f"PCID {_shown(text)} {fault}.")
        return cls(canonical=text.upper(), as_issued=text)

    @property
    def printed(self) -> str:
        """As it was given: no separators are defined for a PCID."""
        return self.as_issued

    @property
    def wmi(self) -> str:
        """World manufacturer identifier (ISO 3780): what a car maker's rights are measured by."""
        return wmi_of(self.canonical)


def provider_of(emaid: str) -> str:
    """Return country and provider of a canonical EMAID: the operator it belongs to."""
    return emaid[:_PREFIX]


def wmi_of(pcid: str) -> str:
    """Return the world manufacturer identifier of a canonical PCID: the car maker it belongs to."""
    return pcid[:_WMI]


def parse_evse_identifier(text: str, countries: frozenset[str] | None = None) -> Evseid | Seccid:
    """Read the common name of a charging station: the letter after the operator tells EVSEID from SECCID."""
    bare = text.replace("*", "").replace("-", "")
    if bare[5:6] in {"S", "s"}:
        return Seccid.parse(text, countries)
    return Evseid.parse(text, countries)


def judge_check_digit(emaid: Emaid, policy: CheckDigitPolicy) -> str:
    """Return "" or a sentence of warning; raise MalformedError when the policy rejects a wrong digit.

    An EMAID without a check digit is in order under every policy: the digit is optional.
    """
    if policy is CheckDigitPolicy.OFF or not emaid.check_digit:
        return ""
    expected = emaid_check_digit(emaid.canonical)
    if emaid.check_digit == expected:
        return ""
    sentence = f"EMAID {emaid.printed} has the check digit {emaid.check_digit}, but {expected} is the right one."
    if policy is CheckDigitPolicy.REJECT:
        raise MalformedError(sentence)
    return sentence


def emaid_from_din(text: str, *, keep_din_digit: bool, emi3: bool = False) -> Emaid:
    """Convert a DIN SPEC 91286 contract identifier to ISO 15118 form, with its new check digit.

    Two conversions are in use and give different EMAIDs, so the caller has to know his partner's: the instance is
    the six characters alone, or the six and the DIN check digit (``keep_din_digit``); it is filled up to nine with
    zeros, the first of them a C in eMI3 form.
    """
    match = _EMAID_DIN.fullmatch(text)
    if match is None:
        raise MalformedError(f"{_shown(text)} is not a DIN SPEC 91286 contract identifier (CC-PPP-IIIIII-D).")
    country, _, provider, instance, din_digit = (part.upper() for part in match.groups(""))
    expected = din_check_digit(country + provider + instance)
    if din_digit not in {"", expected}:
        raise MalformedError(
            f"DIN contract identifier {_shown(text)} has the check digit {din_digit}, but {expected} is the right one."
        )
    start = "C" if emi3 else "0"
    nine = start + (instance + expected if keep_din_digit else instance).rjust(8, "0")
    canonical = country + provider + nine
    return Emaid(canonical=canonical, check_digit=emaid_check_digit(canonical))


def _shown(text: str) -> str:
    """Quote an input in ASCII, cut to a length that fits a log line."""
    return ascii(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!a} (and {len(text) - _SHOWN} more)"


def _country_fault(canonical: str) -> str:
    return f"starts with the country code {canonical[:2]}, which is not on the list of permitted ones"


def _foreign_character(text: str, separators: str) -> str:
    """Name the first character that is neither an ASCII letter or digit nor a separator; "" when there is none."""
    if not text:
        return "is empty"
    for position, character in enumerate(text, 1):
        if character not in _LETTERS_AND_DIGITS and character not in separators:
            also = f" or {separators!r}" if separators else ""
            return f"has {character!a} as character {position}, which is not an ASCII letter or digit{also}"
    return ""


def _check_lengths(kind: str, text: str, canonical: str, lengths: range) -> None:
    """Refuse what is too short or too long for its kind, or for a common name as it was given."""
    if len(canonical) not in lengths:
        raise MalformedError(
            f"{kind} {_shown(text)} has {len(canonical)} letters and digits instead of {lengths[0]} to {lengths[-1]}."
        )
    if len(text) > COMMON_NAME_LIMIT:
        raise MalformedError(
            f"{kind} {_shown(text)} has {len(text)} characters, and a common name holds {COMMON_NAME_LIMIT}: "
            f"leave the separators out."
        )


def _emaid_fault(text: str) -> str:
    """Say what keeps a text from being an EMAID."""
    if _EMAID_DIN.fullmatch(text):
        return "is in the DIN SPEC 91286 form (6-character instance), and the ISO 15118 form with 9 is needed"
    fault = _foreign_character(text, "-")
    if fault:
        return fault
    bare = text.replace("-", "")
    if len(bare) not in _EMAID_BARE:
        return f"has {len(bare)} letters and digits instead of 14, or 15 with the check digit"
    if not bare[:2].isalpha():
        return "does not start with a country code of two letters"
    return "has dashes in other places than CC-PPP-IIIIIIIII-D: all of them are needed, or none"


def _evseid_fault(text: str) -> str:
    """Say what keeps a text from being an EVSEID."""
    if _EVSEID_DIN.fullmatch(text):
        return "is in the DIN SPEC 91286 form, and the ISO 15118 form (DE*ABC*E...) is needed"
    fault = _foreign_character(text, "*")
    if fault:
        return fault
    bare = text.replace("*", "").upper()
    if not bare[:2].isalpha():
        return "does not start with a country code of two letters"
    if bare[5:6] != "E":
        return "lacks the letter E after the country code and the three characters of the operator"
    if len(bare) < _EVSEID_BARE[0]:
        return "has no outlet after the letter E"
    return "has asterisks inside the country code or the operator"


def _seccid_fault(text: str) -> str:
    """Say what keeps a text from being a SECCID."""
    fault = _foreign_character(text, "-")
    if fault:
        return fault
    bare = text.replace("-", "").upper()
    if not bare[:2].isalpha():
        return "does not start with a country code of two letters"
    if bare[5:6] != "S":
        return "lacks the letter S after the country code and the three characters of the operator"
    if len(bare) not in _SECCID_BARE:
        return f"has {len(bare)} letters and digits instead of {_SECCID_BARE[0]} to {_SECCID_BARE[-1]}"
    return "has dashes in other places than CC-OOO-S-CONTROLLER-D"
