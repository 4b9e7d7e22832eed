"""Cancelling batches over HTTP: what is signed stays, what is not is refused, whoever is at work meanwhile."""

from contextlib import closing

import pytest

from pki_core.runtime import open_runtime
from tests.journeys.acts import rows
from tests.journeys.batch_api_acts import ApiClient, sign

pytest_plugins = ["tests.journeys.batch_api_environments"]


@pytest.mark.slow
def test_cancelling_refuses_what_is_not_signed_and_keeps_what_is(any_home, table):
    with (any_home / "pncpki.toml").open("a") as file:
        file.write("\n[issuance]\nchunk_rows = 2\n")
    with closing(open_runtime(any_home)) as runtime:
        uploader = ApiClient(runtime)
        batch_id = uploader.batch(table(5, bad=1))
        sign(runtime, batch_id, chunks=1)
        status = uploader.post(f"/v1/batches/{batch_id}/cancel").json
        assert (status["state"], status["issued"], status["refused"], status["pending"]) == ("done", 2, 4, 0)
        items = uploader.get(f"/v1/batches/{batch_id}/items").json["items"]
        assert [item["code"] for item in items[:5]] == ["issued"] * 2 + ["batch.cancelled"] * 3
        assert items[5]["code"] != "batch.cancelled"  # it had its verdict before
        assert uploader.post(f"/v1/batches/{batch_id}/cancel").json == status
        sign(runtime, batch_id)
        assert uploader.get(f"/v1/batches/{batch_id}").json == status
        told = rows(runtime, "SELECT actor, action FROM audit WHERE action IN ('batch.cancelled', 'batch.done')")
        assert [action for _, action in told] == ["batch.cancelled", "batch.done"]
        assert told[0][0] == "demo-mo"


@pytest.mark.slow
def test_a_cancelling_that_breaks_off_is_finished_by_whoever_runs_the_batch(home, table, monkeypatch):
    with (home / "pncpki.toml").open("a") as file:
        file.write("\n[issuance]\nchunk_rows = 2\n")
    with closing(open_runtime(home)) as runtime:
        uploader = ApiClient(runtime)
        batch_id = uploader.batch(table(6))
        sign_next = runtime.batches.sign_next_chunk
        calls = []

        def break_off(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return sign_next(*arguments)

        monkeypatch.setattr(runtime.batches, "sign_next_chunk", break_off)
        with pytest.raises(KeyboardInterrupt):
            runtime.batches.cancel(batch_id, "demo-mo")
        monkeypatch.undo()
        status = uploader.get(f"/v1/batches/{batch_id}").json
        assert (status["state"], status["refused"], status["pending"]) == ("cancelling", 2, 4)
        assert runtime.maintenance.sweep_stuck().resumable == (batch_id,)
        sign(runtime, batch_id)
        status = uploader.get(f"/v1/batches/{batch_id}").json
        assert (status["state"], status["issued"], status["refused"]) == ("done", 0, 6)


@pytest.mark.slow
def test_a_chunk_that_is_being_signed_when_the_batch_is_cancelled_stays_its_signers(environment, table, monkeypatch):
    uploader = ApiClient(environment)
    batch_id = uploader.batch(table(2))
    issuer = environment.issuers.get(environment.batches.get(batch_id).issuer_label)
    sign_all = type(issuer).sign
    during = []

    def cancel_meanwhile(self, prepared, keep):
        if not during:
            during.append(uploader.post(f"/v1/batches/{batch_id}/cancel").json)
        return sign_all(self, prepared, keep)

    monkeypatch.setattr(type(issuer), "sign", cancel_meanwhile)
    sign(environment, batch_id)
    assert (during[0]["state"], during[0]["pending"]) == ("cancelling", 2)
    status = uploader.get(f"/v1/batches/{batch_id}").json
    assert (status["state"], status["issued"], status["refused"]) == ("done", 2, 0)
