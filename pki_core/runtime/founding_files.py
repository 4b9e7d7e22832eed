"""What founding writes into a home directory: its token with the PINs, its own settings; files whole or not at all."""

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from pki_core.hsm.pin import PinSource
from pki_core.hsm.softhsm import mend_tokens, prepare_softhsm
from pki_core.hsm.tokens import create_token
from pki_core.runtime.key_stores import module_path_of, open_key_store
from pki_core.settings import Settings

UNFINISHED = ".new"  # behind the name of a file that is being written


def make_token(home: Path, settings: Settings) -> str:
    """Make token and PINs; returns the token's serial. PINs go to files, never to arguments or output."""
    section = settings.key_store
    for directory in ("token", "keys"):  # of an interrupted attempt: before the settings are written, no key is made
        shutil.rmtree(home / directory, ignore_errors=True)
    secrets_directory = home / "secrets"
    secrets_directory.mkdir(mode=0o700, exist_ok=True)
    pin_file = home / section.pin_file
    if not pin_file.exists():
        write_private(pin_file, secrets.token_urlsafe(24), mode=0o400)
    if section.kind == "softhsm":
        prepare_softhsm(home / "token")
        so_pin_file = secrets_directory / "so-pin"
        if not so_pin_file.exists():
            write_private(so_pin_file, secrets.token_urlsafe(24), mode=0o400)
        identity = create_token(
            module_path_of(home, section),
            section.token_label,
            PinSource.from_file(so_pin_file),
            PinSource.from_file(pin_file),
            lock_file=home / "token.lock",
        )
        mend_tokens(home / "token", home / "token.lock")
        return identity.serial
    store = open_key_store(home, section)
    return store.identity.serial


def write_private(path: Path, text: str, *, mode: int) -> None:
    """Write a secret's file whole or not at all: whoever goes on after a kill takes what is there."""
    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("x", encoding="utf-8") as file:
        unfinished.chmod(mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def settings_text(own: dict[str, Any]) -> str:
    """Write the home directory's own settings: plain values first, then one table a section."""
    lines = ["# This environment's own settings, laid over the shipped ones. Secrets do not belong here."]
    lines += [f"{key} = {_value(value)}" for key, value in own.items() if not isinstance(value, dict)]
    for section, values in own.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    return "\n".join([*lines, ""])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, int):
        return str(value)
    # A JSON string is a TOML basic string, but for DEL, which JSON leaves as it is.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
