"""Fixtures around one SoftHSM token a test session (SoftHSM reads one configuration a process) and the C programs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pki_core.model.signer import KeyAlgorithm
from tests.hsm.token_home import TokenHome

ROOT = Path(__file__).parents[2]
PKCS11_HEADERS = Path("/usr/include/p11-kit-1")
CHILD_SECONDS = 90  # the minute of the soak test, and a start


@pytest.fixture(scope="session")
def softhsm_home(tmp_path_factory):
    """The session's token. SOFTHSM2_CONF names its directory until the session ends."""
    before = os.environ.pop("SOFTHSM2_CONF", None)
    home = TokenHome(tmp_path_factory.mktemp("softhsm"))
    home.create()
    yield home
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture(scope="session")
def key_store(softhsm_home):
    """A key store with one session on the session's token."""
    store = softhsm_home.store()
    yield store
    store.close()


@pytest.fixture(scope="session")
def token_signers(key_store):
    """A key of every algorithm in the session's token."""
    return {algorithm: key_store.generate(f"any-{algorithm}", algorithm) for algorithm in KeyAlgorithm}


def compile_c(source, target, *options):
    compiler = shutil.which("cc")
    assert compiler, "these tests compile bench/*.c: apt-get install gcc"
    assert (PKCS11_HEADERS / "p11-kit" / "pkcs11.h").is_file(), "pkcs11.h is missing: apt-get install libp11-kit-dev"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", f"-I{PKCS11_HEADERS}", "-o", str(target), str(source)]
    result = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return target


@pytest.fixture(scope="session")
def slow_token(tmp_path_factory):
    """The PKCS#11 module that delays, fails and counts, in front of SoftHSM."""
    target = tmp_path_factory.mktemp("bench") / "slow_token.so"
    return compile_c(ROOT / "bench" / "slow_token.c", target, "-shared", "-fPIC", "-ldl")


@pytest.fixture(scope="session")
def raw_pkcs11(tmp_path_factory):
    """The benchmark in C."""
    target = tmp_path_factory.mktemp("bench") / "raw_pkcs11"
    return compile_c(ROOT / "bench" / "raw_pkcs11.c", target, "-ldl", "-lpthread")


@pytest.fixture(scope="session")
def start_child(softhsm_home):
    """Start a function of tests/hsm/children.py in a process of its own."""

    def start(function, *arguments, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "tests.hsm.children", function, str(softhsm_home.directory), *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def run_child(start_child):
    """Run such a function to its end and return what it printed; it must end well."""

    def run(function, *arguments, **environment):
        with start_child(function, *arguments, **environment) as process:
            try:
                output, errors = process.communicate(timeout=CHILD_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0, f"{function} ended with {process.returncode}: {errors}"
        return output.strip()

    return run


@pytest.fixture
def through_slow_token(softhsm_home, slow_token, run_child, tmp_path):
    """Run a child whose key store reaches the token through the slow one; return its output and the calls it made."""

    def run(function, *arguments, **switches):
        log_file = tmp_path / "calls"
        log_file.unlink(missing_ok=True)
        target = {"SHIM_TARGET": softhsm_home.module_path, "SHIM_LOG": log_file}
        output = run_child(function, slow_token, *arguments, **target, **switches)
        return output, [line.split()[1] for line in log_file.read_text().splitlines()]

    return run
