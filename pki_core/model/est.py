"""EST labels as data (RFC 7030 3.2.2): what a label issues, whom it believes, and how its answers look."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from pki_core.model.errors import SettingsError
from pki_core.model.profiles import Edition
from pki_core.model.signer import KeyAlgorithm

# RFC 7030 3.2.2: a label is one path segment and never the name of an operation.
OPERATIONS = frozenset(
    {"cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs", "renewal-info"}
)
_LABEL = re.compile(r"[\w.:~-]{1,64}", re.ASCII)  # a colon: Aruba and others use one
_STRICT = {"extra": "forbid"}


class Authentication(StrEnum):
    """How a caller may show who he is."""

    BASIC = "basic"  # a machine secret, RFC 7617
    CERTIFICATE = "certificate"  # a TLS client certificate, RFC 7030 3.3.2
    BEARER = "bearer"  # a signed token, RFC 6750


class Approval(StrEnum):
    """Who decides on a request that is in order."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"  # RFC 7030 4.2.3: 202 until somebody has looked


class Linking(StrEnum):
    """Whether a request must be bound to its TLS connection (RFC 7030 3.5)."""

    OPTIONAL = "optional"  # a wrong value is refused: that is a MUST
    REQUIRED = "required"


class PasswordMeaning(StrEnum):
    """What the challengePassword of a request stands for."""

    CHANNEL_BINDING = "channel-binding"  # RFC 7030 3.5
    ENROLLMENT_CODE = "enrollment-code"  # a one-time code, as EJBCA reads it; RFC 7894 2 is about keeping them apart


@dataclass(frozen=True, slots=True, kw_only=True)
class EstLabel:
    """One EST service under one path segment."""

    __pydantic_config__: ClassVar = _STRICT

    branch: str  # mo | cpo | oem | cps
    edition: Edition = Edition.ISO_2  # when the caller names none
    issuer: str = ""  # a CA of this label's own; "" = the newest of the branch
    authentication: frozenset[Authentication] = frozenset(Authentication)
    approval: Approval = Approval.AUTOMATIC
    base64_line_length: int = 64  # 64 | 76 | 0 = one line, which only strongSwan needs
    chain_in_answer: bool = False  # readers that want exactly one certificate are the rule
    linking: Linking = Linking.OPTIONAL
    challenge_password: PasswordMeaning = PasswordMeaning.CHANNEL_BINDING
    partners: frozenset[str] = frozenset()  # empty = every partner with the role
    cacerts_open: bool = True  # RFC 7030 4.1.2: should be
    registered_only: bool = False  # names must stand with the registration authority before they enrol or renew
    leaf_renews: bool = True  # a certificate alone may renew itself; False = a credential of the partner's beside it


class EstRequestState(StrEnum):
    """Life of a request that needs approval."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    ISSUED = "issued"


@dataclass(frozen=True, slots=True, kw_only=True)
class EstRequest:
    """One request that somebody decides, or has decided, about."""

    id: str
    partner_id: str
    label: str
    csr_der: bytes
    common_name: str
    state: EstRequestState
    asked_at: datetime
    decided_at: datetime | None
    decided_by: str
    certificate_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedProxy:
    """Who may hand over a client certificate in headers: known by its address and by a secret."""

    __pydantic_config__: ClassVar = _STRICT

    networks: tuple[str, ...] = ()  # CIDR; empty = by address nobody
    unix_socket: bool = False
    secret_file: str = ""  # beside the home directory's file; "" = no proxy is trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerTokens:
    """Whose tokens are believed (RFC 7519, RFC 8725)."""

    __pydantic_config__: ClassVar = _STRICT

    jwks: str = ""  # a file, or an https URL; "" = no tokens
    issuer: str = ""
    audience: str = ""  # "" = not looked at: some operators' tokens carry none
    scope: str = ""  # a word that must be in the claim "scope"; "" = none
    partner_claim: str = "sub"
    partners: tuple[tuple[str, str], ...] = ()  # (claim, partner id); a claim that is not listed is the id itself


class RevocationCheck(StrEnum):
    """When the status of somebody else's certificate is asked; an answer other than good always refuses it."""

    WHEN_NAMED = "when_named"  # one that names neither a responder nor a CRL is believed without
    REQUIRED = "required"  # one that names neither is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ThirdParty:
    """CAs of others whose device certificates may enrol (RFC 7030 3.1, implicit trust anchors), and for whom."""

    __pydantic_config__: ClassVar = _STRICT

    file: str  # PEM with the trust anchors, and the CAs below them that devices do not send
    partner: str
    revocation: RevocationCheck = RevocationCheck.WHEN_NAMED


def check_labels(labels: dict[str, EstLabel], default: str) -> None:
    """Refuse labels that cannot be served.

    Raises:
        SettingsError: says which one, and why.
    """
    for name, label in labels.items():
        if not _LABEL.fullmatch(name) or name in OPERATIONS:
            raise SettingsError(f"{name!r} cannot be an EST label: one path segment, not the name of an operation")
        if label.branch not in {"mo", "cpo", "oem", "cps"}:
            raise SettingsError(f"EST label {name!r}: there is no branch {label.branch!r}")
        if label.base64_line_length not in {0, 64, 76}:
            raise SettingsError(f"EST label {name!r}: base64_line_length is 64, 76 or 0")
        if label.linking is Linking.REQUIRED and label.challenge_password is not PasswordMeaning.CHANNEL_BINDING:
            raise SettingsError(f"EST label {name!r}: the challengePassword cannot be a code and a binding at once")
    if default and default not in labels:
        raise SettingsError(f"the default EST label {default!r} does not exist")


def edition_of(text: str) -> Edition | None:
    """Return the edition an alias path or a parameter names (``ISO15118-2``, ``ISO15118-20``), None for others."""
    return {"iso15118-2": Edition.ISO_2, "iso15118-20": Edition.ISO_20}.get(text.lower())


def algorithm_of(text: str) -> KeyAlgorithm | None:
    """Return the key algorithm an alias path or a parameter names, None for others."""
    return next((algorithm for algorithm in KeyAlgorithm if algorithm.value == text.lower()), None)
