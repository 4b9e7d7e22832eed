"""Is this process able to do its work: the store answers, a key signs, responders and CRLs are in time.

Store and keys decide whether a process is ready. A responder or CRL that is late is the same in every process: taking
all of them out of service would make it worse, so it is told, and alarms are made of it. A store or token that hangs is
away: whoever asks is told so after two seconds.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

from pki_core.model.clock import Clock
from pki_core.model.crls import FULL, CrlAge, CrlKind
from pki_core.model.errors import (
    HsmUnavailableError,
    InvariantError,
    PkiError,
    SignatureInvalidError,
    StoreUnavailableError,
    UnavailableError,
)
from pki_core.model.signer import KeyStore
from pki_core.model.states import CertificateState
from pki_core.services.hierarchy import TLS_ROOT
from pki_core.services.ocsp_directory import OcspDirectory
from pki_core.store.unit_of_work import Store
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.public_key import load_public_key

_CONTEXT = b"pncpki readiness probe "  # no TBSCertificate, CRL or OCSP answer begins so: DER begins with 0x30

PATIENCE_SECONDS = 2.0  # for one thing that is looked at

Result = TypeVar("Result")
Ends = Callable[[], Mapping[str, float]]  # by name, seconds since 1970 when it ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``code`` is "ok" or stable words for what is wrong."""

    name: str
    code: str
    is_vital: bool


class _InTime(Generic[Result]):
    """A call that is waited for so long and no longer, and never made again while it is under way."""

    def __init__(self, act: Callable[[], Result], late: type[UnavailableError]) -> None:
        self._act = act
        self._late = late
        self._lock = Lock()
        self._began = 0.0
        self._running: Future[Result] | None = None

    def __call__(self) -> Result:
        """Return what the call returns or raise what it raises; ``late`` when it has not come to an end in time."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running, self._began = Future(), monotonic()
                Thread(target=self._run, args=(self._running,), daemon=True, name="readiness").start()
            running, end = self._running, self._began + PATIENCE_SECONDS
        try:
            return running.result(max(end - monotonic(), 0))
        except FutureTimeoutError as error:
            raise self._late(f"no answer for {PATIENCE_SECONDS:g} seconds") from error

    def _run(self, running: Future[Result]) -> None:
        try:
            running.set_result(self._act())
        except PkiError as error:
            running.set_exception(error)
        finally:
            if not running.done():
                running.set_exception(InvariantError("a look failed for a reason that nobody foresaw"))


class Readiness:
    """Looks at what a process depends on."""

    def __init__(
        self, store: Store, key_store: Callable[[], KeyStore], clock: Clock, ends: Mapping[str, Ends] | None = None
    ) -> None:
        self._store = store
        self._key_store = key_store
        self._clock = clock
        self._read_in_time = _InTime(self._read, StoreUnavailableError)
        self._sign_in_time = _InTime(self._sign, HsmUnavailableError)
        self._ends: Mapping[str, Ends] = {
            name: _InTime(act, StoreUnavailableError) for name, act in (ends or {}).items()
        }

    def look(self) -> list[Finding]:
        """Return what was found, vital things first. Never raises one of our errors."""
        store = _code_of(self._read_in_time)
        keys = _code_of(self._sign_in_time) if store == "ok" else store  # which key to sign with is read there
        findings = [Finding(name="store", code=store, is_vital=True), Finding(name="keys", code=keys, is_vital=True)]
        if store == "ok":
            findings += [Finding(name=name, code=self._late(ends), is_vital=False) for name, ends in self._ends.items()]
        return findings

    def seconds_left(self) -> dict[str, dict[str, float]]:
        """Return by kind and name how long CRLs and responders are still good; negative when they are late."""
        now = self._clock.now().timestamp()
        left: dict[str, dict[str, float]] = {}
        for kind, ends in self._ends.items():
            try:
                left[kind] = {name: end - now for name, end in ends().items()}
            except StoreUnavailableError:
                break  # nor can the others be read, and each would take its time
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
