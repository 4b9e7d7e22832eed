"""Fetch uv with nothing but the standard library, and tell uv what pip's configuration says (PEP 503, PEP 427).

``environment`` prints shell assignments: the index, proxies and certificates that pip would use, in uv's words.
``fetch FILE`` writes the uv binary to FILE: a wheel is a zip, so neither pip nor venv is needed; its hash is pinned.
"""

import argparse
import base64
import configparser
import hashlib
import html
import importlib.util
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

VERSION = "0.13.9"
MANYLINUX_X86_64 = f"uv-{VERSION}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
MANYLINUX_AARCH64 = f"uv-{VERSION}-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl"
WHEELS = {  # (system, machine): file name and SHA-256
    ("linux", "x86_64"): (MANYLINUX_X86_64, "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"),
    ("linux", "aarch64"): (MANYLINUX_AARCH64, "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe"),
    ("darwin", "arm64"): (
        f"uv-{VERSION}-py3-none-macosx_11_0_arm64.whl",
        "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
    ),
}
PYPI = "https://pypi.org/simple"
TIMEOUT_SECONDS = 60


def read_pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings in pip's order: machine, user, virtual environment, own file, PIP_* variables."""
    home = Path(environ.get("HOME", "/nonexistent"))
    files: list[str | Path] = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", home / ".pip/pip.conf"]
    files += [Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf", Path(sys.prefix) / "pip.conf"]
    own_file = environ.get("PIP_CONFIG_FILE", "")
    if own_file == os.devnull:  # pip's own way of saying "no files at all"
        files = []
    elif own_file:
        files.append(own_file)
    parser = configparser.RawConfigParser()
    settings: dict[str, str] = {}
    for file in files:
        parser.clear()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            print(f"setup: cannot read {file}, going on without it: {error}", file=sys.stderr)
            continue
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                settings.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            settings[name[4:].lower().replace("_", "-")] = value
    return settings


def translate(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make uv behave as pip would; what the caller's environment sets already, stays."""
    extra = " ".join(settings.get("extra-index-url", "").split())
    wanted = {
        "UV_DEFAULT_INDEX": "" if "UV_INDEX_URL" in environ else settings.get("index-url", ""),
        "UV_INDEX": "" if "UV_EXTRA_INDEX_URL" in environ else extra,
        "UV_FIND_LINKS": ",".join(settings.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(settings.get("trusted-host", "").split()),
        # For setup.sh: uv has an option for it, but no variable.
        "SETUP_NO_INDEX": "1" if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "UV_HTTP_TIMEOUT": settings.get("timeout", settings.get("default-timeout", "")),
        "SSL_CERT_FILE": settings.get("cert", ""),
        "HTTP_PROXY": "" if "http_proxy" in environ else settings.get("proxy", ""),
        "HTTPS_PROXY": "" if "https_proxy" in environ else settings.get("proxy", ""),
    }
    return {name: value for name, value in wanted.items() if value and not environ.get(name)}


def open_url(url: str) -> bytes:
    """Return the body of a URL; a name and password in it become a Basic authorization, as pip does it."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"https", "http", "file"}:
        raise ValueError(f"the package index has an address of an unknown kind: {parts.scheme}")
    request = urllib.request.Request(url)  # noqa: S310  # the scheme was checked above
    if parts.username and parts.hostname:
        address = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        request = urllib.request.Request(parts._replace(netloc=address).geturl())  # noqa: S310  # as above
        password = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
        request.add_header("Authorization", "Basic " + base64.b64encode(password.encode()).decode())
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  # as above
        body: bytes = answer.read()
    return body


def download_from_index(index: str, file_name: str) -> bytes:
    """Return a wheel from a simple index (PEP 503: a page of links, relative ones allowed)."""
    page = index.rstrip("/") + "/uv/"
    for reference in re.findall(r'href\s*=\s*["\']([^"\']+)["\']', open_url(page).decode()):
        link = urllib.parse.urljoin(page, html.unescape(reference)).partition("#")[0]
        if urllib.parse.unquote(link.rpartition("/")[2]) == file_name:
            return open_url(link)
    raise LookupError(f"{file_name} is not on the package index")


def download_with_pip(file_name: str) -> bytes:
    """Return a wheel through pip: it knows keyrings, client certificates and folders of wheels, which we do not."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
        result = subprocess.run(  # noqa: S603  # fixed words
            [*pip, f"uv=={VERSION}"], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if result.returncode != 0:
            raise LookupError("pip says: " + (result.stderr.strip().splitlines() or ["nothing"])[-1])
        return (Path(folder) / file_name).read_bytes()


def download() -> bytes:
    """Return the wheel for this machine, its hash checked."""
    machine = platform.machine().lower().replace("amd64", "x86_64")
    try:
        file_name, sha256 = WHEELS[platform.system().lower(), machine]
    except KeyError:
        raise LookupError(f"no pinned uv for {platform.system()} {machine}: install uv by hand and run again") from None
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL") or PYPI
    folders = [Path(folder) for folder in os.environ.get("UV_FIND_LINKS", "").split(",") if folder]
    at_hand = [folder / file_name for folder in folders if (folder / file_name).is_file()]
    try:
        wheel = at_hand[0].read_bytes() if at_hand else download_from_index(index, file_name)
    except (OSError, LookupError, ValueError) as error:
        if importlib.util.find_spec("pip") is None:
            raise
        print(f"setup: no uv directly from the package index ({error}), asking pip ...", file=sys.stderr)
        wheel = download_with_pip(file_name)
    if hashlib.sha256(wheel).hexdigest() != sha256:
        raise ValueError(f"{file_name} is not the file that was pinned: refused")
    return wheel


def fetch(destination: Path) -> None:
    """Write the uv binary, whole or not at all."""
    with tempfile.TemporaryFile() as file:
        file.write(download())
        with zipfile.ZipFile(file) as archive:
            binary = archive.read(f"uv-{VERSION}.data/scripts/uv")
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(binary)
    part.chmod(0o755)
    part.replace(destination)


def main() -> int:
    """Run one of the two jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=["environment", "fetch", "version"])
    parser.add_argument("destination", type=Path, nargs="?", default=Path(".tools/uv"))
    arguments = parser.parse_args()
    if arguments.job == "version":
        print(VERSION)
    elif arguments.job == "environment":
        for name, value in translate(read_pip_settings(os.environ), os.environ).items():
            print(f"export {name}={shlex.quote(value)}")
    else:
        try:
            fetch(arguments.destination)
        except (OSError, LookupError, ValueError) as error:
            print(f"setup: cannot fetch uv: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
