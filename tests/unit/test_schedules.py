"""One list of flows: what one machine runs, what deployments/prefect.yaml deploys in QA and PROD, what runs now."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from flows.run_now import NOT_DRY, run_flow
from flows.schedules import FLOWS, MAINTENANCE, SCHEDULES, SIGNING
from pki_core.model.errors import MalformedError
from pki_core.services.ages import LAST_RUNS

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
NEEDED = {  # the list of the maintenance job
    *("check_pools", "sweep_expired", "clean_ccp", "publish_crls", "rotate_responders", "refresh_ocsp"),
    *("deliver_webhooks", "remind_renewals", "sweep_stuck", "dispatch", "watch_ages"),
}
NEED_NO_TOKEN = {"check_pools", "sweep_expired", "clean_ccp", "deliver_webhooks", "remind_renewals", "watch_ages"}


@pytest.mark.parametrize("environment", ["qa", "prod"])
def test_the_file_deploys_every_flow_of_the_list_in_each_environment(environment):
    deployed = {}
    for one in DEPLOYMENTS:
        if one["name"] == environment:
            module, _, function = one["entrypoint"].partition(":")
            assert module == f"flows.{function}"
            deployed[function] = one
    assert list(deployed) == [one.flow for one in SCHEDULES]
    for one in SCHEDULES:
        told = deployed[one.flow]
        assert [schedule["cron"] for schedule in told.get("schedules", [])] == ([one.cron] if one.cron else [])
        assert all(schedule["active"] and schedule["timezone"] == "UTC" for schedule in told.get("schedules", []))
        assert told["work_pool"]["name"] == f"{environment}-{one.zone}"
        assert told["concurrency_limit"]["limit"] == one.at_once
        assert told["concurrency_limit"]["collision_strategy"] == ("CANCEL_NEW" if one.cron else "ENQUEUE")


def test_the_file_deploys_nothing_else():
    assert {one["name"] for one in DEPLOYMENTS} == {"qa", "prod"}
    assert len(DEPLOYMENTS) == 2 * len(SCHEDULES)


def test_every_flow_but_those_that_need_a_batch_or_a_file_can_be_run_now_and_has_a_schedule():
    assert set(FLOWS) == {one.flow for one in SCHEDULES} - {"sign_batches", "issue_contracts"}
    assert all(one.cron for one in SCHEDULES if one.flow in FLOWS)
    assert set(FLOWS) >= NEEDED
    assert all(find_spec(f"flows.{name}") for name in FLOWS)
    assert set(FLOWS) > NOT_DRY


def test_only_flows_that_sign_run_beside_the_token():
    assert {one.flow for one in SCHEDULES if one.zone == MAINTENANCE} == NEED_NO_TOKEN
    assert {one.zone for one in SCHEDULES} == {SIGNING, MAINTENANCE}


def test_the_alarm_watches_sweeps_that_are_flows():
    assert set(LAST_RUNS) <= set(FLOWS)


def test_the_help_of_run_names_every_flow():
    text = Path(import_module("flows.cli").__file__).read_text()
    help_of_run = text.partition('"""Run a flow now."""')[0].rpartition("@app.command()")[2]
    assert [name for name in FLOWS if name not in help_of_run] == []


@pytest.mark.parametrize("name", [one.flow for one in SCHEDULES if one.parameter])
def test_a_flow_that_needs_a_batch_or_a_file_says_which_command_runs_it(name):
    with pytest.raises(MalformedError, match=f"{name} is run by .*pncpki batch sign"):
        run_flow(name, None, dry_run=False)
