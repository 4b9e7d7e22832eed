"""Our Prefect server starts what is scheduled: a deployment with a cron line gets runs."""

import subprocess
import sys

import pytest

from tests.journeys.acts import ROOT, operator_environment

_DEPLOY_AND_WAIT = """
import asyncio, os, time
from flows.prefect_server import temporary_server
with temporary_server("PNCPKI_PIN") as url:
    os.environ["PREFECT_API_URL"] = url
    from prefect.client.orchestration import get_client
    from flows.serve_here import deployments_here
    made = next(one for one in deployments_here("dev") if one.flow_name == "dispatch")
    made.apply()
    async def look():
        async with get_client() as client:
            return [run.state_name for run in await client.read_flow_runs(limit=5)]
    end = time.monotonic() + 30
    while not (found := asyncio.run(look())) and time.monotonic() < end:
        time.sleep(0.5)
    print(set(found))
"""

_INSERT = """
from prefect.server.database.orm_models import FlowRun
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm.bulk_persistence import _expand_other_attrs
from flows.prefect_server import _mend_scheduler
try:
    _expand_other_attrs(FlowRun.__mapper__, [{"state": {}, "name": "a"}])
except InvalidRequestError:
    print("InvalidRequestError")  # once this is gone, so may the mend be
_mend_scheduler()
_expand_other_attrs(FlowRun.__mapper__, [{"state": {}, "name": "a"}])
print("taken")
"""

_SERVE = """
import os
import uvicorn
uvicorn.run = lambda *_, **__: None
from typer.testing import CliRunner
from flows.cli import app
assert CliRunner().invoke(app, ["prefect-server"]).exit_code == 0
from prefect.settings import get_current_settings
print(get_current_settings().server.analytics_enabled, os.environ["DO_NOT_TRACK"])
"""


@pytest.mark.parametrize(("said", "told"), [({}, "False 1"), ({"PREFECT_SERVER_ANALYTICS_ENABLED": "true"}, "True 1")])
def test_our_server_reports_to_nobody_unless_it_is_told_to(said, told):
    command = [sys.executable, "-c", _SERVE]
    environment = operator_environment()
    for name in ("PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK"):
        environment.pop(name, None)
    done = subprocess.run(command, cwd=ROOT, env=environment | said, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [told], done.stderr


def test_what_the_scheduler_inserts_is_taken():
    """In a process of its own: what is mended stays mended."""
    command = [sys.executable, "-c", _INSERT]
    done = subprocess.run(command, cwd=ROOT, env=operator_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["InvalidRequestError", "taken"]


@pytest.mark.soak
@pytest.mark.enable_socket
def test_a_deployment_with_a_schedule_gets_runs(tmp_path):
    more = {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-c", _DEPLOY_AND_WAIT]
    environment = operator_environment(PREFECT_LOGGING_LEVEL="ERROR", **more)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'Scheduled'}"
