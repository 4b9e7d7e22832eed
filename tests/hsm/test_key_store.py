"""The key store as a whole: late opening, the right token, giving back, telling the truth about itself."""

import fcntl
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pki_core.hsm.module import open_module
from pki_core.hsm.pin import PinSource
from pki_core.hsm.pkcs11 import Pkcs11KeyStore
from pki_core.hsm.tokens import create_token, find_token, identity_of
from pki_core.model.errors import ConflictError, HsmUnavailableError, SettingsError
from pki_core.model.signer import KeyAlgorithm, TokenIdentity
from tests.hsm.token_home import TOKEN_LABEL, TokenHome, verify

pytestmark = pytest.mark.softhsm
ROOT = Path(__file__).parents[2]


def test_importing_and_constructing_opens_nothing():
    code = (
        "import os; from pathlib import Path; from pki_core.hsm.pin import PinSource\n"
        "from pki_core.hsm.pkcs11 import Pkcs11KeyStore\n"
        "Pkcs11KeyStore(Path('no-such-module.so'), 'any', PinSource.from_environment('NO_PIN'), 2, Path('no/lock'))\n"
        "print('softhsm' in Path('/proc/self/maps').read_text())"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_module_that_cannot_be_loaded_is_a_fault_of_the_settings(tmp_path):
    (tmp_path / "text.so").write_text("no library")
    pin = PinSource.from_environment("ANY_PIN")
    for path in (tmp_path / "missing.so", tmp_path / "text.so"):
        with pytest.raises(SettingsError, match="is not a PKCS#11 module"):
            Pkcs11KeyStore(path, TOKEN_LABEL, pin, 1, tmp_path / "lock").algorithms()


def test_a_library_that_is_no_pkcs11_module_is_a_fault_of_the_settings(tmp_path):
    import _ctypes

    pin = PinSource.from_environment("ANY_PIN")
    with pytest.raises(SettingsError, match="is not a PKCS#11 module"):
        Pkcs11KeyStore(Path(_ctypes.__file__), TOKEN_LABEL, pin, 1, tmp_path / "lock").algorithms()


def test_the_identity_names_the_token(key_store):
    identity = key_store.identity
    assert identity == TokenIdentity(kind="pkcs11", label=TOKEN_LABEL, serial=identity.serial)
    assert len(identity.serial) == 16


def test_the_expected_serial_opens_and_another_is_refused(softhsm_home, key_store):
    serial = key_store.identity.serial
    assert softhsm_home.store(serial=serial).identity.serial == serial
    with pytest.raises(SettingsError, match=f"has the serial {serial}"):
        softhsm_home.store(serial="0000000000000000").bind("any")


def test_a_token_that_is_not_there_is_away_and_the_present_ones_are_named(softhsm_home, key_store):
    assert key_store.identity
    with pytest.raises(HsmUnavailableError, match=f"'nobody'; present: .*'{TOKEN_LABEL}'"):
        softhsm_home.store(label="nobody").bind("any")


def test_two_tokens_of_one_label_are_told_apart_by_serial(softhsm_home, tmp_path):
    module = open_module(softhsm_home.module_path)
    so_pin, pin = TokenHome(tmp_path).write_pin("so-pin"), TokenHome(tmp_path).write_pin("pin")
    first = create_token(softhsm_home.module_path, "twin", so_pin, pin)
    with module.alone(softhsm_home.lock_file) as library:  # as another tool would: it does not mind the label
        free = next(slot for slot in library.get_slots() if not slot.get_token().label)
        assert module.cryptoki.init_token(free.slot_id, b"12345678", b"twin".ljust(32)) == 0
    module.stop(module.generation)
    with module.alone(softhsm_home.lock_file) as library:
        with pytest.raises(SettingsError, match="2 tokens are labelled 'twin'"):
            find_token(library, "twin", "")
        assert identity_of(find_token(library, "twin", first.serial)) == first


def test_a_store_that_has_seen_its_token_takes_no_other_of_the_same_label(softhsm_home, tmp_path):
    pins = TokenHome(tmp_path).write_pin("so-pin"), TokenHome(tmp_path).write_pin("pin")
    old = create_token(softhsm_home.module_path, "swapped", *pins)
    store = softhsm_home.store(label="swapped", pin=pins[1])
    assert store.identity == old
    (folder,) = (softhsm_home.directory / "tokens").glob(f"*-{old.serial[:4]}-{old.serial[4:]}")
    module = open_module(softhsm_home.module_path)
    module.stop(module.generation)
    shutil.rmtree(folder)
    assert create_token(softhsm_home.module_path, "swapped", *pins) != old
    with pytest.raises(SettingsError, match=f"belongs to {old.serial}"):
        store.algorithms()


def test_a_closed_store_opens_again_by_itself(softhsm_home, token_signers):
    store = softhsm_home.store(sessions=2)
    signer = store.bind(token_signers[KeyAlgorithm.SECP256R1].label)
    for _ in range(3):
        for message, signature in zip([b"a", b"b"], signer.sign([b"a", b"b"]), strict=True):
            verify(signer, message, signature)
        store.close()
    store.close()


def test_closing_gives_every_session_and_the_login_back(run_child, token_signers):
    assert token_signers
    assert run_child("sessions_left_after_close") == "0"


def test_two_stores_share_one_login(softhsm_home, token_signers):
    first, second = softhsm_home.store(), softhsm_home.store()
    module = open_module(softhsm_home.module_path)
    generation = module.generation
    signers = [store.bind(token_signers[KeyAlgorithm.ED448].label) for store in (first, second)]
    first.close()
    verify(signers[1], b"message", signers[1].sign([b"message"])[0])
    verify(signers[0], b"message", signers[0].sign([b"message"])[0])
    second.close()
    first.close()
    assert module.generation == generation  # nobody was logged out to let the other in


def test_a_store_needs_a_session(softhsm_home):
    with pytest.raises(SettingsError, match="at least one session"):
        softhsm_home.store(sessions=0)


def test_no_more_sessions_are_opened_than_allowed(through_slow_token, token_signers):
    assert token_signers
    _, calls = through_slow_token("sign_through", 4, 300, SHIM_US=200)
    assert calls.count("C_OpenSession") == 4


def test_a_lock_file_that_cannot_be_made_is_a_fault_of_the_settings(softhsm_home, tmp_path):
    pin = PinSource.from_file(softhsm_home.pin_file)
    store = Pkcs11KeyStore(softhsm_home.module_path, TOKEN_LABEL, pin, 1, tmp_path / "no" / "lock")
    with pytest.raises(SettingsError, match="lock file"):
        store.algorithms()


def test_opening_waits_for_the_process_that_holds_the_lock_file(softhsm_home):
    opened = threading.Event()
    store = softhsm_home.store()
    thread = threading.Thread(target=lambda: (store.algorithms(), opened.set()))
    with softhsm_home.lock_file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        thread.start()
        assert not opened.wait(0.3)
    assert opened.wait(10)
    thread.join()


def test_a_lock_that_is_never_released_is_reported(softhsm_home, monkeypatch):
    monkeypatch.setattr("pki_core.hsm.module._PATIENCE_SECONDS", 0.1)
    with softhsm_home.lock_file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(HsmUnavailableError, match="holds the lock file"):
            softhsm_home.store().algorithms()


def test_one_token_after_the_other_can_be_made(softhsm_home, tmp_path):
    pins = TokenHome(tmp_path).write_pin("so-pin"), TokenHome(tmp_path).write_pin("pin")
    made = [create_token(softhsm_home.module_path, f"row {number}", *pins) for number in range(3)]
    assert len({identity.serial for identity in made}) == 3
    for identity in made:
        assert softhsm_home.store(label=identity.label, pin=pins[1]).identity == identity


def test_a_taken_token_label_is_a_conflict(softhsm_home, tmp_path):
    home = TokenHome(tmp_path)
    with pytest.raises(ConflictError, match=TOKEN_LABEL):
        create_token(softhsm_home.module_path, TOKEN_LABEL, home.write_pin("so-pin"), home.write_pin("pin"))


@pytest.mark.parametrize("label", ["", "x" * 33, "ü" * 17])
def test_a_token_label_that_does_not_fit_is_refused(softhsm_home, tmp_path, label):
    home = TokenHome(tmp_path)
    with pytest.raises(SettingsError, match="32 octets"):
        create_token(softhsm_home.module_path, label, home.write_pin("so-pin"), home.write_pin("pin"))


@pytest.mark.parametrize("short", ["so-pin", "pin"])
def test_a_pin_the_token_finds_too_short_is_refused(softhsm_home, tmp_path, short):
    home = TokenHome(tmp_path)
    pins = {name: home.write_pin(name) for name in ("so-pin", "pin")}
    (tmp_path / short).write_text("123")
    with pytest.raises(SettingsError, match="refuses") as caught:
        create_token(softhsm_home.module_path, f"short {short}", pins["so-pin"], pins["pin"])
    assert "123" not in str(caught.value)
