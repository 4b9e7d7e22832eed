"""SoftHSM's module and configuration: found in the usual places, one a process."""

import os
import stat

import pytest

from pki_core.hsm.softhsm import find_softhsm_module, prepare_softhsm, use_softhsm
from pki_core.model.errors import HsmUnavailableError, SettingsError


@pytest.fixture
def no_configuration(monkeypatch):
    monkeypatch.setenv("SOFTHSM2_CONF", "restored after the test")
    monkeypatch.delenv("SOFTHSM2_CONF")


@pytest.mark.usefixtures("no_configuration")
def test_a_directory_is_prepared_for_its_owner_alone(tmp_path):
    directory = tmp_path / "new" / "softhsm"
    prepare_softhsm(directory)
    configuration = directory / "softhsm2.conf"
    assert os.environ["SOFTHSM2_CONF"] == str(configuration)
    assert configuration.read_text().splitlines() == [
        f"directories.tokendir = {directory / 'tokens'}",
        "objectstore.backend = file",
        "log.level = ERROR",
    ]
    assert stat.S_IMODE((directory / "tokens").stat().st_mode) == 0o700
    assert sorted(path.name for path in directory.iterdir()) == ["softhsm2.conf", "tokens"]


@pytest.mark.usefixtures("no_configuration")
def test_preparing_again_changes_nothing(tmp_path):
    prepare_softhsm(tmp_path)
    before = (tmp_path / "softhsm2.conf").stat()
    prepare_softhsm(tmp_path)
    assert (tmp_path / "softhsm2.conf").stat() == before


@pytest.mark.usefixtures("no_configuration")
def test_a_second_environment_in_one_process_is_refused(tmp_path):
    prepare_softhsm(tmp_path / "qa")
    with pytest.raises(SettingsError, match="SOFTHSM2_CONF"):
        prepare_softhsm(tmp_path / "prod")
    assert not (tmp_path / "prod").exists()


@pytest.mark.usefixtures("no_configuration")
def test_a_directory_that_cannot_be_made_is_a_fault_of_the_settings(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="Not a directory"):
        prepare_softhsm(tmp_path / "file" / "softhsm")


@pytest.mark.usefixtures("no_configuration")
def test_a_directory_that_was_moved_away_is_not_made_anew_and_can_be_moved_back(tmp_path):
    prepare_softhsm(tmp_path / "token")
    (tmp_path / "token").rename(tmp_path / "away")
    with pytest.raises(HsmUnavailableError, match="is gone: put it back"):
        use_softhsm(tmp_path / "token")
    assert [path.name for path in tmp_path.iterdir()] == ["away"]
    (tmp_path / "away").rename(tmp_path / "token")
    use_softhsm(tmp_path / "token")


@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/softhsm/libsofthsm2.so",
        "usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "usr/lib64/pkcs11/libsofthsm2.so",
        "opt/homebrew/lib/softhsm/libsofthsm2.so",
        "usr/local/lib/softhsm/libsofthsm2.so",
    ],
)
def test_the_module_is_found_where_distributions_put_it(tmp_path, place):
    module = tmp_path / place
    module.parent.mkdir(parents=True)
    module.touch()
    assert find_softhsm_module(tmp_path) == module


def test_a_machine_without_softhsm_has_no_module(tmp_path):
    assert find_softhsm_module(tmp_path) is None
