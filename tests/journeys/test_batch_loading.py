"""Loading uploads in processes of their own: places, time, memory, and processes that die."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pki_core.model.errors import OverloadedError
from tests.journeys.acts import ROOT
from tests.journeys.batch_api_acts import ApiClient, errors_of, uploads_of
from webapp import batch_jobs

pytest_plugins = ["tests.journeys.batch_api_environments"]


@pytest.mark.slow
def test_more_files_than_there_are_places_are_told_to_come_back(uploader, table):
    from webapp.batches import BatchViews

    view = uploader.app.view_functions["batches.submit"].__self__
    assert isinstance(view, BatchViews)
    with view._jobs.turn(), view._jobs.turn():
        answer = uploader.upload(table(1))
    assert errors_of(answer)[0] == 503
    assert answer.headers["Retry-After"]
    assert uploader.upload(table(1)).status_code == 202


def jobs_of(uploader):
    return uploader.app.view_functions["batches.submit"].__self__._jobs


def wait_for(is_true):
    end = time.monotonic() + 30
    while not is_true() and time.monotonic() < end:
        time.sleep(0.05)
    assert is_true()


@pytest.mark.slow
def test_a_file_that_takes_longer_than_a_request_keeps_its_place_and_is_found_by_sending_it_again(environment, table):
    uploader = ApiClient(environment)
    octets, jobs = table(2), jobs_of(uploader)
    patience, jobs._wait = jobs._wait, 0.01
    with environment.store.transaction():  # the loader has to wait
        assert errors_of(uploader.upload(octets))[0] == 503
        with jobs.turn(), pytest.raises(OverloadedError), jobs.turn():
            pass
    wait_for(lambda: not uploads_of(environment))
    jobs._wait = patience
    assert uploader.upload(octets).json["new"] is False
    with jobs.turn(), jobs.turn():
        pass


@pytest.mark.slow
def test_a_file_that_takes_too_long_is_given_up_and_nothing_is_left_of_it(environment, table, monkeypatch):
    uploader = ApiClient(environment)
    jobs = jobs_of(uploader)
    jobs._wait = 0.01
    monkeypatch.setattr(batch_jobs, "_LONGEST", 0.3)
    with environment.store.transaction():
        assert errors_of(uploader.upload(table(2)))[0] == 503
        wait_for(lambda: not uploads_of(environment))
        wait_for(lambda: jobs._at_work._value == 2)


@pytest.mark.slow
def test_a_loader_has_a_limit_of_memory_and_ends_with_its_front(environment, table, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes(table(2))
    named = {"home": environment.home, "file": file, "partner": "demo-mo", "profile": "contract_leaf", "kind": "csr"}
    arguments = [f"--{option}={value}" for option, value in {**named, "name": "rows.csv"}.items()]
    command = [sys.executable, "-m", "webapp", "load", "--json", "--lifeline", *arguments]
    with (
        environment.store.transaction(),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as loader,
    ):
        limits = Path(f"/proc/{loader.pid}/limits")
        wait_for(lambda: str(2 * 1024**3) in limits.read_text())
        loader.stdin.close()
        assert loader.wait(10) == 3
    assert not file.exists()


def test_a_process_that_dies_is_no_answer(uploader, table, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert errors_of(uploader.upload(table(1)))[0] == 503
