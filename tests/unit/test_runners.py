"""Runners: a token tells whether the process behind it still lives, and never declares a living one dead."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pki_core.services import runners
from pki_core.services.runners import is_dead, runner_token, running

ROOT = Path(__file__).parents[2]
PRINT_AND_WAIT = """
import sys
from pki_core.services.runners import runner_token
print(runner_token(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_runner():
    process = subprocess.Popen(
        [sys.executable, "-c", PRINT_AND_WAIT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process, process.stdout.readline().strip()
        process.kill()


def parts(token):
    host, machine, boot, namespace, pid, start, random = token.split("/")
    return {
        "host": host,
        "machine": machine,
        "boot": boot,
        "namespace": namespace,
        "pid": pid,
        "start": start,
        "random": random,
    }


def changed(**values):
    return "/".join({**parts(runner_token()), **values}.values())


def test_a_token_names_host_boot_container_and_process():
    token = parts(runner_token())
    assert token["host"] == socket.gethostname()[:40]
    assert int(token["pid"]) == os.getpid()
    assert all(value for part, value in token.items() if part != "machine")


def test_every_piece_of_work_has_a_token_of_its_own_that_fits_its_column():
    tokens = {runner_token() for _ in range(100)}
    assert len(tokens) == 100
    assert max(map(len, tokens)) <= 160


def test_this_process_is_alive():
    assert not is_dead(runner_token())


def test_work_is_over_when_its_block_is_left_though_the_process_lives_on():
    with running() as first, running() as second:
        assert not is_dead(first)
        assert not is_dead(second)
    assert is_dead(first)
    assert is_dead(second)
    assert not is_dead(runner_token())


def test_work_that_failed_is_over_too():
    tokens = []

    def fail():
        with running() as token:
            tokens.append(token)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert is_dead(tokens[0])


def test_what_is_over_is_remembered_within_bounds():
    for _ in range(runners._REMEMBERED + 10):
        with running() as token:
            pass
    assert is_dead(token)
    assert len(runners._ended) == runners._REMEMBERED


def test_another_process_is_alive_until_it_is_killed(other_runner):
    process, token = other_runner
    assert not is_dead(token)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie until it is collected
    assert is_dead(token)
    process.wait()
    assert is_dead(token)


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it():
    assert is_dead(changed(start="1"))


@pytest.fixture
def on_machine(tmp_path, monkeypatch):
    """Let this machine have an id."""

    def have(machine_id):
        file = tmp_path / "machine-id"
        file.write_text(machine_id)
        monkeypatch.setattr(runners, "_MACHINE_ID", file)
        runners._here.cache_clear()

    yield have
    runners._here.cache_clear()


def test_a_runner_of_an_earlier_boot_is_dead(on_machine):
    on_machine("0123456789abcdef" * 2 + "\n")
    assert is_dead(changed(boot="0" * 18))
    assert not is_dead(runner_token())


def test_a_machine_of_the_same_name_is_another_machine(on_machine):
    on_machine("fedcba9876543210" * 2)
    theirs = runner_token()
    on_machine("0123456789abcdef" * 2)
    assert parts(theirs)["machine"] != parts(runner_token())["machine"]
    assert not is_dead("/".join({**parts(theirs), "boot": "0" * 18}.values()))


@pytest.mark.parametrize("machine_id", ["", "uninitialized\n"])
def test_without_an_id_an_earlier_boot_may_be_another_machine_of_the_same_name(on_machine, machine_id):
    on_machine(machine_id)
    assert not is_dead(changed(boot="0" * 18))
    assert is_dead(changed(start="1"))


def test_the_id_of_the_machine_is_not_shown(on_machine):
    on_machine("0123456789abcdef" * 2)
    assert "0123456789abcdef" not in runner_token()


def test_a_token_of_an_earlier_version_says_nothing_of_another_boot():
    token = parts(runner_token())
    del token["machine"]
    assert not is_dead("/".join({**token, "boot": "0" * 18, "start": "1"}.values()))


def test_nothing_is_known_of_another_machine():
    assert not is_dead(changed(host="elsewhere", pid="999999999", start="1"))
    assert not is_dead(changed(host="elsewhere", boot="0" * 18))


@pytest.mark.parametrize("part", [{"pid": "x"}, {"pid": ""}, {"random": ""}])
def test_nothing_is_known_of_a_token_that_was_cut(part):
    assert not is_dead(changed(**{"start": "1", **part}))


def test_nothing_is_known_of_another_container():
    assert not is_dead(changed(namespace="1", pid="999999999", start="1"))


@pytest.mark.parametrize("token", ["", "loader", "a/b", "///", "//////", "host/boot/ns/notapid/1/r", "\0/\0/\0/1/2/3"])
def test_nothing_is_known_of_what_is_no_token(token):
    assert not is_dead(token)
