"""The certificate of our own web server (RFC 7030 3.3.1) and the anchors its clients are judged by.

Two files in the home directory, each replaced as a whole: ``server.pem`` holds key and certificate, 0600; ``trust.pem``
every CA whose certificates a client may show. Whoever serves watches both and takes up what changes.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.hsm.tls_key import certificate_with_key, new_tls_key
from pki_core.model.certificates import serial_text
from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, InvariantError, NotFoundError, SettingsError
from pki_core.model.limits import COMMON_NAME_LIMIT
from pki_core.model.profiles import Profile
from pki_core.model.requests import Issued, IssueRequest, OwnKeyProof, RequestedSubject
from pki_core.model.states import CertificateState
from pki_core.services.enroll import Enrollment
from pki_core.services.hierarchy import TLS_ROOT
from pki_core.services.issuers import Issuers
from pki_core.services.orders import Order
from pki_core.services.runners import runner_token
from pki_core.store.unit_of_work import Store
from pki_core.wire.pem import certificate_pem

_PROFILE = "tls_server"
_RENEW_BELOW = 3  # renewed when a third of the life is left


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsPlace:
    """Where the files are, and what the certificate says."""

    directory: Path
    names: tuple[str, ...]  # DNS names and IP addresses, the main one first
    organization: str
    country: str
    anchor_files: tuple[Path, ...] = ()  # PEM files of other CAs whose certificates clients may show

    @property
    def server_file(self) -> Path:
        """Key and certificate."""
        return self.directory / "server.pem"

    @property
    def trust_file(self) -> Path:
        """All CAs whose certificates clients may show."""
        return self.directory / "trust.pem"

    @property
    def root_file(self) -> Path:
        """The TLS root alone: what clients need to know us by."""
        return self.directory / "root.pem"


class ServerCertificate:
    """Keeps the web server's certificate fresh."""

    def __init__(
        self,
        place: TlsPlace,
        profiles: Mapping[str, Profile],
        store: Store,
        issuers: Issuers,
        enrollment: Enrollment,
        clock: Clock,
    ) -> None:
        self.place = place
        self._profile = profiles[_PROFILE]
        self._store = store
        self._issuers = issuers
        self._enrollment = enrollment
        self._clock = clock

    def ensure(self, *, renew: bool = False) -> bool:
        """Bring both files up to date; tell whether a new certificate was issued.

        Raises:
            SettingsError: there is no TLS root, or a file of other CAs cannot be read.
            CsrRejectedError: a name is neither a DNS name nor an IP address.
            UnavailableError: store or token is away.
        """
        self.place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_anchors()
        if not renew and self._is_good():
            return False
        key_pem, spki_der = new_tls_key()
        issued = self._issue(spki_der)
        _replace(self.place.server_file, key_pem + certificate_pem(issued.certificate_der), mode=0o600)
        return True

    def _is_good(self) -> bool:
        try:
            certificate_der = certificate_with_key(self.place.server_file.read_bytes())
        except FileNotFoundError:
            return False
        if certificate_der is None:
            return False
        certificate = x509.load_der_x509_certificate(certificate_der)
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if last - self._clock.now() < (last - first) / _RENEW_BELOW:
            return False
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if tuple(str(name.value) for name in named) != self.place.names:
            return False
        with self._store.reading() as work:
            found = work.certificates.find(serial_text(certificate.serial_number))
        return any(one.certificate_der == certificate_der and one.state is CertificateState.GOOD for one in found)

    def _issue(self, spki_der: bytes) -> Issued:
        try:
            issuer = self._issuers.get(TLS_ROOT)
        except (NotFoundError, ConflictError) as error:
            message = f"{error}; make it by a ceremony with profile tls_root and label {TLS_ROOT}"
            raise SettingsError(message) from error
        with self._store.transaction() as work:
            now, runner = self._clock.now(), runner_token()
            order = Order.pinned(work, self._profile, now, runner=runner, actor="web server")
        request = IssueRequest(
            reference=_PROFILE,
            subject=RequestedSubject(
                common_name=self.place.names[0][:COMMON_NAME_LIMIT],
                organization=self.place.organization,
                country=self.place.country,
            ),
            spki_der=spki_der,
            proof=OwnKeyProof(),
            alternative_names=self.place.names,
        )
        outcome = self._enrollment.issue(issuer, order, [request])[0]
        if not isinstance(outcome, Issued):
            raise SettingsError(f"serving.names: {outcome.message}")
        return outcome

    def _write_anchors(self) -> None:
        with self._store.reading() as work:
            issuers = [record for record in work.issuers.all() if record.certificate_der]
        own = [certificate_pem(record.certificate_der) for record in issuers]
        root = [certificate_pem(record.certificate_der) for record in issuers if record.label == TLS_ROOT]
        _replace_changed(self.place.root_file, "".join(root))
        _replace_changed(self.place.trust_file, "".join([*own, *_read_anchors(self.place.anchor_files)]))


def _read_anchors(files: Sequence[Path]) -> list[str]:
    texts = []
    for path in files:
        try:
            certificates = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path} cannot be read as CA certificates in PEM") from error
        texts += [certificate_pem(one.public_bytes(Encoding.DER)) for one in certificates]
    return texts


def _replace_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="ascii") != text:
        _replace(path, text, mode=0o644)


def _replace(path: Path, text: str, *, mode: int) -> None:
    """Put a file in its place as a whole: a reader sees the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InvariantError(f"{path} cannot be written: {error.strerror}") from error
