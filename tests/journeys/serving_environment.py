"""The fixture of a running web server; a test module names this one in ``pytest_plugins``."""

import pytest

from tests.journeys.acts import copy_home
from tests.journeys.serving_acts import SHORT_TIMES, add_settings, serving


@pytest.fixture(scope="session")
def served(founded_home, tmp_path_factory):
    """One server for all tests that leave it as it was."""
    home = add_settings(copy_home(founded_home, tmp_path_factory.mktemp("served") / "home"), SHORT_TIMES)
    with serving(home) as running:
        yield running
