"""Fixtures for EST: clients of environments, one for all tests of a module and one of the test's own."""

from dataclasses import replace

import pytest

from tests.journeys.acts import copy_home
from tests.journeys.est_acts import est_client

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture(scope="module")
def est_front(founded_home, tmp_path_factory):
    """One environment for all tests that change nothing for each other."""
    with est_client(copy_home(founded_home, tmp_path_factory.mktemp("shared") / "home")) as client:
        yield client


@pytest.fixture
def client(est_front):
    return replace(est_front)


@pytest.fixture
def fresh(home):
    """An environment of the test's own."""
    with est_client(home) as client:
        yield client


@pytest.fixture
def any_client(any_home):
    with est_client(any_home) as client:
        yield client
