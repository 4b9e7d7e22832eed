"""PINs: where they are read from, that a wrong one is tried once, and that none is ever seen."""

import json
import logging
import subprocess
import traceback

import pytest

from pki_core.hsm.module import open_module
from pki_core.hsm.pin import PinSource
from pki_core.hsm.tokens import create_token
from pki_core.model.errors import HsmPinRejectedError, SettingsError
from tests.hsm.token_home import TokenHome

WRONG_PIN = "pin-that-is-wrong"


@pytest.fixture
def pin_file(tmp_path):
    file = tmp_path / "pin"
    file.touch(mode=0o600)
    file.write_text("secret 12\n")
    return file


def test_a_pin_file_loses_one_trailing_newline_and_nothing_else(pin_file):
    assert PinSource.from_file(pin_file).read() == "secret 12"
    pin_file.write_text(" with blanks \n\n")
    assert PinSource.from_file(pin_file).read() == " with blanks \n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_pin_file_open_to_others_is_refused(pin_file, mode):
    pin_file.chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        PinSource.from_file(pin_file)


def test_a_pin_file_opened_to_others_later_is_refused_at_its_next_reading(pin_file):
    source = PinSource.from_file(pin_file)
    pin_file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        source.read()


@pytest.mark.parametrize("content", [b"", b"\n", b"secret\xff"])
def test_a_pin_file_without_a_readable_pin_is_refused(pin_file, content):
    pin_file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        PinSource.from_file(pin_file).read()
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_pin_file_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        PinSource.from_file(tmp_path / "nothing")


def test_a_pin_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("ANY_PIN", "secret")
    assert PinSource.from_environment("ANY_PIN").read() == "secret"
    monkeypatch.delenv("ANY_PIN")
    with pytest.raises(SettingsError, match="ANY_PIN"):
        PinSource.from_environment("ANY_PIN").read()


def test_a_source_shows_its_place_and_not_the_pin(pin_file, monkeypatch):
    monkeypatch.setenv("ANY_PIN", "secret 12")
    for source in (PinSource.from_file(pin_file), PinSource.from_environment("ANY_PIN")):
        source.read()
        assert "secret" not in repr(source) + str(source)
    assert str(pin_file) in repr(PinSource.from_file(pin_file))


@pytest.mark.softhsm
def test_a_wrong_pin_is_tried_once_by_all_threads_calls_and_children_together(through_slow_token):
    output, calls = through_slow_token("wrong_pin_through", WRONG_PIN=WRONG_PIN)
    result = json.loads(output)
    assert len(result["refusals"]) == 4
    assert all("CKR_PIN_INCORRECT" in refusal for refusal in result["refusals"])
    assert result["child"] == 1
    assert calls.count("C_Login") == 1
    assert calls.count("C_Initialize") == 1
    assert WRONG_PIN not in output


@pytest.mark.softhsm
@pytest.mark.parametrize(("flags", "named"), [("0x20000", "USER_PIN_FINAL_TRY"), ("0x40000", "USER_PIN_LOCKED")])
def test_the_last_attempt_is_left_to_a_person(through_slow_token, token_signers, flags, named):
    assert token_signers
    output, calls = through_slow_token("bind_through", SHIM_FLAGS=flags)
    assert output.startswith("refused: ")
    assert named in output
    assert "C_Login" not in calls
    assert through_slow_token("bind_through", SHIM_FLAGS="0x10000")[0] == "bound"  # a few attempts left


def frames(error):
    """Every local variable of every frame that an exception keeps alive, its causes included."""
    seen = [error]
    for link in seen:
        seen += [other for other in (link.__cause__, link.__context__) if other is not None and other not in seen]
    for link in seen:
        for frame, _ in traceback.walk_tb(link.__traceback__):
            yield from frame.f_locals.items()


@pytest.mark.softhsm
def test_a_refused_pin_is_in_no_text_log_or_frame(softhsm_home, monkeypatch, caplog):
    module = open_module(softhsm_home.module_path)
    module.stop(module.generation)  # while another store of this process is logged in, no PIN is asked for
    monkeypatch.setenv("WRONG_PIN", WRONG_PIN)
    caplog.set_level(logging.DEBUG)
    store = softhsm_home.store(pin=PinSource.from_environment("WRONG_PIN"))
    with pytest.raises(HsmPinRejectedError) as caught:
        store.bind("any")
    ours = [(name, value) for name, value in frames(caught.value) if name not in ("monkeypatch", "caught")]
    assert ours
    assert WRONG_PIN not in "".join(traceback.format_exception(caught.value))
    assert [name for name, value in ours if WRONG_PIN in repr(value)] == []
    assert WRONG_PIN not in repr(store) + caplog.text
    with pytest.raises(HsmPinRejectedError, match="not tried again"):
        store.bind("any")


@pytest.mark.softhsm
def test_a_key_store_and_its_signers_do_not_show_the_pin(softhsm_home, key_store, token_signers):
    pin = PinSource.from_file(softhsm_home.pin_file).read()
    shown = repr(key_store) + repr(list(token_signers.values())) + repr(key_store.identity) + repr(vars(key_store))
    assert pin not in shown


@pytest.mark.softhsm
def test_a_token_is_made_without_a_pin_on_any_command_line(softhsm_home, tmp_path, monkeypatch):
    def refuse(*arguments, **_):
        raise AssertionError(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    home = TokenHome(tmp_path)
    identity = create_token(softhsm_home.module_path, "quiet", home.write_pin("so-pin"), home.write_pin("pin"))
    assert home.store(label="quiet").identity == identity
