"""One process's way into one token: opened late, lent session by session, opened anew after a loss (PKCS#11 2.40, 5.6).

The order of the locks is always the same: a slot (as many as sessions), the module's gate, the lock file.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pkcs11
from pkcs11 import TokenFlag

from pki_core.hsm.cryptoki import (
    CKR_OK,
    CKR_PIN_CODES,
    CKR_USER_ALREADY_LOGGED_IN,
    Cryptoki,
    SigningHandle,
    fault,
    handle_of,
)
from pki_core.hsm.module import open_module
from pki_core.hsm.pin import PinSource
from pki_core.hsm.token_keys import TokenKey, copied, find_private_key
from pki_core.hsm.tokens import find_token, identity_of, reads_files
from pki_core.model.errors import HsmPinRejectedError, HsmUnavailableError, KeyRejectedError

_log = logging.getLogger(__name__)

_WORTH_A_COPY = 16  # signatures: to make a copy and destroy it takes as long as one or two of them

# What no restart of the module mends: the token cannot do this, or not with this key.
_PERMANENT = (
    pkcs11.ArgumentsBad,
    pkcs11.AttributeReadOnly,
    pkcs11.AttributeSensitive,
    pkcs11.AttributeTypeInvalid,
    pkcs11.AttributeValueInvalid,
    pkcs11.DataInvalid,
    pkcs11.DataLenRange,
    pkcs11.DomainParamsInvalid,
    pkcs11.FunctionNotSupported,
    pkcs11.KeySizeRange,
    pkcs11.KeyTypeInconsistent,
    pkcs11.MechanismInvalid,
    pkcs11.MechanismParamInvalid,
    pkcs11.TemplateIncomplete,
    pkcs11.TemplateInconsistent,
    pkcs11.TokenWriteProtected,
)


@dataclass(slots=True, kw_only=True)
class TokenRecord:
    """What a key store knows of its token. It outlives restarts and forks: a child must not repeat a wrong PIN."""

    module_path: Path
    label: str
    serial: str  # "" until it is known; from then on no other token will do
    pin: PinSource
    lock_file: Path
    sessions: int
    breaker_seconds: float = 1.0
    pin_rejected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A failed call as a value: the exception's traceback would keep C searches alive beyond their session."""

    text: str
    is_permanent: bool
    generation: int

    @classmethod
    def of(cls, error: pkcs11.PKCS11Error, generation: int) -> "Fault":
        """Describe an exception of python-pkcs11."""
        text = f"{type(error).__name__} {error}".strip()
        return cls(text=text, is_permanent=isinstance(error, _PERMANENT), generation=generation)


class TokenSession:
    """A session and the keys already found in it: no C_FindObjects per signature."""

    def __init__(self, session: pkcs11.Session, cryptoki: Cryptoki, *, reads_files: bool = False) -> None:
        self.session = session
        self._cryptoki = cryptoki
        self._reads_files = reads_files
        self._keys: dict[tuple[str, bytes], tuple[pkcs11.Object, SigningHandle]] = {}

    def sign_all(self, key: TokenKey, payloads: Sequence[bytes], signatures: list[bytes]) -> None:
        """Append one raw signature per payload."""
        known = self._keys.get(key.locator)
        if known is None:
            found = find_private_key(self.session, key)
            known = self._keys[key.locator] = (found, self._signing(found, key))
        found, handle = known
        if not self._reads_files or len(payloads) < _WORTH_A_COPY:
            handle.sign_all(payloads, signatures)
            return
        with copied(found) as copy:
            (handle if copy is None else self._signing(copy, key)).sign_all(payloads, signatures)

    def _signing(self, found: pkcs11.Object, key: TokenKey) -> SigningHandle:
        return self._cryptoki.signing(handle_of(self.session), handle_of(found), key.algorithm)


class _Slot:
    """Room for one session, which is good for one generation of the module."""

    __slots__ = ("generation", "session")

    def __init__(self) -> None:
        self.generation = -1
        self.session: TokenSession | None = None


class TokenAccess:
    """The token as one process sees it."""

    def __init__(self, record: TokenRecord) -> None:
        self._record = record
        self._module = open_module(record.module_path)
        self._slots = tuple(_Slot() for _ in range(record.sessions))
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)
        self._token: pkcs11.Token | None = None
        self._generation = -1  # of the token above
        self._fail_until = 0.0

    def run(self, work: Callable[[TokenSession], None]) -> Fault | None:
        """Do the work with a session of its own; return the fault, if the token had one."""
        slot = self._free.get()
        try:
            try:
                token = self._enter(slot)
            except pkcs11.PKCS11Error as error:
                return Fault.of(error, self._module.generation)
            try:
                session = slot.session
                if session is None or slot.generation != self._generation:
                    # Without a PIN: the process is logged in.
                    session = self._keep(slot, token.open())
                work(session)
            except pkcs11.PKCS11Error as error:
                return Fault.of(error, self._generation)
            except KeyRejectedError:
                if slot.session is not None and self._module.cryptoki.is_logged_in(handle_of(slot.session.session)):
                    raise
                return Fault.of(pkcs11.UserNotLoggedIn(), self._generation)  # the key is there, we cannot see it
            finally:
                self._module.gate.leave()
        finally:
            self._free.put(slot)
        return None

    def with_recovery(self, attempt: Callable[[], Fault | None]) -> None:
        """Attempt it; after a fault start the module anew and attempt it (what is left of it) once more."""
        self._refuse_early()
        fault = attempt()
        if fault is None:
            return
        if not fault.is_permanent:
            _log.warning("token %r: %s; starting its module anew", self._record.label, fault.text)
            try:
                self._module.stop(fault.generation)
                fault = attempt()
            except HsmUnavailableError:
                self._trip()
                raise
        self.refuse(fault)

    def refuse(self, fault: Fault | None) -> None:
        """Raise what a fault means, if there is one."""
        if fault is None:
            return
        if fault.is_permanent:
            raise KeyRejectedError(f"the token refuses: {fault.text}")
        self._trip()
        raise HsmUnavailableError(f"the token is away: {fault.text}")

    def close(self) -> None:
        """Give the sessions back. The last one logs out; the module stays started, others may use it."""
        with self._module.gate.alone():
            self._token = None
            for slot in self._slots:
                if slot.session is not None and slot.generation == self._module.generation:
                    _close_quietly(slot.session.session)
                slot.session = None

    def _enter(self, slot: _Slot) -> pkcs11.Token:
        gate = self._module.gate
        while True:
            gate.enter()
            if self._token is not None and self._generation == self._module.generation:
                return self._token
            gate.leave()
            self._open(slot)

    def _open(self, slot: _Slot) -> None:
        module, record = self._module, self._record
        with module.alone(record.lock_file) as library:
            if self._token is not None and self._generation == module.generation:
                return  # another thread was faster
            self._refuse_early()  # another thread failed meanwhile: do not try its PIN again
            token = find_token(library, record.label, record.serial)
            self._refuse_last_pin(token)
            session = token.open()
            with ExitStack() as undo:
                undo.callback(_close_quietly, session)
                self._log_in(session)
                undo.pop_all()
            record.serial = identity_of(token).serial
            self._token, self._generation = token, module.generation
            self._keep(slot, session)

    def _keep(self, slot: _Slot, session: pkcs11.Session) -> TokenSession:
        slot.generation = self._generation
        slot.session = TokenSession(session, self._module.cryptoki, reads_files=reads_files(session.token))
        return slot.session

    def _log_in(self, session: pkcs11.Session) -> None:
        record = self._record
        code = self._module.cryptoki.login(handle_of(session), record.pin.read().encode())
        if code in CKR_PIN_CODES:
            record.pin_rejected = CKR_PIN_CODES[code]
            _log.error("token %r refused the PIN: %s", record.label, record.pin_rejected)
            self._refuse_early()
        if code not in (CKR_OK, CKR_USER_ALREADY_LOGGED_IN):
            raise fault("C_Login", code)

    def _refuse_last_pin(self, token: pkcs11.Token) -> None:
        """Leave the last attempt to a person: every worker process tries once, and together they would lock it."""
        for flag in (TokenFlag.USER_PIN_LOCKED, TokenFlag.USER_PIN_FINAL_TRY):
            if flag in token.flags:
                self._record.pin_rejected = f"CKF_{flag.name}"
                self._refuse_early()

    def _refuse_early(self) -> None:
        record = self._record
        if record.pin_rejected:
            raise HsmPinRejectedError(
                f"token {record.label!r} refused the PIN ({record.pin_rejected}); it is not tried again: mend the PIN, "
                "log in once with another tool, restart"
            )
        if time.monotonic() < self._fail_until:
            raise HsmUnavailableError(f"token {record.label!r} was away a moment ago; not tried again yet")

    def _trip(self) -> None:
        self._fail_until = time.monotonic() + self._record.breaker_seconds


def _close_quietly(session: pkcs11.Session) -> None:
    with suppress(pkcs11.PKCS11Error):  # a session that is gone already
        session.close()
