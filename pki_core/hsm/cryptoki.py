"""The few PKCS#11 (2.40) calls made by hand: start for threads, create a token, log in, sign.

python-pkcs11 does everything else. It starts every module as single-threaded and then releases the GIL, so that two
threads crash SoftHSM; it has no C_InitToken; it logs the whole process out when the session that logged in closes;
and it asks the token for the length of each signature first, which on a network HSM is a second round trip.
"""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pkcs11

from pki_core.model.errors import SettingsError
from pki_core.model.signer import KeyAlgorithm

CKR_OK = 0x00
CKR_PIN_CODES = {
    0xA0: "CKR_PIN_INCORRECT",
    0xA1: "CKR_PIN_INVALID",
    0xA2: "CKR_PIN_LEN_RANGE",
    0xA3: "CKR_PIN_EXPIRED",
    0xA4: "CKR_PIN_LOCKED",
    0x102: "CKR_USER_PIN_NOT_INITIALIZED",
}
CKR_USER_ALREADY_LOGGED_IN = 0x100
CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191

_CKF_OS_LOCKING_OK = 0x02
_CKU_SECURITY_OFFICER = 0
_CKU_USER = 1
_CKS_USER_FUNCTIONS = (1, 3)  # read-only and read-write, logged in
_CKM_ECDSA = 0x1041
_CKM_EDDSA = 0x1057

# Signatures have one length each: r and s side by side (2.3.1), or RFC 8032 5.2.6.
_SIGNATURE_OCTETS = {KeyAlgorithm.SECP256R1: 64, KeyAlgorithm.SECP521R1: 132, KeyAlgorithm.ED448: 114}

_FAULTS: dict[int, type[pkcs11.PKCS11Error]] = {
    0x02: pkcs11.HostMemory,
    0x03: pkcs11.SlotIDInvalid,
    0x05: pkcs11.GeneralError,
    0x06: pkcs11.FunctionFailed,
    0x07: pkcs11.ArgumentsBad,
    0x20: pkcs11.DataInvalid,
    0x21: pkcs11.DataLenRange,
    0x30: pkcs11.DeviceError,
    0x31: pkcs11.DeviceMemory,
    0x32: pkcs11.DeviceRemoved,
    0x54: pkcs11.FunctionNotSupported,
    0x60: pkcs11.KeyHandleInvalid,
    0x62: pkcs11.KeySizeRange,
    0x63: pkcs11.KeyTypeInconsistent,
    0x70: pkcs11.MechanismInvalid,
    0x71: pkcs11.MechanismParamInvalid,
    0x82: pkcs11.ObjectHandleInvalid,
    0x90: pkcs11.OperationActive,
    0xB0: pkcs11.SessionClosed,
    0xB3: pkcs11.SessionHandleInvalid,
    0xE0: pkcs11.TokenNotPresent,
    0xE1: pkcs11.TokenNotRecognised,
    0x101: pkcs11.UserNotLoggedIn,
}

_ulong = ctypes.c_ulong
_pointer = ctypes.c_void_p


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS, 3.7."""

    _fields_ = (
        ("create_mutex", _pointer),
        ("destroy_mutex", _pointer),
        ("lock_mutex", _pointer),
        ("unlock_mutex", _pointer),
        ("flags", _ulong),
        ("reserved", _pointer),
    )


class _SessionInfo(ctypes.Structure):
    """CK_SESSION_INFO, 3.3."""

    _fields_ = (("slot", _ulong), ("state", _ulong), ("flags", _ulong), ("device_error", _ulong))


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM, 3.5."""

    _fields_ = (("mechanism", _ulong), ("parameter", _pointer), ("parameter_length", _ulong))


class _EddsaParameters(ctypes.Structure):
    """CK_EDDSA_PARAMS (3.0, 2.3.5): zeros mean pure Ed448 with an empty context, as RFC 8410 wants."""

    _fields_ = (("prehash", ctypes.c_ubyte), ("context_length", _ulong), ("context", _pointer))


class _FunctionList(ctypes.Structure):
    """CK_FUNCTION_LIST as far as C_Sign, by position; some modules export nothing but C_GetFunctionList."""

    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", _pointer * 44))


def fault(call: str, code: int) -> pkcs11.PKCS11Error:
    """Return the exception python-pkcs11 has for a return code."""
    return _FAULTS.get(code, pkcs11.PKCS11Error)(f"{call} returned {code:#x}")


def handle_of(thing: pkcs11.Session | pkcs11.Object) -> int:
    """Return the C handle of a session or an object."""
    untyped: Any = thing  # the stubs leave the handle out
    return int(untyped.handle)


class Cryptoki:
    """The hand-made calls of one module. Each returns a CK_RV, so that no traceback ever holds a PIN."""

    def __init__(self, module_path: Path) -> None:
        try:
            # Kept, because the function pointers below do not keep the library loaded.
            self._library = ctypes.CDLL(str(module_path))
            get_function_list = self._library.C_GetFunctionList
        except (OSError, AttributeError) as error:
            raise SettingsError(f"{module_path} is not a PKCS#11 module: {error}") from error
        get_function_list.restype = _ulong
        get_function_list.argtypes = (_pointer,)
        found = ctypes.POINTER(_FunctionList)()
        if get_function_list(ctypes.byref(found)) != CKR_OK:
            raise SettingsError(f"{module_path} has no PKCS#11 function list")
        functions = found.contents.functions
        self._initialize = ctypes.CFUNCTYPE(_ulong, _pointer)(functions[0])
        self._finalize = ctypes.CFUNCTYPE(_ulong, _pointer)(functions[1])
        self._init_token = ctypes.CFUNCTYPE(_ulong, _ulong, ctypes.c_char_p, _ulong, ctypes.c_char_p)(functions[9])
        self._get_session_info = ctypes.CFUNCTYPE(_ulong, _ulong, _pointer)(functions[15])
        self._login = ctypes.CFUNCTYPE(_ulong, _ulong, _ulong, ctypes.c_char_p, _ulong)(functions[18])
        self._sign_init = ctypes.CFUNCTYPE(_ulong, _ulong, _pointer, _ulong)(functions[42])
        self._sign = ctypes.CFUNCTYPE(_ulong, _ulong, ctypes.c_char_p, _ulong, _pointer, _pointer)(functions[43])

    def initialize(self) -> int:
        """C_Initialize with CKF_OS_LOCKING_OK: the module locks for itself, threads may call it at once."""
        arguments = _InitializeArguments(flags=_CKF_OS_LOCKING_OK)
        return int(self._initialize(ctypes.byref(arguments)))

    def finalize(self) -> int:
        """C_Finalize: every session, handle and login of this process is gone."""
        return int(self._finalize(None))

    def init_token(self, slot_id: int, so_pin: bytes, padded_label: bytes) -> int:
        """C_InitToken; the label is 32 octets, padded with blanks."""
        return int(self._init_token(slot_id, so_pin, len(so_pin), padded_label))

    def login(self, session: int, pin: bytes, *, security_officer: bool = False) -> int:
        """C_Login: one login serves every session of this process."""
        user = _CKU_SECURITY_OFFICER if security_officer else _CKU_USER
        return int(self._login(session, user, pin, len(pin)))

    def is_logged_in(self, session: int) -> bool:
        """C_GetSessionInfo: does the token still know of our login? Without it, private keys are invisible."""
        info = _SessionInfo()
        return self._get_session_info(session, ctypes.byref(info)) == CKR_OK and info.state in _CKS_USER_FUNCTIONS

    def signing(self, session: int, key: int, algorithm: KeyAlgorithm) -> "SigningHandle":
        """Return the signing operation of a key in a session."""
        return SigningHandle(self._sign_init, self._sign, (session, key), algorithm)


class SigningHandle:
    """A key in a session, with its C values made once. One thread at a time."""

    def __init__(
        self, sign_init: Callable[..., int], sign: Callable[..., int], handles: tuple[int, int], algorithm: KeyAlgorithm
    ) -> None:
        self._sign_init, self._sign = sign_init, sign
        self._session, self._key = handles
        self._octets = _SIGNATURE_OCTETS[algorithm]
        self._mechanism = _Mechanism(mechanism=_CKM_ECDSA)
        if algorithm is KeyAlgorithm.ED448:
            self._eddsa = _EddsaParameters()
            self._mechanism = _Mechanism(_CKM_EDDSA, ctypes.addressof(self._eddsa), ctypes.sizeof(self._eddsa))
        self._buffer = ctypes.create_string_buffer(self._octets)
        self._length = _ulong(self._octets)
        self._mechanism_at = ctypes.addressof(self._mechanism)
        self._buffer_at, self._length_at = ctypes.addressof(self._buffer), ctypes.addressof(self._length)

    def sign_all(self, payloads: Sequence[bytes], signatures: list[bytes]) -> None:
        """Append one raw signature per payload; what was appended before a PKCS11Error is good."""
        sign_init, sign, session, key = self._sign_init, self._sign, self._session, self._key
        mechanism_at, buffer_at, length_at = self._mechanism_at, self._buffer_at, self._length_at
        buffer, length, octets = self._buffer, self._length, self._octets
        append = signatures.append
        length.value = octets  # a call that failed may have changed it
        for payload in payloads:
            code = sign_init(session, mechanism_at, key)
            if code:
                raise fault("C_SignInit", code)
            code = sign(session, payload, len(payload), buffer_at, length_at)
            if code:
                raise fault("C_Sign", code)
            if length.value != octets:
                raise pkcs11.DeviceError(f"C_Sign returned a signature of {length.value} octets, not {octets}")
            append(buffer.raw)
