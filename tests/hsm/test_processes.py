"""Processes and one token: fork in the middle, and many that start at the same moment."""

import json

import pytest

pytestmark = [pytest.mark.softhsm, pytest.mark.usefixtures("token_signers")]


@pytest.mark.parametrize("depth", [1, 2])
def test_after_a_fork_the_child_opens_by_itself_and_the_parent_signs_on(run_child, depth):
    run_child("fork_and_sign", depth)


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
