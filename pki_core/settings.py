"""One checked object per environment: the shipped TOML of the environment, overlaid by the home directory's own.

Secrets never stand in a TOML: a file or an environment variable holds them, and the TOML names which.
"""

import os
import tomllib
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError, model_validator

from pki_core.issuance.load import EnvironmentValues
from pki_core.model.contracts import AadForm
from pki_core.model.crls import CrlPolicy
from pki_core.model.errors import SettingsError
from pki_core.model.est import BearerTokens, EstLabel, ThirdParty, TrustedProxy, check_labels
from pki_core.model.identifiers import ISO_3166_ALPHA_2, CheckDigitPolicy
from pki_core.model.outbound import OutboundPolicy, TurnPolicy
from pki_core.model.tokens import TokenPolicy
from pki_core.model.webhooks import WebhookPolicy
from pki_core.services.names import NamePolicy

ENVIRONMENTS = ("dev", "qa", "prod")
HOME_FILE = "pncpki.toml"
FOUNDING_FILE = "founding.unfinished"  # there from the first act of a founding until its last
DATABASE_VARIABLE = "PNCPKI_DATABASE_URL"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyStoreSettings(_Section):
    """Where private keys live."""

    kind: Literal["softhsm", "pkcs11", "file"]
    module: str = ""  # path of the PKCS#11 module; empty = SoftHSM where the system keeps it
    token_label: Annotated[str, Field(min_length=1, max_length=32)]
    token_serial: str = ""
    pin_file: str = "secrets/pin"  # beside the home directory's file; read when pin_variable is not set
    pin_variable: str = "PNCPKI_PIN"
    sessions: Annotated[int, Field(ge=1, le=64)]


class CertificateSettings(_Section):
    """What differs inside certificates. URLs may hold {issuer}, that of partial CRLs {shard} too."""

    ocsp_url: str
    ca_issuers_url: str
    crl_url: str
    crl_shard_url: str
    crl_shards: Annotated[int, Field(ge=0, le=20)]  # 00 to 19: labels of ISO 15118-20 end in -20
    policy_oid: Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$")]
    cps_uri: str
    switches: frozenset[str] = frozenset()
    organization: Annotated[str, Field(min_length=1, max_length=40)]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    ed448_hierarchy: bool  # beside P-521, where the token can


class IdentifierSettings(_Section):
    """What is demanded of identifiers beyond their grammar."""

    emaid_check_digit: CheckDigitPolicy
    countries: Literal["any", "iso3166"]


class IssuanceSettings(_Section):
    """The act of signing."""

    serial_prefix: Annotated[int, Field(ge=1, le=127)]  # one for each instance that issues beside others
    lease_seconds: Annotated[int, Field(ge=10, le=3600)]
    chunk_rows: Annotated[int, Field(ge=1, le=2000)]


class BatchSettings(_Section):
    """Limits of an upload."""

    max_octets: Annotated[int, Field(ge=1)]
    max_rows: Annotated[int, Field(ge=1)]
    max_archive_octets: Annotated[int, Field(ge=1)]
    max_archive_ratio: Annotated[int, Field(ge=1)]
    max_archive_entries: Annotated[int, Field(ge=1)]
    uploads_at_once: Annotated[int, Field(ge=1, le=64)]  # of each web process; beyond: come back later
    wait_seconds: Annotated[int, Field(ge=1, le=3600)]  # for a file to be loaded, or results to be written
    spool_days: Annotated[int, Field(ge=1, le=366)]  # how long written results are kept for fetching again


class EstSettings(_Section):
    """The EST server; its labels are values of the model (model/est.py)."""

    labels: dict[str, EstLabel]
    default_label: str = ""  # served under paths without a label; "" = none
    realm: Annotated[str, Field(pattern=r"^[ !#-\[\]-~]{1,64}$")] = "pncpki"
    max_body_octets: Annotated[int, Field(ge=1024, le=1_048_576)] = 65_536
    retry_after_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    max_pending: Annotated[int, Field(ge=1)] = 1000  # requests of one partner that wait for approval
    max_per_minute: Annotated[int, Field(ge=0)] = 60_000  # requests of one partner in one worker; 0 = no limit
    server_side_keys: bool = False  # serverkeygen: the key leaves us, and an HSM protects it no longer
    renewal_window_days: Annotated[int, Field(ge=1, le=365)] = 30  # before the end, as renewal-info suggests
    third_parties: tuple[ThirdParty, ...] = ()  # empty = certificates of others count for nothing
    proxy: TrustedProxy = TrustedProxy()
    bearer: BearerTokens = BearerTokens()


class OcspSettings(_Section):
    """The OCSP responder."""

    rotate_roots: bool  # False: a root delegates by ceremony only
    leaf_hours: Annotated[int, Field(ge=1, le=168)]  # from thisUpdate to nextUpdate; [V2G20-1021]: 7 days at most
    ca_hours: Annotated[int, Field(ge=1, le=168)]  # the same for CA certificates
    archive_days: Annotated[int, Field(ge=1, le=36_500)]  # how long expired certificates are answered for
    hash_algorithms: Annotated[tuple[Literal["sha1", "sha256", "sha384", "sha512"], ...], Field(min_length=1)]
    max_certificates: Annotated[int, Field(ge=1, le=100)]  # in one request
    max_octets: Annotated[int, Field(ge=256, le=65_536)]  # of a request, and of the path of a GET
    max_live: Annotated[int, Field(ge=1, le=1000)]  # signatures made or waited for at once; beyond: tryLater
    cache_entries: Annotated[int, Field(ge=1, le=1_000_000)]  # about 2 kB each, in each process
    clock_tolerance_seconds: Annotated[int, Field(ge=0, le=3600)]


class ServingSettings(_Section):
    """The two listeners: HTTPS with client certificates, and plain HTTP for status and certificates."""

    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]  # in the server's certificate, main one first
    workers: Annotated[int, Field(ge=1, le=64)]  # processes of the HTTPS listener
    threads: Annotated[int, Field(ge=4, le=256)]  # of each: requests at work at once
    connections: Annotated[int, Field(ge=64, le=65_536)]  # of each process, kept alive ones and slow ones included
    plain_workers: Annotated[int, Field(ge=1, le=64)]
    plain_threads: Annotated[int, Field(ge=1, le=1024)]  # of each: requests at once, those that are awaited included
    handshake_seconds: Annotated[int, Field(ge=1, le=60)]  # for the whole TLS handshake
    read_seconds: Annotated[int, Field(ge=1, le=300)]  # for all headers, for a body, between two pieces of a long one
    request_seconds: Annotated[int, Field(ge=1, le=3600)]  # for a whole request with its answer
    keep_alive_seconds: Annotated[int, Field(ge=1, le=300)]
    renewal_minutes: Annotated[int, Field(ge=1, le=1440)]  # how often certificate and anchors are looked after
    ready_seconds: Annotated[int, Field(ge=1, le=300)]  # how long an answer of /readyz stands: it signs with a key
    metrics_networks: tuple[IPvAnyNetwork, ...]  # who may read /metrics


class CrlSettings(_Section):
    """How often CRLs are made, how long they are valid, and which change of them is too large to go unseen."""

    validity_hours: Annotated[int, Field(ge=1, le=8784)]
    period_minutes: Annotated[int, Field(ge=1, le=43_200)]
    delta_minutes: Annotated[int, Field(ge=0, le=1440)]  # 0 = no delta CRLs
    root_validity_days: Annotated[int, Field(ge=1, le=366)]
    automatic_roots: bool  # else a root signs at a person's command: pncpki crl publish --issuer LABEL
    growth_entries: Annotated[int, Field(ge=0)]  # more at once than this, and than ...
    growth_percent: Annotated[int, Field(ge=0)]  # ... this share, wants the approval of two people


class OauthSettings(_Section):
    """Tokens of our own (RFC 6749)."""

    issuer: str  # "" = https:// and the first of serving.names
    audiences: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]  # the first for clients that name none
    token_seconds: Annotated[int, Field(ge=60, le=604_800)]
    key_days: Annotated[int, Field(ge=1, le=3660)]  # how long a key signs
    roles: dict[str, tuple[str, ...]]  # a partner's role -> words of the claim that clients read
    scopes: dict[str, tuple[str, ...]]  # a partner's role -> services


class OutboundSettings(_Section):
    """Our own calls to other people's servers."""

    allowed_networks: tuple[IPvAnyNetwork, ...]  # private, loopback, ... ones that may be called nevertheless
    connect_seconds: Annotated[int, Field(ge=1, le=60)]
    total_seconds: Annotated[int, Field(ge=1, le=300)]  # a whole call
    check_seconds: Annotated[int, Field(ge=1, le=60)]  # all questions to other CAs that one request leads to
    checks_at_once: Annotated[int, Field(ge=1, le=256)]  # requests of a process that wait for them; half its threads
    checks_of_partner: Annotated[int, Field(ge=1, le=256)]  # of these, of one partner
    ca_file: str  # PEM of CAs beside the system's, in the home directory; "" = none


class WebhookSettings(_Section):
    """Events told to partners."""

    plain_http: bool  # endpoints without TLS; their bodies name contracts
    max_endpoints: Annotated[int, Field(ge=1, le=1000)]  # of one partner
    retries: Annotated[int, Field(ge=0, le=20)]
    retry_minutes: Annotated[int, Field(ge=1, le=1440)]
    keep_days: Annotated[int, Field(ge=1, le=3660)]  # what was told, for replays


class ContractSettings(_Section):
    """Contract data made for operators."""

    aad_form: AadForm  # what binds the key envelope of ISO 15118-20; vehicles read [V2G20-2492] in several ways
    renewal_window_days: Annotated[int, Field(ge=1, le=365)]  # before its end a contract is renewed, where wanted
    resign_window_days: Annotated[int, Field(ge=1, le=365)] = 30  # before its signer ends, contract data is signed anew


class PolicySettings(_Section):
    """What the certificate policy document says of the operator."""

    operator: Annotated[str, Field(min_length=1, max_length=200)]  # legal name
    contact: Annotated[str, Field(min_length=1, max_length=200)]  # where to report a stolen key


class Settings(_Section):
    """Everything an environment can set."""

    environment: Literal["dev", "qa", "prod"]
    environment_id: str = ""  # made by init; the database carries the same
    database_url: str
    key_store: KeyStoreSettings
    certificates: CertificateSettings
    identifiers: IdentifierSettings
    issuance: IssuanceSettings
    batches: BatchSettings
    crl: CrlSettings
    est: EstSettings
    oauth: OauthSettings
    ocsp: OcspSettings
    outbound: OutboundSettings
    serving: ServingSettings
    webhooks: WebhookSettings
    contracts: ContractSettings
    policy: PolicySettings

    @model_validator(mode="after")
    def _refuse_what_must_not_run(self) -> Self:
        if self.key_store.kind == "file" and self.environment != "dev":
            raise ValueError("file keys are for dev only: qa and prod need a PKCS#11 token")
        if self.crl.validity_hours * 60 < 2 * self.crl.period_minutes:
            raise ValueError(
                "crl.validity_hours: a CRL that does not outlive two periods leaves no time to mend anything"
            )
        if self.crl.delta_minutes >= self.crl.period_minutes:
            raise ValueError(
                "crl.delta_minutes must be below crl.period_minutes: a delta tells sooner, or it is useless"
            )
        check_labels(self.est.labels, self.est.default_label)
        return self

    @property
    def environment_values(self) -> EnvironmentValues:
        """What the profiles are resolved with."""
        section = self.certificates
        return EnvironmentValues(
            ocsp_url=section.ocsp_url,
            ca_issuers_url=section.ca_issuers_url,
            crl_url=section.crl_url,
            crl_shard_url=section.crl_shard_url,
            crl_shards=section.crl_shards,
            policy_oid=section.policy_oid,
            cps_uri=section.cps_uri,
            switches=section.switches,
        )

    @property
    def crl_policy(self) -> CrlPolicy:
        """How CRLs are made."""
        section = self.crl
        return CrlPolicy(
            environment=self.environment,
            crl_url=self.certificates.crl_url,
            validity=timedelta(hours=section.validity_hours),
            period=timedelta(minutes=section.period_minutes),
            delta_period=timedelta(minutes=section.delta_minutes),
            root_validity=timedelta(days=section.root_validity_days),
            automatic_roots=section.automatic_roots,
            growth_entries=section.growth_entries,
            growth_percent=section.growth_percent,
            lease=timedelta(seconds=self.issuance.lease_seconds),
        )

    @property
    def token_policy(self) -> TokenPolicy:
        """How tokens are granted."""
        section = self.oauth
        issuer = section.issuer or f"https://{self.serving.names[0]}"
        return TokenPolicy(
            issuer=issuer,
            audiences=section.audiences or (issuer,),
            lifetime=timedelta(seconds=section.token_seconds),
            key_life=timedelta(days=section.key_days),
            roles=section.roles,
            scopes=section.scopes,
        )

    @property
    def outbound_policy(self) -> OutboundPolicy:
        """Where our own calls may go, and for how long."""
        section = self.outbound
        return OutboundPolicy(
            allowed_networks=section.allowed_networks,
            connect_seconds=section.connect_seconds,
            total_seconds=section.total_seconds,
        )

    @property
    def turn_policy(self) -> TurnPolicy:
        """How much partners' requests may have us ask other people's CAs."""
        section = self.outbound
        return TurnPolicy(
            at_once=min(section.checks_at_once, self.serving.threads // 2),
            of_one_asker=section.checks_of_partner,
            seconds=section.check_seconds,
        )

    @property
    def webhook_policy(self) -> WebhookPolicy:
        """How events are told."""
        section = self.webhooks
        return WebhookPolicy(
            plain_http=section.plain_http,
            max_endpoints=section.max_endpoints,
            retries=section.retries,
            retry_after=timedelta(minutes=section.retry_minutes),
            keep=timedelta(days=section.keep_days),
        )

    @property
    def name_policy(self) -> NamePolicy:
        """What names are judged by."""
        countries = ISO_3166_ALPHA_2 if self.identifiers.countries == "iso3166" else None
        return NamePolicy(check_digit=self.identifiers.emaid_check_digit, countries=countries)


def load_shipped(environment: str) -> dict[str, Any]:
    """Return the raw shipped settings of an environment."""
    if environment not in ENVIRONMENTS:
        raise SettingsError(f"there is no environment {environment!r}; there are {', '.join(ENVIRONMENTS)}")
    return tomllib.loads(files("deployments").joinpath(f"{environment}.toml").read_text(encoding="utf-8"))


def load_settings(home: Path) -> Settings:
    """Return the settings of the environment in a home directory.

    Raises:
        SettingsError: no environment there or an unfinished one, unknown or missing keys, or a combination that must
            not run.
    """
    path = home / HOME_FILE
    if (home / FOUNDING_FILE).exists():
        raise SettingsError(
            f"the environment in {home} is not finished: give the same pncpki init again and it goes on where it was"
        )
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(
            f"there is no environment in {home}; make one with: pncpki init --env dev --home {home}"
        ) from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    return check_settings({**own, "environment": own.get("environment", "")}, home)


def check_settings(own: dict[str, Any], home: Path) -> Settings:
    """Overlay an environment's shipped settings with its own and check the whole."""
    merged = _overlay(load_shipped(str(own["environment"])), own)
    if url := os.environ.get(DATABASE_VARIABLE):
        merged["database_url"] = url
    if isinstance(merged["database_url"], str):
        merged["database_url"] = merged["database_url"].replace("{home}", str(home.resolve()))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "settings"
        raise SettingsError(f"{home / HOME_FILE}: {place}: {first['msg']}") from None  # the cause would print inputs


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        below_it = merged.get(key, {})
        merged[key] = _overlay(below_it, value) if isinstance(value, dict) and isinstance(below_it, dict) else value
    return merged
