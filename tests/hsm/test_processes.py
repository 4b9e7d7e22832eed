"""Processes and one token: fork in the middle, and many that start at the same moment."""

import json
from collections import defaultdict

import pytest

pytestmark = [pytest.mark.softhsm, pytest.mark.usefixtures("token_signers")]


@pytest.mark.parametrize("depth", [1, 2])
def test_after_a_fork_the_child_opens_by_itself_and_the_parent_signs_on(through_slow_token, tmp_path, depth):
    through_slow_token("fork_and_sign_through", depth)
    calls = defaultdict(list)
    for line in (tmp_path / "calls").read_text().splitlines():
        process_id, call, _ = line.split()
        calls[process_id].append(call)
    assert len(calls) == depth + 1
    for made in calls.values():
        assert made.index("C_Initialize") < made.index("C_OpenSession") < made.index("C_Login") < made.index("C_Sign")
        assert made.count("C_Login") == 1


@pytest.mark.slow
def test_a_fork_waits_until_no_thread_is_inside_the_module(run_child):
    assert json.loads(run_child("fork_while_threads_sign", 60)) == [0] * 60


def start_pairs(start_child, count):
    for pair in range(count):
        processes = [start_child("start_at_a_sign") for _ in range(2)]
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, errors = process.communicate(timeout=60)
            assert output == "signed\n", f"pair {pair}: {errors}"


@pytest.mark.slow
def test_processes_that_start_together_all_find_the_token(start_child):
    start_pairs(start_child, 20)


@pytest.mark.soak
def test_a_hundred_pairs_of_processes_all_find_the_token(start_child):
    start_pairs(start_child, 100)
