"""Fixtures with OCSP responders in front of environments. A test module names this one in ``pytest_plugins``."""

import pytest

from tests.builders import EMAID
from tests.journeys.acts import copy_home
from tests.journeys.ocsp_acts import asked_at


@pytest.fixture
def asked(home):
    """A responder in front of an environment on SQLite."""
    with asked_at(home) as front:
        yield front


@pytest.fixture
def any_asked(any_home):
    """A responder in front of an environment on either database."""
    with asked_at(any_home) as front:
        yield front


@pytest.fixture(scope="module")
def shared(founded_home, tmp_path_factory):
    """A responder whose environment holds G and R, a good and a revoked contract, for tests that change nothing."""
    home = copy_home(founded_home, tmp_path_factory.mktemp("asked") / "home")
    with asked_at(home) as front:
        front.record, front.good = front.issue()
        _, front.revoked = front.issue(common_name=EMAID)
        front.revoke(front.revoked, 1)
        yield front
