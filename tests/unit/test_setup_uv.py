"""Set-up without pip: its settings are read as pip reads them, and nothing but the pinned uv is accepted."""

import hashlib
import io
import platform
import zipfile

import pytest

from deployments import setup_uv

WHEEL = "uv-test.whl"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of one wheel, pinned; its page links to it relatively and with a hash, as real ones do."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"uv-{setup_uv.VERSION}.data/scripts/uv", "#!/bin/sh\necho uv\n")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / WHEEL).write_bytes(content.getvalue())
    page = tmp_path / "simple" / "uv"
    page.mkdir(parents=True)
    (page / "index.html").write_text(f'<a href="other.whl">x</a>\n<a href="../../files/{WHEEL}#sha256=00">y</a>')
    machine = (platform.system().lower(), platform.machine().lower())
    monkeypatch.setitem(setup_uv.WHEELS, machine, (WHEEL, hashlib.sha256(content.getvalue()).hexdigest()))
    real_open = setup_uv.open_url
    monkeypatch.setattr(setup_uv, "open_url", lambda url: real_open(url + "index.html" if url.endswith("/") else url))
    for name in ("UV_INDEX_URL", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"file://{tmp_path}/simple")
    return tmp_path


def pip_settings(tmp_path, text, **environ):
    file = tmp_path / "pip.conf"
    file.write_text(text)
    return setup_uv.read_pip_settings({"PIP_CONFIG_FILE": str(file), "HOME": str(tmp_path), **environ})


def test_uv_comes_from_the_configured_index_and_can_be_run(index):
    setup_uv.fetch(index / "tools" / "uv")
    assert (index / "tools" / "uv").read_text().endswith("echo uv\n")
    assert (index / "tools" / "uv").stat().st_mode & 0o111
    assert [file.name for file in (index / "tools").iterdir()] == ["uv"]


def test_a_file_other_than_the_pinned_one_is_refused(index):
    with (index / "files" / WHEEL).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match="not the file that was pinned"):
        setup_uv.fetch(index / "tools" / "uv")
    assert not (index / "tools").exists()


def test_uv_comes_from_a_folder_of_wheels_where_pip_has_one(index, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "file:///nonexistent")
    monkeypatch.setenv("UV_FIND_LINKS", f"{index}/nothing,{index}/files")
    setup_uv.fetch(index / "tools" / "uv")
    assert (index / "tools" / "uv").exists()


def test_an_unknown_machine_is_told_to_bring_its_own_uv(monkeypatch):
    monkeypatch.setattr(setup_uv.platform, "machine", lambda: "vax")
    with pytest.raises(LookupError, match="install uv by hand"):
        setup_uv.download()


def test_an_index_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind: ftp"):
        setup_uv.open_url("ftp://example.org/simple/uv/")


def test_pip_settings_of_the_environment_win_over_those_of_a_file(tmp_path):
    text = "[global]\nindex-url = https://a/simple\ntimeout = 5\n[install]\nindex_url = https://b/simple\n"
    assert pip_settings(tmp_path, text)["index-url"] == "https://b/simple"
    settings = pip_settings(tmp_path, text, PIP_INDEX_URL="https://c/simple")
    assert (settings["index-url"], settings["timeout"]) == ("https://c/simple", "5")


def test_a_broken_pip_configuration_does_not_stop_set_up(tmp_path, capsys):
    assert "index-url" not in pip_settings(tmp_path, "no section\n")
    assert "cannot read" in capsys.readouterr().err


def test_the_null_device_switches_every_pip_file_off(tmp_path):
    folder = tmp_path / ".config" / "pip"
    folder.mkdir(parents=True)
    (folder / "pip.conf").write_text("[global]\nproxy = http://p:1\n")
    assert setup_uv.read_pip_settings({"HOME": str(tmp_path)})["proxy"] == "http://p:1"
    assert "proxy" not in setup_uv.read_pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"})


def test_uv_is_told_what_pip_was_told():
    told = setup_uv.translate(
        {
            "index-url": "https://m/simple",
            "extra-index-url": "https://x/simple\nhttps://y/simple",
            "find-links": "/a /b",
            "trusted-host": "m",
            "no-index": "true",
            "cert": "/ca.pem",
            "proxy": "http://p:1",
            "default-timeout": "180",
        },
        {},
    )
    assert told == {
        "UV_DEFAULT_INDEX": "https://m/simple",
        "UV_INDEX": "https://x/simple https://y/simple",
        "UV_FIND_LINKS": "/a,/b",
        "UV_INSECURE_HOST": "m",
        "SETUP_NO_INDEX": "1",
        "SSL_CERT_FILE": "/ca.pem",
        "HTTP_PROXY": "http://p:1",
        "HTTPS_PROXY": "http://p:1",
        "UV_HTTP_TIMEOUT": "180",
    }


def test_what_the_user_set_for_uv_stays():
    pip = {"index-url": "https://m/simple", "cert": "/ca.pem"}
    assert setup_uv.translate(pip, {"UV_INDEX_URL": "https://u/simple", "SSL_CERT_FILE": "/mine.pem"}) == {}


def test_what_is_printed_is_safe_to_evaluate_in_a_shell(monkeypatch, capsys):
    monkeypatch.setattr(setup_uv, "read_pip_settings", lambda _: {"index-url": "https://a/simple;touch /x"})
    monkeypatch.setattr(setup_uv.sys, "argv", ["setup_uv.py", "environment"])
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    assert setup_uv.main() == 0
    assert capsys.readouterr().out == "export UV_DEFAULT_INDEX='https://a/simple;touch /x'\n"
