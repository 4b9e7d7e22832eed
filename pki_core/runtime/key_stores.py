"""Opens the key store of an environment: a token behind its PKCS#11 module, or in dev the key files."""

import os
from pathlib import Path

from pki_core.hsm.pin import PinSource
from pki_core.model.errors import SettingsError
from pki_core.model.signer import KeyStore
from pki_core.settings import KeyStoreSettings


def open_key_store(home: Path, section: KeyStoreSettings) -> KeyStore:
    """Return the key store a section describes; it opens at its first use."""
    if section.pin_variable and os.environ.get(section.pin_variable):
        pin = PinSource.from_environment(section.pin_variable)
    else:
        pin = PinSource.from_file(home / section.pin_file)
    if section.kind == "file":
        from pki_core.hsm.soft_key import FileKeyStore  # noqa: PLC0415  # dev only

        return FileKeyStore(home / "keys", pin, is_founded=bool(section.token_serial))
    from pki_core.hsm.pkcs11 import Pkcs11KeyStore  # noqa: PLC0415  # 65 ms to import

    return Pkcs11KeyStore(
        module_path_of(home, section),
        section.token_label,
        pin,
        section.sessions,
        home / "token.lock",
        section.token_serial,
    )


def module_path_of(home: Path, section: KeyStoreSettings) -> Path:
    """Return the PKCS#11 module of a section; SoftHSM is pointed at this environment's own token directory."""
    from pki_core.hsm.softhsm import find_softhsm_module, mend_tokens, use_softhsm  # noqa: PLC0415

    if section.kind == "softhsm":
        use_softhsm(home / "token")
        mend_tokens(home / "token", home / "token.lock")
    path = Path(section.module) if section.module else find_softhsm_module()
    if path is None or not path.exists():
        raise SettingsError("there is no PKCS#11 module: install softhsm2, or name one in key_store.module")
    return path


def softhsm_is_installed() -> bool:
    """Tell whether the system has SoftHSM."""
    from pki_core.hsm.softhsm import find_softhsm_module  # noqa: PLC0415

    return find_softhsm_module() is not None
