"""Two threads in one token: our initialisation bears it, python-pkcs11's own does not."""

import json
import subprocess

import pytest

pytestmark = [pytest.mark.softhsm, pytest.mark.usefixtures("token_signers")]

STOCK_ATTEMPTS = 20


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [1, 4])
def test_two_threads_sign_with_one_signer(run_child, sessions):
    result = json.loads(run_child("sign_in_threads", 3, sessions))
    assert result["faults"] == []
    assert min(result["counts"]) > 100


@pytest.mark.soak
def test_two_threads_sign_for_a_minute(run_child):
    result = json.loads(run_child("sign_in_threads", 60, 2))
    assert result["faults"] == []
    assert min(result["counts"]) > 10_000


@pytest.mark.slow
def test_python_pkcs11_as_it_comes_fails_with_two_threads(start_child):
    """The reason for our own C_Initialize. When this test fails one day, that code may go."""
    ends = []
    for _ in range(STOCK_ATTEMPTS):
        with start_child("sign_in_threads_as_python_pkcs11_starts", 2) as process:
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        ends.append(process.returncode)
        if process.returncode != 0:
            return
    pytest.fail(f"{STOCK_ATTEMPTS} runs ended well: {ends}")
