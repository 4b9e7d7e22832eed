"""Wires one environment together, once a process. Nothing is opened before it is used."""

from functools import cached_property
from pathlib import Path

from pki_core.issuance.load import load_profiles
from pki_core.model.clock import Clock, SystemClock
from pki_core.model.errors import PkiError, SettingsError, StoreUnavailableError
from pki_core.model.ocsp import OcspPolicy
from pki_core.model.profiles import Profile
from pki_core.model.signer import KeyStore
from pki_core.runtime.contracts import ContractServices
from pki_core.runtime.key_stores import open_key_store
from pki_core.runtime.partner_access import PartnerAccess
from pki_core.runtime.pools import Pools
from pki_core.services.ages import Ages
from pki_core.services.audit import AuditLog
from pki_core.services.batches import Batches, Ways
from pki_core.services.ceremonies import Ceremonies
from pki_core.services.ceremony_rules import CeremonyEnvironment
from pki_core.services.certificates import Certificates
from pki_core.services.credentials import Credentials
from pki_core.services.crl_shelf import CrlShelf
from pki_core.services.crls import Crls
from pki_core.services.enroll import Enrollment
from pki_core.services.est import Est
from pki_core.services.est_approvals import Approvals
from pki_core.services.est_callers import Callers, Guarantor
from pki_core.services.est_offers import Offers
from pki_core.services.est_pace import Pace
from pki_core.services.issuers import Issuers
from pki_core.services.maintenance import Maintenance
from pki_core.services.ocsp import OcspResponder
from pki_core.services.ocsp_refresh import OcspRefresh
from pki_core.services.ocsp_signing import OcspSigner
from pki_core.services.partners import Partners
from pki_core.services.readiness import Readiness, crl_ends, responder_ends
from pki_core.services.renewal_info import RenewalInfo
from pki_core.services.responders import ResponderRules, Responders
from pki_core.services.results import Results
from pki_core.services.revoke import Revocations
from pki_core.services.tls import ServerCertificate, TlsPlace
from pki_core.services.uploads import UploadRules, Uploads
from pki_core.settings import Settings, load_settings
from pki_core.store.schema import is_current, migrate
from pki_core.store.unit_of_work import Store
from pki_core.wire.batch_file import BatchLimits
from pki_core.wire.trust_anchors import read_trust_anchors


class Runtime:
    """One environment in one process: settings in, services out."""

    def __init__(self, home: Path, settings: Settings, clock: Clock | None = None) -> None:
        self.home = home.resolve()
        self.settings = settings
        self.clock: Clock = clock or SystemClock()

    @cached_property
    def store(self) -> Store:
        """The SQL store."""
        return Store(self.settings.database_url)

    @cached_property
    def key_store(self) -> KeyStore:
        """The token, or in dev the key files."""
        return open_key_store(self.home, self.settings.key_store)

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """Every profile, resolved for this environment."""
        return load_profiles(self.settings.environment_values)

    @cached_property
    def issuers(self) -> Issuers:
        """The CAs with their keys."""
        return Issuers(self.store, lambda: self.key_store, self.settings.issuance.serial_prefix)

    @cached_property
    def enrollment(self) -> Enrollment:
        """The one path to a certificate."""
        seconds = self.settings.issuance.lease_seconds
        return Enrollment(self.store, self.clock, self.settings.name_policy, seconds, self.pools.removal)

    @cached_property
    def batches(self) -> Batches:
        """Signing and progress of batches."""
        # A batch names no label: the one named as its branch speaks for it.
        registered = frozenset(name for name, label in self.settings.est.labels.items() if label.registered_only)
        ways = Ways(self.enrollment, lambda: self.contracts.making, registered)
        return Batches(self.store, self.issuers, ways, self.clock, self.settings.issuance.lease_seconds)

    @cached_property
    def uploads(self) -> Uploads:
        """Files into batches."""
        limits = self.settings.batches
        rules = UploadRules(
            profiles=self.profiles,
            names=self.settings.name_policy,
            limits=BatchLimits(
                max_octets=limits.max_octets,
                max_rows=limits.max_rows,
                max_archive_octets=limits.max_archive_octets,
                max_archive_ratio=limits.max_archive_ratio,
                max_archive_entries=limits.max_archive_entries,
            ),
            chunk_rows=self.settings.issuance.chunk_rows,
        )
        return Uploads(self.store, self.clock, rules)

    @cached_property
    def certificates(self) -> Certificates:
        """What was issued."""
        return Certificates(self.store)

    @cached_property
    def ocsp_policy(self) -> OcspPolicy:
        """How certificates are answered for."""
        section = self.settings.ocsp
        return OcspPolicy(
            most_certificates=section.max_certificates,
            leaf_seconds=section.leaf_hours * 3600,
            ca_seconds=section.ca_hours * 3600,
            archive_seconds=section.archive_days * 86_400,
            clock_tolerance_seconds=section.clock_tolerance_seconds,
            cache_entries=section.cache_entries,
            most_looking=max(self.settings.serving.plain_threads // 2, 1),  # the others are for what is remembered
            most_live=section.max_live,
            hash_algorithms=section.hash_algorithms,
        )

    @cached_property
    def ocsp_signer(self) -> OcspSigner:
        """The keys of the OCSP responders."""
        tolerance = self.settings.ocsp.clock_tolerance_seconds
        return OcspSigner(self.store, lambda: self.key_store, self.clock, tolerance)

    @cached_property
    def ocsp(self) -> OcspResponder:
        """Answers about certificates."""
        return OcspResponder(self.store, self.clock, self.ocsp_signer, self.ocsp_policy)

    @cached_property
    def ocsp_refresh(self) -> OcspRefresh:
        """Answers signed ahead."""
        return OcspRefresh(self.store, self.ocsp_signer, self.ocsp_policy)

    @cached_property
    def responders(self) -> Responders:
        """Who signs OCSP answers for which CA."""
        section = self.settings.certificates
        rules = ResponderRules(
            profiles=self.profiles,
            rotate_roots=self.settings.ocsp.rotate_roots,
            organization=section.organization,
            country=section.country,
        )
        return Responders(self.store, self.key_store, self.issuers, self.enrollment, self.clock, rules)

    @cached_property
    def results(self) -> Results:
        """Result bundles."""
        return Results(self.store, self.certificates)

    @cached_property
    def partners(self) -> Partners:
        """Who may ask for certificates."""
        return Partners(self.store, self.clock)

    @cached_property
    def server_certificate(self) -> ServerCertificate:
        """The certificate of the web server."""
        section = self.settings.certificates
        place = TlsPlace(
            directory=self.home / "secrets" / "tls",
            names=self.settings.serving.names,
            organization=section.organization,
            country=section.country,
            anchor_files=tuple(self.home / one.file for one in self.settings.est.third_parties),
        )
        return ServerCertificate(place, self.profiles, self.store, self.issuers, self.enrollment, self.clock)

    @cached_property
    def credentials(self) -> Credentials:
        """What partners prove themselves with."""
        return Credentials(self.store, self.clock, self.issuers, self.enrollment)

    @cached_property
    def est_offers(self) -> Offers:
        """What EST labels issue."""
        section = self.settings.est
        return Offers(self.store, self.clock, self.profiles, section.labels, section.default_label)

    @cached_property
    def approvals(self) -> Approvals:
        """EST requests that wait for somebody."""
        return Approvals(self.store, self.clock, self.settings.environment, self.settings.est.max_pending)

    @cached_property
    def callers(self) -> Callers:
        """Who calls."""
        guarantors = [
            Guarantor(read_trust_anchors(self.home / one.file), one.partner, one.revocation)
            for one in self.settings.est.third_parties
        ]
        return Callers(self.store, self.clock, guarantors, lambda: self.access.foreign_status)

    @cached_property
    def access(self) -> PartnerAccess:
        """What partners reach us by, and we them: tokens, batches over HTTP, webhooks, other people's servers."""
        return PartnerAccess(self)

    @cached_property
    def est(self) -> Est:
        """Enrolment over Secure Transport."""
        issuing = (self.issuers, self.enrollment, self.settings.name_policy)
        waiting = (self.approvals, Pace(self.clock, self.settings.est.max_per_minute))
        return Est(self.store, issuing, self.est_offers, self.callers, waiting, self.clock)

    @cached_property
    def renewal_info(self) -> RenewalInfo:
        """When to renew."""
        return RenewalInfo(self.store, self.clock, self.settings.est.renewal_window_days)

    @cached_property
    def audit_log(self) -> AuditLog:
        """The audit log: sealed, verified."""
        return AuditLog(self.store, lambda: self.key_store, self.clock, self.home / "audit" / "checkpoints.jsonl")

    @cached_property
    def readiness(self) -> Readiness:
        """Whether this process can do its work."""
        ends = {
            "responder": lambda: responder_ends(self.store),
            "crl": lambda: crl_ends(self.crls.ages()),
            "listing": lambda: {name: end.timestamp() for name, end in self.crls.promised().items()},
        }
        return Readiness(self.store, lambda: self.key_store, self.clock, ends)

    @cached_property
    def maintenance(self) -> Maintenance:
        """Sweeps over what crashes left."""
        return Maintenance(self.store, self.clock)

    @cached_property
    def ceremonies(self) -> Ceremonies:
        """Key ceremonies."""
        environment = CeremonyEnvironment(
            name=self.settings.environment,
            directory=self.home / "ca",
            profiles=self.profiles,
            organization=self.settings.certificates.organization,
        )
        return Ceremonies(environment, self.store, self.key_store, self.issuers, self.enrollment, self.clock)

    @cached_property
    def revocations(self) -> Revocations:
        """Revoking, holding, releasing."""
        return Revocations(self.store, self.clock, self.settings.crl_policy)

    @cached_property
    def crls(self) -> Crls:
        """Making and publishing CRLs."""
        return Crls(self.store, self.clock, lambda: self.key_store, lambda: self.profiles, self.settings.crl_policy)

    @cached_property
    def ages(self) -> Ages:
        """How long ago what must happen again and again happened."""
        return Ages(self.store, self.clock, self.crls, self.contracts.signers, self.contracts.excess)

    @cached_property
    def crl_shelf(self) -> CrlShelf:
        """What is served of them."""
        return CrlShelf(self.store, self.clock)

    @cached_property
    def pools(self) -> Pools:
        """Roots, provisioning certificates and contracts."""
        return Pools(
            self.store, self.clock, self.revocations, self.settings.environment, lambda: self.access.foreign_status
        )

    @cached_property
    def contracts(self) -> ContractServices:
        """Contract data: made, signed, answered."""
        return ContractServices(self)

    def close(self) -> None:
        """Give sessions and connections back."""
        for name in ("ocsp", "key_store", "store"):
            if name in self.__dict__:
                self.__dict__[name].close()


def open_runtime(home: Path, clock: Clock | None = None) -> Runtime:
    """Open the environment in a home directory.

    Raises:
        SettingsError: its settings contradict each other, its database belongs to another environment or needs a
            migration, or its token is not the one it was founded with.
    """
    runtime = Runtime(home, load_settings(home), clock)
    url = runtime.settings.database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise SettingsError(f"the database {url.removeprefix('sqlite:///')} is gone")
    if not is_current(url):
        raise SettingsError("the database has no schema or an older one; bring it up to date with: pncpki migrate")
    try:
        _check_stamp(runtime, home)
    except PkiError:
        runtime.close()
        raise
    return runtime


def _check_stamp(runtime: Runtime, home: Path) -> None:
    settings = runtime.settings
    with runtime.store.reading() as work:
        stamp = work.environment.read()
    if stamp is None or stamp[0] != settings.environment or stamp[1] != settings.environment_id:
        owner = "no environment" if stamp is None else f"another environment ({stamp[0]} {stamp[1][:8]})"
        mine = f"{settings.environment} {settings.environment_id[:8]}"
        raise SettingsError(f"the database belongs to {owner}, not to the one in {home} ({mine})")
    section = settings.key_store
    named = section.token_label if section.kind != "file" else stamp[2].label  # key files have a directory, no label
    if (named, section.token_serial) != (stamp[2].label, stamp[2].serial):
        raise SettingsError("the settings name another token than the one this environment was founded with")


def migrate_home(home: Path) -> None:
    """Bring the database of an environment to this version's schema.

    Raises:
        SettingsError: the database carries no stamp, or another environment's.
    """
    runtime = Runtime(home, load_settings(home))
    try:
        _check_stamp(runtime, home)
    except StoreUnavailableError as error:
        raise SettingsError(f"the database of the environment in {home} carries no stamp or does not answer") from error
    finally:
        runtime.close()
    migrate(runtime.settings.database_url)
