"""Is this process able to do its work: the store answers, a key signs, responders and CRLs are in time.

Store and keys decide whether a process is ready. A responder or CRL that is late is the same in every process: taking
all of them out of service would make it worse, so it is told, and alarms are made of it.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pki_core.model.clock import Clock
from pki_core.model.crls import FULL, CrlAge, CrlKind
from pki_core.model.errors import PkiError, SignatureInvalidError
from pki_core.model.signer import KeyStore
from pki_core.model.states import CertificateState
from pki_core.services.hierarchy import TLS_ROOT
from pki_core.services.ocsp_directory import OcspDirectory
from pki_core.store.unit_of_work import Store
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.public_key import load_public_key

_CONTEXT = b"pncpki readiness probe "  # no TBSCertificate, CRL or OCSP answer begins so: DER begins with 0x30

Ends = Callable[[], Mapping[str, float]]  # by name, seconds since 1970 when it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``code`` is "ok" or stable words for what is wrong."""

    name: str
    code: str
    is_vital: bool


class Readiness:
    """Looks at what a process depends on."""

    def __init__(
        self, store: Store, key_store: Callable[[], KeyStore], clock: Clock, ends: Mapping[str, Ends] | None = None
    ) -> None:
        self._store = store
        self._key_store = key_store
        self._clock = clock
        self._ends = ends or {}

    def look(self) -> list[Finding]:
        """Return what was found, vital things first. Never raises one of our errors."""
        findings = [
            Finding(name="store", code=_code_of(self._read), is_vital=True),
            Finding(name="keys", code=_code_of(self._sign), is_vital=True),
        ]
        if findings[0].code == "ok":
            findings += [Finding(name=name, code=self._late(ends), is_vital=False) for name, ends in self._ends.items()]
        return findings

    def seconds_left(self) -> dict[str, dict[str, float]]:
        """Return by kind and name how long CRLs and responders are still good; negative when they are late."""
        now = self._clock.now().timestamp()
        left: dict[str, dict[str, float]] = {}
        for kind, ends in self._ends.items():
            try:
                left[kind] = {name: end - now for name, end in ends().items()}
            except PkiError:
                continue  # what cannot be read has no figure; the finding says why
        return left

    def _read(self) -> None:
        with self._store.reading() as work:
            work.environment.read()

    def _sign(self) -> None:
        """Sign a random value with the TLS root's key: a busy token answers, a lost one raises."""
        with self._store.reading() as work:
            record = work.issuers.get(TLS_ROOT)
        challenge = _CONTEXT + secrets.token_bytes(32)
        signature = self._key_store().bind(record.key_label).sign([challenge])[0]
        algorithm, key = load_public_key(record.spki_der)
        if not signature_is_valid(key, algorithm, challenge, signature):
            raise SignatureInvalidError("the readiness probe's signature does not verify")

    def _late(self, ends: Ends) -> str:
        try:
            late = sorted(name for name, end in ends().items() if end <= self._clock.now().timestamp())
        except PkiError as error:
            return error.code
        return f"late: {', '.join(late)}" if late else "ok"


def responder_ends(store: Store) -> dict[str, float]:
    """Return when the last good OCSP responder of each CA ends; CAs that never had one are not named."""
    return {
        ca.record.label: max((one.not_after for one in ca.responders if one.state is CertificateState.GOOD), default=0)
        for ca in OcspDirectory(store).current().cas
        if ca.responders and ca.is_trusted
    }


def crl_ends(ages: Sequence[CrlAge]) -> dict[str, float]:
    """Return when each published CRL ends, by the name it is served under."""
    return {
        "-".join(
            [
                age.issuer_label,
                *([age.scope] if age.scope != FULL else []),
                *(["delta"] if age.kind is CrlKind.DELTA else []),
            ]
        ): age.next_update.timestamp()
        for age in ages
    }


def _code_of(act: Callable[[], None]) -> str:
    try:
        act()
    except PkiError as error:
        return error.code
    return "ok"
