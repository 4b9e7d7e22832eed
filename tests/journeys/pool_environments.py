"""Fixtures for the pools: environments with a clock that is set and a status source that obeys."""

import pytest

from tests.journeys.pool_acts import (
    opened,
)

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def runtime(any_home):
    with opened(any_home) as runtime:
        yield runtime


@pytest.fixture
def light(home):
    """On SQLite, where no SQL is at stake."""
    with opened(home) as runtime:
        yield runtime
