"""A PKCS#11 module in this process: started once for threads, found again after fork, restarted after a loss (5.4)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pkcs11
from pkcs11 import _pkcs11

from pki_core.hsm.cryptoki import CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_OK, Cryptoki, fault
from pki_core.hsm.gate import Gate, locked
from pki_core.model.errors import HsmUnavailableError, SettingsError

_PATIENCE_SECONDS = 30.0

# Cryptoki knows one initialisation a process and module, whoever asked for it, so the record of it is as global. The
# process id is part of the key: after fork the child must not use what it inherited (5.4), and it gets a record, with
# locks that no vanished thread holds, of its own.
_modules: dict[tuple[int, Path], "Module"] = {}
_held_for_fork: list[Gate] = []


def open_module(module_path: Path) -> "Module":
    """Return this process's record of a module; nothing is loaded before its first use."""
    key = os.getpid(), module_path.resolve()
    return _modules.get(key) or _modules.setdefault(key, Module(key[1]))


def _hold_still() -> None:
    """Fork only while no thread is inside: the child would inherit the module's locks as that thread left them."""
    for (process_id, _), module in list(_modules.items()):
        if process_id == os.getpid():
            with suppress(HsmUnavailableError):  # a call that never returns must not stop the parent from forking
                module.gate.close()
                _held_for_fork.append(module.gate)


def _go_on() -> None:
    while _held_for_fork:
        _held_for_fork.pop().open()


os.register_at_fork(before=_hold_still, after_in_parent=_go_on, after_in_child=_held_for_fork.clear)


class Module:
    """One module, and how often it was restarted: sessions and handles belong to one ``generation``."""

    def __init__(self, path: Path) -> None:
        self.gate = Gate(_PATIENCE_SECONDS)
        self.generation = 0
        self._path = path
        self._is_started = False
        self._loaded: tuple[Cryptoki, _pkcs11.lib] | None = None

    @property
    def cryptoki(self) -> Cryptoki:
        """The calls made by hand."""
        return self._load()[0]

    @contextmanager
    def alone(self, lock_file: Path | None) -> Iterator[_pkcs11.lib]:
        """Start the module if need be and be its only caller: in this process, and among those that share the lock."""
        with self.gate.alone(), locked(lock_file, _PATIENCE_SECONDS):
            cryptoki, library = self._load()
            if not self._is_started:
                self._start(cryptoki)
            yield library

    def stop(self, generation: int) -> None:
        """Drop every session of that generation; no more than once, however many threads lost one."""
        with self.gate.alone():
            if self._is_started and generation == self.generation:
                self.cryptoki.finalize()  # its code does not matter: a device that is gone says so here as well
                self._is_started = False
                self.generation += 1

    def _load(self) -> tuple[Cryptoki, _pkcs11.lib]:
        if self._loaded is None:
            cryptoki = Cryptoki(self._path)
            try:
                # Without __init__, which would call C_Initialize(NULL): "no threads".
                library = _pkcs11.lib.__new__(_pkcs11.lib, str(self._path))  # type: ignore[call-arg]  # Cython's __cinit__
            except pkcs11.PKCS11Error as error:
                raise SettingsError(f"{self._path} is not a PKCS#11 module: {error}") from error
            self._loaded = cryptoki, library
        return self._loaded

    def _start(self, cryptoki: Cryptoki) -> None:
        code = cryptoki.initialize()
        if code == CKR_CRYPTOKI_ALREADY_INITIALIZED:
            # Inherited by fork, or started by somebody who may have said "no threads": neither can be built on.
            cryptoki.finalize()
            code = cryptoki.initialize()
        if code != CKR_OK:
            raise fault("C_Initialize", code)
        self._is_started = True
