"""A publisher killed at each step: the list before is served, the next run publishes, no number is used twice."""

import subprocess
import sys

import pytest

from tests.journeys.acts import ROOT, copy_home, rows
from tests.journeys.crl_acts import LABEL, crl_of, der_of, leaf, listed, number_of, opened, revoke

pytest_plugins = ["tests.journeys.environments"]
pytestmark = pytest.mark.slow

CHILD = """
import os, signal, sys
from pathlib import Path
from pki_core.runtime.wiring import open_runtime
from pki_core.services.crl_build import CrlFile
from pki_core.services.crl_scope import ScopePublisher
from pki_core.store.crls import CrlGateway

def die(*_args):
    os.kill(os.getpid(), signal.SIGKILL)

def die_behind(owner, name):
    real = getattr(owner, name)
    def doubled(*args, **kwargs):
        real(*args, **kwargs)
        die()
    setattr(owner, name, doubled)

home, owner, name, when = sys.argv[1:]
owner = {"file": CrlFile, "publisher": ScopePublisher, "gateway": CrlGateway}[owner]
if when == "before":
    setattr(owner, name, die)
else:
    die_behind(owner, name)
open_runtime(Path(home)).crls.publish("mo-sub2")
"""
POINTS = {
    "after the claim": ("publisher", "_make", "before"),
    "between build and signature": ("file", "sign", "before"),
    "between signature and store": ("publisher", "_store_list", "before"),
    "in the middle of storing": ("gateway", "add_pieces", "behind"),
    "between store and publication": ("publisher", "_store_list", "behind"),
    "in the middle of publishing": ("gateway", "point", "behind"),
    "after publishing": ("publisher", "_publish", "behind"),
}


def run_killed(home, point):
    with opened(home) as runtime:
        serial, _ = leaf(runtime)
        revoke(runtime, serial)
        before = der_of(runtime, LABEL)
    killed = subprocess.run([sys.executable, "-c", CHILD, home, *point], cwd=ROOT, check=False)
    assert killed.returncode == -9
    with opened(home) as runtime:
        was_published = point[1:] == ("_publish", "behind")
        assert (der_of(runtime, LABEL) == before) is not was_published
        runtime.clock.advance(seconds=5)
        runtime.crls.publish(LABEL)  # at once: the runner is known to be dead, its lease need not end
        crl = crl_of(runtime)
        assert listed(crl) == [serial]
        assert number_of(crl) == 3  # the killed run's number is burned
        stored = rows(runtime, "SELECT scope, crl_number FROM crl JOIN issuer ON issuer.id = issuer_id"
                      " WHERE label = 'mo-sub2' ORDER BY crl_number")  # fmt: skip
        assert stored == [("full", number) for number in ([1, 2, 3] if was_published else [1, 3])]
        assert rows(runtime, "SELECT count(*) FROM crl_piece WHERE crl_id NOT IN (SELECT id FROM crl)") == [(0,)]


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_the_next_run_publishes_what_a_killed_one_did_not(home, point):
    run_killed(home, point)


@pytest.mark.postgres
@pytest.mark.parametrize("point", ["in the middle of storing", "in the middle of publishing"])
def test_the_same_on_postgresql(founded_postgres, tmp_path, point):
    home, databases = founded_postgres
    url = databases.create()
    run_killed(copy_home(home, tmp_path / "home", url), POINTS[point])
    databases.drop(url)


def test_a_runner_on_another_machine_is_waited_for_till_its_lease_ends(home):
    from pki_core.model.errors import ConflictError

    with opened(home) as runtime:
        with runtime.store.transaction() as work:
            issuer = work.issuers.get(LABEL)
            until = runtime.clock.now().replace(year=runtime.clock.now().year + 1)
            assert work.crls.claim(issuer.id, "full", "elsewhere/boot/1/2/3/aa", "", until) == 2
        with pytest.raises(ConflictError):
            runtime.crls.publish(LABEL)
        assert f"{LABEL}.crl" not in runtime.crls.publish_due(everything=True).published
        runtime.clock.moment = until
        with runtime.store.transaction() as work:
            assert work.crls.claim(issuer.id, "full", "third", "somebody", until) is None  # who is not the holder
        runtime.crls.publish(LABEL)
        assert number_of(crl_of(runtime)) == 3
