"""The flows against a real Prefect server: signing, dispatching, sweeping, retrying by error family."""

import asyncio
import json
import os
from datetime import timedelta
from importlib import import_module

import pytest
from cryptography.hazmat.primitives import hashes
from sqlalchemy import text

from flows.chunk_worker import process_runtime
from flows.run_now import NOT_DRY
from flows.sample_batch import write_sample
from flows.schedules import FLOWS, SCHEDULES
from pki_core.model.errors import (
    ConstraintError,
    HsmPinRejectedError,
    HsmUnavailableError,
    InvariantError,
    OverdueError,
    StoreUnavailableError,
)
from pki_core.model.revocations import Reason
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import BatchState
from pki_core.runtime.founding import Founding, found_environment
from pki_core.services.batches import Batches
from pki_core.services.runners import running
from pki_core.services.uploads import Upload
from pki_core.wire.pool_certificate import read_certificate
from tests.builders import make_csr, new_key
from tests.journeys.acts import in_base64, upload_of, write_rows
from tests.journeys.contract_acts import P256, Garage
from tests.journeys.pool_acts import everything

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]

DRY_ELSEWHERE = {"check_pools", "clean_ccp", "remind_renewals", "sweep_expired", "sweep_stuck"}  # shown without Prefect
SETTINGS = "[certificates]\ned448_hierarchy = false\n[issuance]\nchunk_rows = 10\n"


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory):
    """One server for the module: starting it takes 20 s."""
    os.environ.setdefault("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def runtime(prefect_server, tmp_path_factory):  # noqa: ARG001  # Prefect is imported under its harness
    home = tmp_path_factory.mktemp("flows") / "home"
    found_environment(
        Founding(environment="dev", home=home, key_store="file", overrides=SETTINGS), lambda _line: None
    ).close()
    before = os.environ.get("PNCPKI_HOME")
    os.environ["PNCPKI_HOME"] = str(home)
    process_runtime.cache_clear()
    yield process_runtime(str(home))
    process_runtime.cache_clear()
    if before is None:
        del os.environ["PNCPKI_HOME"]
    else:
        os.environ["PNCPKI_HOME"] = before


@pytest.fixture
def submit(runtime, tmp_path):
    numbers = iter(range(1, 10))

    def submitted(rows, bad=0):
        path = tmp_path / f"{next(numbers)}.csv"
        write_sample(path, rows, bad)
        upload = Upload(path=path, source_name=path.name, partner_id="demo-mo", profile_name="contract_leaf")
        return runtime.uploads.submit(upload)[0].id

    return submitted


def task_runs_of(flow_run_id):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    async def read():
        async with get_client() as client:
            return await client.read_task_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])), limit=200
            )

    return asyncio.run(read())


def test_a_batch_of_sixty_chunks_is_one_flow_of_at_most_fifty_tasks(runtime, submit):
    from flows.sign_batches import sign_batches

    batch_id = submit(600, bad=14)
    state = sign_batches(batch_id, return_state=True)
    assert state.is_completed()
    batch, counts = runtime.batches.status(batch_id)
    assert (batch.state, counts.issued, counts.refused, counts.pending) == (BatchState.DONE, 586, 14, 0)
    assert 1 <= len(task_runs_of(state.state_details.flow_run_id)) <= 50


def test_running_a_signed_batch_again_does_nothing(submit):
    from flows.sign_batches import sign_batches

    batch_id = submit(30)
    assert sign_batches(batch_id) == {"chunks": 3, "issued": 30, "refused": 0}
    assert sign_batches(batch_id) == {"chunks": 0, "issued": 0, "refused": 0}


def test_worker_processes_of_one_flow_share_a_batch(runtime, submit):
    from flows.sign_batches import sign_batches

    batch_id = submit(60)
    assert sign_batches(batch_id, workers=2)["issued"] == 60
    assert runtime.batches.status(batch_id)[0].state is BatchState.DONE


def test_dispatch_signs_what_is_queued_and_then_finds_nothing(submit):
    from flows.dispatch import dispatch

    first, second = submit(15), submit(25)
    signed = dispatch()  # and whatever another test left queued
    assert (signed[first], signed[second]) == (15, 25)
    assert dispatch() == {}


def test_a_batch_that_waits_for_an_operator_stops_none_behind_it_and_is_told(runtime, submit, tmp_path):
    from flows.dispatch import dispatch
    from flows.sweep_stuck import sweep_stuck

    dispatch()  # what another test left queued
    csr = in_base64(make_csr("DEPNCC00000301", new_key(KeyAlgorithm.SECP521R1), digest=hashes.SHA512()))
    path = write_rows(tmp_path / "of-20.csv", [["first", csr, ""]])
    waits = runtime.uploads.submit(upload_of(path, profile="contract_leaf_20"))[0].id
    goes = submit(10)
    issuer = runtime.issuers.get(runtime.batches.get(waits).issuer_label).record
    serial = read_certificate(issuer.certificate_der).serial
    runtime.revocations.revoke(serial, Reason.CERTIFICATE_HOLD, actor="test", witnesses=("alice", "bob"))
    for run in (lambda: dispatch(at_most=1), dispatch):
        with pytest.raises(OverdueError, match=f"batches are not signed: batch {waits}: CA {issuer.label}, "):
            run()
        assert runtime.batches.status(goes)[1].issued == 10
    runtime.revocations.release(serial, actor="test")
    runtime.partners.suspend("demo-mo", by="test")
    assert (dispatch(), sweep_stuck()["resumable"]) == ({}, [])
    runtime.partners.resume("demo-mo", by="test")
    assert dispatch() == {waits: 1}


def test_a_batch_that_fails_stops_none_behind_it_and_is_told(runtime, submit, monkeypatch):
    from flows.dispatch import dispatch
    from flows.sweep_stuck import sweep_stuck

    dispatch()  # what another test left queued
    fails, stuck, goes = submit(10), submit(20), submit(10)
    with running() as runner:
        runtime.batches.sign_next_chunk(stuck, runner)
    real, faults = Batches.sign_next_chunk, [InvariantError("our own fault"), ConstraintError("refused")]

    def failing(batches, batch_id, runner):
        if batch_id == fails:
            raise faults[-1]
        return real(batches, batch_id, runner)

    with monkeypatch.context() as patched:
        patched.setattr(Batches, "sign_next_chunk", failing)
        with pytest.raises(OverdueError, match=f"^batches are not signed: batch {fails}: refused$"):
            dispatch()
        assert runtime.batches.status(goes)[1].issued == 10
        faults.pop()
        with runtime.store.transaction() as work:  # begun, and left by its runner
            work.batches.move(runtime.batches.get(fails), BatchState.RUNNING, runtime.clock.now())
        with pytest.raises(OverdueError, match=f"^batches are not signed: batch {fails}: our own fault$"):
            sweep_stuck()
        assert runtime.batches.status(stuck)[1].issued == 20
    assert fails in sweep_stuck()["resumable"]
    assert runtime.batches.status(fails)[1].issued == 10


@pytest.mark.parametrize("error", [HsmUnavailableError, HsmPinRejectedError, StoreUnavailableError])
def test_what_no_batch_is_signed_without_is_asked_for_once(submit, monkeypatch, error):
    from flows.dispatch import dispatch

    asked = []

    def away(_batches, batch_id):
        asked.append(batch_id)
        raise error("not now")

    first, second = submit(10), submit(10)
    with monkeypatch.context() as patched:
        patched.setattr(Batches, "check_ready", away)
        with pytest.raises(error):
            dispatch()
    assert len(asked) == 1
    signed = dispatch()
    assert (signed[first], signed[second]) == (10, 10)


def test_a_batch_whose_runner_died_is_swept_up_and_signed(runtime, submit):
    from flows.sweep_stuck import sweep_stuck

    batch_id = submit(20)
    dead = _token_of_a_dead_process()
    with runtime.store.transaction() as work:
        batch = work.batches.get(batch_id)
        now = runtime.clock.now()
        work.chunks.claim(batch.number, dead, now, now.replace(year=now.year + 1))
        work.batches.move(batch, BatchState.RUNNING, now)
    looked = sweep_stuck(dry_run=True)
    assert looked["resumable"] == [batch_id]
    assert runtime.batches.status(batch_id)[1].pending == 20
    assert sweep_stuck()["freed_chunks"] == 1
    assert runtime.batches.status(batch_id)[1].issued == 20


def test_a_token_that_is_away_is_tried_again_and_a_fault_of_ours_is_not(submit, monkeypatch):
    from flows import sign_batches as module

    real = Batches.sign_next_chunk
    raised = []

    def away_once(self, batch_id, runner):
        if not raised:
            raised.append(1)
            raise HsmUnavailableError("the token is away")
        return real(self, batch_id, runner)

    monkeypatch.setattr(Batches, "sign_next_chunk", away_once)
    assert module.sign_batches(submit(10))["issued"] == 10

    def broken(_self, _batch_id, _runner):
        raised.append(1)
        raise InvariantError("our own fault")

    monkeypatch.setattr(Batches, "sign_next_chunk", broken)
    before = len(raised)
    state = module.sign_batches(submit(10), return_state=True)
    assert state.is_failed()
    assert len(raised) == before + 1


def test_flows_keep_responders_and_answers_young(runtime):
    from flows.refresh_ocsp import refresh_ocsp
    from flows.rotate_responders import rotate_responders

    kept = rotate_responders()
    assert (kept["made"], kept["skipped"]) == ([], ["tls-root"])
    with runtime.store.transaction() as work:  # another test may have run the flow before
        work.audit._connection.execute(text("DELETE FROM ocsp_response"))
    first = refresh_ocsp()
    assert first["signed"] > len(kept["kept"])
    assert first["unanswered"] == ["tls-root"]
    assert abs(first["oldest_this_update"] - runtime.clock.now().timestamp()) < 300
    assert refresh_ocsp()["signed"] == 0


def test_a_table_of_contracts_is_made_by_a_flow_and_renewed_by_another(runtime, tmp_path):
    from flows.issue_contracts import issue_contracts
    from flows.renew_contracts import renew_contracts

    Garage(runtime).build_many(["WPNFLOW0000000001", "WPNFLOW0000000002"])
    now = runtime.clock.now()
    ends = (now + timedelta(days=20)).isoformat()
    table = [(f"DEPNC00000700{n}", f"WPNFLOW000000000{n}", now.isoformat(), ends, 100) for n in (1, 2, 3)]
    path = write_rows(tmp_path / "contracts.csv", table, ("emaid", "pcid", "begins", "ends", "renew_days"))
    made = issue_contracts(str(path), "demo-mo")
    assert (made["issued"], made["refused"], made["pending"]) == (2, 1, 0)
    assert issue_contracts(str(path), "demo-mo") == made
    assert renew_contracts(dry_run=True)["renewed"] == 2
    signer = runtime.contracts.signers.choose(P256).record
    runtime.revocations.revoke(signer.serial, Reason.CERTIFICATE_HOLD, actor="test")
    state = renew_contracts(return_state=True)
    assert state.is_failed()
    with pytest.raises(OverdueError, match="2 of demo-mo, secp256r1: no CPS signer"):
        state.result()
    runtime.revocations.release(signer.serial, actor="test")
    assert renew_contracts() == {"renewed": 2, "refused": 0, "unfinished": False, "failures": ()}
    assert renew_contracts()["renewed"] == 0


def test_every_flow_runs_once_and_leaves_its_table(runtime, submit):
    batch_id = submit(10)
    found = {name: getattr(import_module(f"flows.{name}"), name)() for name in FLOWS}  # the alarm is the last of them
    assert found["dispatch"][batch_id] == 10
    assert found["sweep_expired"]["provisioning"] == 0
    assert found["seal_audit"]["rows"] > 0
    assert found["watch_ages"]["late"] == []
    tables = {one.key: one.data for one in tables_of(FLOWS)}
    assert set(tables) == {name.replace("_", "-") for name in FLOWS}
    assert {"batch": batch_id, "issued": 10} in json.loads(tables["dispatch"])
    assert "last sweep_expired" in tables["watch-ages"]
    assert runtime.batches.status(batch_id)[0].state is BatchState.DONE


@pytest.mark.parametrize("name", sorted(set(FLOWS) - NOT_DRY - DRY_ELSEWHERE))
def test_every_flow_that_can_report_only_changes_nothing(runtime, submit, name):
    batch_id = submit(10)
    before = everything(runtime)
    getattr(import_module(f"flows.{name}"), name)(dry_run=True)
    assert everything(runtime) == before
    assert runtime.batches.status(batch_id)[1].pending == 10
    runtime.batches.cancel(batch_id, actor="test")


def test_the_alarm_fails_and_says_what_is_late(runtime):
    from flows.watch_ages import watch_ages

    runtime.pools.ccp_cleanup.run()
    with runtime.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE mark SET at = at - 36000 WHERE name = 'clean_ccp'"))
    state = watch_ages(return_state=True)
    assert state.is_failed()
    with pytest.raises(OverdueError, match="last clean_ccp: 6"):
        state.result()


@pytest.mark.usefixtures("runtime")
def test_one_machine_serves_every_flow_by_the_schedule_of_the_list():
    from flows.serve_here import deployments_here

    for one, made in zip(SCHEDULES, deployments_here("dev"), strict=True):
        made.apply()
        stored = deployment(f"{one.flow.replace('_', '-')}/dev")
        assert stored.entrypoint == f"flows.{one.flow}.{one.flow}"
        assert [schedule.schedule.cron for schedule in stored.schedules] == ([one.cron] if one.cron else [])
        assert stored.global_concurrency_limit.limit == one.at_once


def deployment(name):
    from prefect.client.orchestration import get_client

    async def read():
        async with get_client() as client:
            return await client.read_deployment_by_name(name)

    return asyncio.run(read())


def tables_of(names):
    from prefect.client.orchestration import get_client

    async def read():
        async with get_client() as client:
            return [one for one in await client.read_latest_artifacts(limit=200) if one.type == "table"]

    wanted = {name.replace("_", "-") for name in names}
    return [one for one in asyncio.run(read()) if one.key in wanted]


def _token_of_a_dead_process():
    from pki_core.services.runners import runner_token

    place, pid, _start, rest = runner_token().rsplit("/", 3)
    return f"{place}/{pid}/1/{rest}"
