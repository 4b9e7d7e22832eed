"""Tokens by label and serial, and their creation without a PIN on any command line (PKCS#11 2.40, 5.5)."""

from pathlib import Path

import pkcs11
from pkcs11 import TokenFlag, _pkcs11

from pki_core.hsm.cryptoki import CKR_OK, CKR_PIN_CODES, Cryptoki, fault, handle_of
from pki_core.hsm.module import open_module
from pki_core.hsm.pin import PinSource
from pki_core.model.errors import ConflictError, HsmUnavailableError, SettingsError
from pki_core.model.signer import TokenIdentity

_KIND = "pkcs11"
_SOFTHSM = "SoftHSM project"
_LABEL_OCTETS = 32


def find_token(library: _pkcs11.lib, label: str, serial: str) -> pkcs11.Token:
    """Return the token of that label, and of that serial unless it is empty."""
    tokens = _present_tokens(library)
    named = [token for token in tokens if token.label == label]
    if not named:
        seen = ", ".join(sorted(repr(token.label) for token in tokens if token.label)) or "none"
        raise pkcs11.TokenNotPresent(f"no token is labelled {label!r}; present: {seen}")
    matching = [token for token in named if serial in ("", _serial(token))]
    if not matching:
        found = ", ".join(_serial(token) for token in named)
        raise SettingsError(f"token {label!r} has the serial {found}; this environment belongs to {serial}")
    if len(matching) > 1:
        raise SettingsError(f"{len(matching)} tokens are labelled {label!r}: state the serial of one")
    return matching[0]


def identity_of(token: pkcs11.Token) -> TokenIdentity:
    """Return which token this is."""
    return TokenIdentity(kind=_KIND, label=token.label, serial=_serial(token))


def reads_files(token: pkcs11.Token) -> bool:
    """Tell whether this token reads a key's file for each signature: SoftHSM does, a third of the time it takes."""
    return token.manufacturer_id == _SOFTHSM


def create_token(
    module_path: Path, label: str, so_pin: PinSource, user_pin: PinSource, *, lock_file: Path | None = None
) -> TokenIdentity:
    """Initialise a free token: label, security officer's PIN and user PIN; ConflictError when the label is taken."""
    padded_label = label.encode().ljust(_LABEL_OCTETS)
    if not label or len(padded_label) > _LABEL_OCTETS:
        raise SettingsError(f"a token label has 1 to {_LABEL_OCTETS} octets, not {len(label.encode())}")
    module = open_module(module_path)
    try:
        with module.alone(lock_file) as library:
            slot_id = _free_slot(library, label).slot_id
            code = module.cryptoki.init_token(slot_id, so_pin.read().encode(), padded_label)
            _refuse_so_pin("C_InitToken", code)
            token = next(token for token in _present_tokens(library) if token.slot.slot_id == slot_id)
            _set_user_pin(module.cryptoki, token, so_pin, user_pin)
            return identity_of(token)
    except pkcs11.PKCS11Error as error:
        raise HsmUnavailableError(f"the token cannot be created: {type(error).__name__} {error}") from None


def _present_tokens(library: _pkcs11.lib) -> list[pkcs11.Token]:
    tokens = []
    for slot in library.get_slots(token_present=True):
        try:
            tokens.append(slot.get_token())
        except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
            continue  # pulled out between the two calls, or somebody else's
    return tokens


def _free_slot(library: _pkcs11.lib, label: str) -> pkcs11.Slot:
    tokens = _present_tokens(library)
    if any(token.label == label for token in tokens):
        raise ConflictError(f"a token labelled {label!r} exists already")
    for token in tokens:
        if TokenFlag.TOKEN_INITIALIZED not in token.flags:
            return token.slot
    raise SettingsError("the module has no free token to initialise; create one with the vendor's tools")


def _set_user_pin(cryptoki: Cryptoki, token: pkcs11.Token, so_pin: PinSource, user_pin: PinSource) -> None:
    session = token.open(rw=True)
    try:
        code = cryptoki.login(handle_of(session), so_pin.read().encode(), security_officer=True)
        _refuse_so_pin("C_Login", code)
        session.init_pin(user_pin.read())
    except (pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinTooWeak) as error:
        raise SettingsError(f"the token was made but refuses this user PIN: {type(error).__name__}") from None
    finally:
        session.close()  # the last session: logs the security officer out


def _refuse_so_pin(call: str, code: int) -> None:
    if code in CKR_PIN_CODES:
        raise SettingsError(f"the token refuses the security officer's PIN: {CKR_PIN_CODES[code]}")
    if code != CKR_OK:
        raise fault(call, code)


def _serial(token: pkcs11.Token) -> str:
    return token.serial.decode("ascii", "replace").strip("\0 ")
