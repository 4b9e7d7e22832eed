"""Reads ``profiles/*.toml`` and resolves them with an environment's URLs, OIDs and switches into ``Profile`` values."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pki_core.model.errors import SettingsError
from pki_core.model.profiles import Edition, Extensions, IdentifierRule, KeyUsage, Level, Profile, SubjectRule
from pki_core.model.signer import KeyAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentValues:
    """What differs between environments inside a certificate.

    URLs may hold ``{issuer}``, the issuer's label; that of partial CRLs holds ``{shard}`` too.
    """

    ocsp_url: str
    ca_issuers_url: str
    crl_url: str
    crl_shard_url: str = ""
    crl_shards: int = 0
    policy_oid: str
    cps_uri: str
    switches: frozenset[str] = frozenset()


def load_profiles(values: EnvironmentValues) -> dict[str, Profile]:
    """Return every shipped profile by id, resolved for one environment.

    Raises:
        SettingsError: a file breaks the schema, a switch is turned on that no profile knows, or an address cannot
            stand in a certificate.
    """
    _check_urls(values)
    raw = {name: tomllib.loads(text) for name, text in _shipped().items()}
    known = {switch for document in raw.values() for switch in document.get("switches", {})}
    if unknown := values.switches - known:
        raise SettingsError(f"no profile knows the switch {min(unknown)!r}; known: {', '.join(sorted(known))}")
    profiles = {}
    for name, document in raw.items():
        try:
            profile = _resolve(document, values)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"profile {name}.toml: {type(error).__name__}: {error}") from error
        if profile.id != name:
            raise SettingsError(f"profile {name}.toml names itself {profile.id!r}")
        profiles[name] = profile
    return profiles


def _check_urls(values: EnvironmentValues) -> None:
    """Find out now what would otherwise stop the first signature."""
    if values.crl_shards and "{shard}" not in values.crl_shard_url:
        raise SettingsError("certificates.crl_shard_url must hold {shard}: each partial CRL has its own address")
    for name in ("ocsp_url", "ca_issuers_url", "crl_url", "crl_shard_url", "cps_uri"):
        url = getattr(values, name).replace("{shard}" if name == "crl_shard_url" else "{issuer}", "")
        try:
            fits = url.format(issuer="") == url.replace("{issuer}", "") and url.isascii()
        except (KeyError, IndexError, ValueError, AttributeError):
            fits = False
        if not fits:  # RFC 5280 4.2.1.6: an address is an IA5String
            raise SettingsError(f"certificates.{name} must be ASCII, and {{issuer}} the only thing in braces")


def _shipped() -> dict[str, str]:
    folder = files("pki_core.issuance").joinpath("profiles")
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def _resolve(document: dict[str, Any], values: EnvironmentValues) -> Profile:
    document = dict(document)
    for name, overlay in document.pop("switches", {}).items():
        if name in values.switches:
            document = _overlay(document, overlay)
    key = dict(document.pop("key"))
    profile = Profile(
        subject=_subject(dict(document.pop("subject"))),
        extensions=_extensions(dict(document.pop("extensions")), values),
        key_algorithms=tuple(KeyAlgorithm(name) for name in key.pop("algorithms")),
        edition=Edition(document.pop("edition")),
        level=Level(document.pop("level")),
        issuer_level=Level(level) if (level := document.pop("issuer_level", "")) else None,
        generalized_time_always=document.pop("generalized_time_always", False),
        expected_lint_codes=tuple(document.pop("expected_lint_codes", ())),
        id=document.pop("id"),
        branch=document.pop("branch"),
        validity_days=document.pop("validity_days"),
        backdate_minutes=document.pop("backdate_minutes"),
        max_der_octets=document.pop("max_der_octets"),
        pool=document.pop("pool"),
    )
    _nothing_left(document, "")
    _nothing_left(key, "key.")
    return profile


def _overlay(document: dict[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for name, value in overlay.items():
        merged[name] = _overlay(merged[name], value) if isinstance(value, dict) else value
    return merged


def _subject(raw: dict[str, Any]) -> SubjectRule:
    rule = SubjectRule(
        identifier=IdentifierRule(raw.pop("identifier")),
        domain_component=raw.pop("domain_component"),
        keep=tuple(raw.pop("keep")),
        require=tuple(raw.pop("require")),
    )
    _nothing_left(raw, "subject.")
    return rule


def _extensions(raw: dict[str, Any], values: EnvironmentValues) -> Extensions:
    policies, qualifier = raw.pop("policies"), raw.pop("cps_qualifier", False)
    shards = 0 if raw["ca"] or not raw["crl"] else values.crl_shards  # a CA's own list stays small
    crl_url = values.crl_shard_url if shards else values.crl_url
    extensions = Extensions(
        ca=raw.pop("ca"),
        path_length=raw.pop("path_length", None),
        key_usage=tuple(KeyUsage(bit) for bit in raw.pop("key_usage")),
        extended_key_usage=tuple(raw.pop("extended_key_usage", ())),
        extended_key_usage_critical=raw.pop("extended_key_usage_critical", False),
        key_identifier_octets=raw.pop("key_identifier_octets"),
        authority_key_identifier=raw.pop("authority_key_identifier"),
        ocsp_url=values.ocsp_url if raw.pop("ocsp") else "",
        ca_issuers_url=values.ca_issuers_url if raw.pop("ca_issuers") else "",
        crl_url=crl_url if raw.pop("crl") else "",
        policy_oids=(values.policy_oid,) if policies else (),
        cps_uri=values.cps_uri if policies and qualifier else "",
        ocsp_no_check=raw.pop("ocsp_no_check", False),
        subject_alternative_names=raw.pop("subject_alternative_names", False),
        crl_shards=shards,
    )
    _nothing_left(raw, "extensions.")
    return extensions


def _nothing_left(raw: Mapping[str, Any], where: str) -> None:
    if raw:
        raise ValueError(f"unknown key {where}{next(iter(raw))}")
