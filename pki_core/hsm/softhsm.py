"""SoftHSM, the token in a directory: found on this machine, and pointed at one environment's directory."""

import os
from itertools import chain
from pathlib import Path

from pki_core.hsm.gate import locked
from pki_core.model.errors import HsmUnavailableError, SettingsError

_VARIABLE = "SOFTHSM2_CONF"
_CONFIGURATION_FILE = "softhsm2.conf"
_OBJECT_FILES = "tokens/*/token.object"
_COPIES = "copies"
_PATIENCE_SECONDS = 30.0
_USUAL_PLACES = (
    "usr/lib/softhsm/libsofthsm2.so",  # Debian, Alpine
    "usr/lib/*-linux-*/softhsm/libsofthsm2.so",  # Ubuntu
    "usr/lib64/pkcs11/libsofthsm2.so",  # Fedora
    "usr/lib64/softhsm/libsofthsm2.so",
    "usr/lib64/libsofthsm2.so",
    "usr/lib/pkcs11/libsofthsm2.so",  # Arch
    "opt/homebrew/lib/softhsm/libsofthsm2.so",  # brew
    "usr/local/lib/softhsm/libsofthsm2.so",  # brew, and self-built
    "home/linuxbrew/.linuxbrew/lib/softhsm/libsofthsm2.so",
)


def find_softhsm_module(root: Path = Path("/")) -> Path | None:
    """Return SoftHSM's PKCS#11 module, or None when the machine has none."""
    return next(chain.from_iterable(sorted(root.glob(place)) for place in _USUAL_PLACES), None)


def prepare_softhsm(directory: Path) -> None:
    """Make the directory of SoftHSM's tokens, and keep this process's tokens there. For founding alone.

    Raises:
        SettingsError: another configuration is in force, or the directory cannot be made.
    """
    _refuse_other_configuration(directory.resolve() / _CONFIGURATION_FILE)
    tokens = directory.resolve() / "tokens"
    try:
        tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
        tokens.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"SoftHSM directory {directory}: {error.strerror}") from error
    use_softhsm(directory)


def use_softhsm(directory: Path) -> None:
    """Keep this process's SoftHSM tokens in a directory that is there; call it before a key store is used.

    A directory that is gone is not made anew: one that was moved away could not be moved back into its place.

    Raises:
        SettingsError: another configuration is in force: SoftHSM reads one a process.
        HsmUnavailableError: the directory is gone.
    """
    directory = directory.resolve()
    configuration = directory / _CONFIGURATION_FILE
    _refuse_other_configuration(configuration)
    tokens = directory / "tokens"
    if not tokens.is_dir():
        raise HsmUnavailableError(f"the token directory {tokens} is gone: put it back")
    try:
        _write(configuration, f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    except OSError as error:
        raise SettingsError(f"SoftHSM directory {directory}: {error.strerror}") from error
    os.environ[_VARIABLE] = str(configuration)


def mend_tokens(directory: Path, lock_file: Path) -> None:
    """Put a token's own file back where a kill during a login left it empty, and keep a copy of it where it is whole.

    SoftHSM 2.6.1 empties that file, which holds what the token's keys are encrypted with, at every login and writes it
    anew: a process killed in between would take every key with it. Logins take the same lock.
    """
    copies = directory / _COPIES
    with locked(lock_file, _PATIENCE_SECONDS):
        copies.mkdir(mode=0o700, exist_ok=True)
        for file in directory.glob(_OBJECT_FILES):
            copy = copies / f"{file.parent.name}.object"
            content, kept = file.read_bytes(), copy.read_bytes() if copy.is_file() else b""
            if content and content != kept:
                _replace(copy, content)
            elif not content and kept:
                _replace(file, kept)


def _refuse_other_configuration(configuration: Path) -> None:
    in_force = os.environ.get(_VARIABLE, "")
    if in_force and Path(in_force).resolve() != configuration:
        raise SettingsError(f"{_VARIABLE} names {in_force}; this environment needs {configuration}: unset it")


def _replace(path: Path, content: bytes) -> None:
    """Write it whole or not at all, and to the disk."""
    unfinished = path.with_name(f"{path.name}.new")
    with unfinished.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _write(path: Path, text: str) -> None:
    """Write it whole or not at all: other processes of the environment may be reading it."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
