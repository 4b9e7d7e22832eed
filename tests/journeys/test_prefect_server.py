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
