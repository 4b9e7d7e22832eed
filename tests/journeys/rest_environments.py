"""Fixtures for REST calls: an environment with partners of every role, founded once and copied for each test."""

from contextlib import closing

import pytest

from pki_core.runtime.wiring import open_runtime
from tests.journeys.acts import copy_home
from tests.journeys.contract_acts import Garage
from tests.journeys.pool_acts import foreign_ca
from tests.journeys.rest_acts import api_of, enrol

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture(scope="session")
def rest_home(founded_home, tmp_path_factory):
    """A closed environment with the partners of ``rest_acts``, and their secrets."""
    home = copy_home(founded_home, tmp_path_factory.mktemp("rest") / "home")
    with closing(open_runtime(home)) as runtime:
        secrets = enrol(runtime)
    return home, secrets


@pytest.fixture
def api(rest_home, tmp_path):
    """An application of the test's own."""
    home, secrets = rest_home
    with api_of(copy_home(home, tmp_path / "home"), secrets) as made:
        yield made


@pytest.fixture
def rest_postgres(founded_postgres, tmp_path):
    """An application of the test's own on PostgreSQL."""
    founded, databases = founded_postgres
    url = databases.create()
    home = copy_home(founded, tmp_path / "home", url)
    with closing(open_runtime(home)) as runtime:
        secrets = enrol(runtime)
    with api_of(home, secrets) as made:
        yield made
    databases.drop(url)


@pytest.fixture(scope="module")
def steady(rest_home, tmp_path_factory):
    """An application for tests that change nothing in it."""
    home, secrets = rest_home
    with api_of(copy_home(home, tmp_path_factory.mktemp("steady") / "home"), secrets) as made:
        foreign_ca(made.runtime)
        yield made


@pytest.fixture
def ca(api):
    """A foreign CA whose root is in the RCP."""
    return foreign_ca(api.runtime)


@pytest.fixture
def garage(api):
    """Where vehicles are built for the environment of ``api``."""
    return Garage(api.runtime)
