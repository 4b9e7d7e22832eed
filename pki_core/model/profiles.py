"""What a certificate kind looks like: the profile as a value, with a hash that pins it.

A profile is read from ``issuance/profiles/<id>.toml``, resolved with the environment's URLs, OIDs and switches, and
from then on immutable: its canonical JSON is stored under its SHA-256 when first used, every certificate names that
hash, and a batch keeps the hash it was pinned to.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from pki_core.model.signer import KeyAlgorithm

_OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"


class Edition(StrEnum):
    """ISO 15118 editions with certificate profiles, and what belongs to no edition."""

    ISO_2 = "iso15118-2"
    ISO_20 = "iso15118-20"
    INTERNET = "rfc5280"  # TLS of our own services: outside ISO 15118, outside every V2G hierarchy


class Level(StrEnum):
    """Depth in the V2G hierarchy."""

    ROOT = "root"
    SUB1 = "sub1"
    SUB2 = "sub2"
    LEAF = "leaf"


class IdentifierRule(StrEnum):
    """What the common name must be."""

    EMAID = "emaid"
    EVSE = "evse"  # EVSEID or SECCID
    PCID = "pcid"
    NAME = "name"  # a free name, chosen by the operator


class KeyUsage(StrEnum):
    """RFC 5280 4.2.1.3, by bit; the order of definition is the order of the bits."""

    DIGITAL_SIGNATURE = "digitalSignature"
    NON_REPUDIATION = "nonRepudiation"
    KEY_ENCIPHERMENT = "keyEncipherment"
    DATA_ENCIPHERMENT = "dataEncipherment"
    KEY_AGREEMENT = "keyAgreement"
    KEY_CERT_SIGN = "keyCertSign"
    CRL_SIGN = "cRLSign"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRule:
    """How the subject name is made."""

    identifier: IdentifierRule
    domain_component: str  # "" = none
    keep: tuple[str, ...]  # of "C", "O", "OU", "L", "ST": taken over from the request
    require: tuple[str, ...]  # of the same: a request without it is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """Which extensions a certificate carries; "" and () mean absent.

    ``{issuer}`` stands for the issuer's label, ``{shard}`` for the two digits of the partial CRL a serial belongs to.
    """

    ca: bool
    path_length: int | None
    key_usage: tuple[KeyUsage, ...]
    extended_key_usage: tuple[str, ...]  # dotted OIDs
    extended_key_usage_critical: bool
    key_identifier_octets: int  # 8 = RFC 7093/5280 method 2 form, 20 = RFC 5280 method 1
    authority_key_identifier: bool
    ocsp_url: str
    ca_issuers_url: str
    crl_url: str
    policy_oids: tuple[str, ...]
    cps_uri: str
    ocsp_no_check: bool
    subject_alternative_names: bool = False  # those of the request: DNS names and IP addresses, one at least
    crl_shards: int = 0  # how many partial CRLs the issuer's certificates are spread over; 0 = one CRL for all


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One certificate kind of one ISO edition in one environment."""

    id: str
    edition: Edition
    branch: str  # v2g | cpo | mo | oem | cps | tls
    level: Level
    issuer_level: Level | None  # None = self-signed
    key_algorithms: tuple[KeyAlgorithm, ...]
    subject: SubjectRule
    validity_days: int
    backdate_minutes: int
    generalized_time_always: bool
    extensions: Extensions
    max_der_octets: int
    pool: str  # none | pcp | ccp
    expected_lint_codes: tuple[str, ...]  # pkilint findings this profile causes on purpose

    def to_json(self) -> str:
        """Return the canonical form: sorted keys, no white space."""
        document = asdict(self)
        for name in ("subject_alternative_names", "crl_shards"):
            # Younger than the first stored profiles, whose hashes must stay what they are.
            if not document["extensions"][name]:
                del document["extensions"][name]
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    def at_shard(self, shard: int) -> "Profile":
        """Return the profile as certificates of one shard carry it: with the address of that partial CRL."""
        url = self.extensions.crl_url.replace("{shard}", f"{shard:02d}")
        return replace(self, extensions=replace(self.extensions, crl_url=url))

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form, lower hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def is_of_responders(self) -> bool:
        """Whether it makes delegated OCSP responders (RFC 6960 4.2.2.2)."""
        return _OCSP_SIGNING in self.extensions.extended_key_usage

    @classmethod
    def from_json(cls, text: str) -> "Profile":
        """Rebuild a stored profile; the inverse of ``to_json``."""
        raw: dict[str, Any] = json.loads(text)
        subject = raw.pop("subject")
        extensions = raw.pop("extensions")
        issuer_level = raw.pop("issuer_level")
        return cls(
            subject=SubjectRule(
                identifier=IdentifierRule(subject["identifier"]),
                domain_component=subject["domain_component"],
                keep=tuple(subject["keep"]),
                require=tuple(subject["require"]),
            ),
            extensions=Extensions(
                **{
                    **extensions,
                    "key_usage": tuple(KeyUsage(bit) for bit in extensions["key_usage"]),
                    "extended_key_usage": tuple(extensions["extended_key_usage"]),
                    "policy_oids": tuple(extensions["policy_oids"]),
                }
            ),
            issuer_level=None if issuer_level is None else Level(issuer_level),
            edition=Edition(raw.pop("edition")),
            level=Level(raw.pop("level")),
            key_algorithms=tuple(KeyAlgorithm(name) for name in raw.pop("key_algorithms")),
            expected_lint_codes=tuple(raw.pop("expected_lint_codes")),
            **raw,
        )
