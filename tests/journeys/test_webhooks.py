"""Webhooks: endpoints of partners over HTTP, events told to real receivers, retries, refusals, replays, bad input."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from pki_core.model.errors import SettingsError
from pki_core.model.webhooks import DeliveryState, WebhookPolicy, events_for, state_after
from pki_core.runtime import open_runtime
from pki_core.services.webhook_secrets import WebhookSecrets
from tests.builders import SetClock
from tests.journeys.acts import rows
from tests.journeys.hooks import heard_by, receiver
from tests.journeys.webhook_acts import EMAID, PCID, PLACE, HookClient, deliver, happen

pytest_plugins = ["tests.journeys.environments"]


@pytest.fixture
def client(environment):
    return HookClient(environment)


def test_an_endpoint_is_made_read_changed_and_removed(client):
    made = client.added(description="mine", metadata={"a": 1})
    assert set(made) >= {"id", "apiVersion", "created", "secret", "providerIds", "wmis", "userRole", "userName"}
    assert (made["status"], made["userName"], made["userRole"]) == ("enabled", "demo-mo", "mo")
    assert len(made["secret"]) == 64
    place = f"{PLACE}/{made['id']}"
    assert client.call("GET", place).json == made
    assert client.call("GET").json == [made]
    changed = client.call("PUT", place, json={**made, "url": "https://other.example.com/", "status": "disabled"})
    assert (changed.status_code, changed.json) == (
        200,
        {**made, "url": "https://other.example.com/", "status": "disabled"},
    )
    assert client.call("GET", f"/opnc/v1/event/endpoints/{made['id']}").json == changed.json
    assert client.call("DELETE", place).status_code == 200
    assert client.call("GET", place).status_code == 404
    assert client.call("DELETE", place).status_code == 404
    told = rows(client.runtime, "SELECT actor, action FROM audit WHERE action LIKE 'webhook.%' ORDER BY id")
    assert told == [("demo-mo", f"webhook.{act}") for act in ("added", "changed", "removed")]


def test_a_partner_sees_his_own_endpoints_only(client):
    place = f"{PLACE}/{client.added()['id']}"
    other = HookClient(client.runtime, "demo-oem", client.app)
    assert other.call("GET").json == []
    assert other.call("GET", place).status_code == 404
    assert other.call("PUT", place, json={"status": "disabled"}).status_code == 404
    assert other.call("DELETE", place).status_code == 404
    assert client.call("GET", place).json["status"] == "enabled"
    assert client.app.test_client().get(PLACE).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "https://a.example.com/"},
        {"url": "https://a.example.com/", "enabledEvents": []},
        {"url": "https://a.example.com/", "enabledEvents": ["oem.contract.created"]},  # another role's
        {"url": "https://a.example.com/", "enabledEvents": ["no.such.event"]},
        {"url": "https://a.example.com/", "enabledEvents": "mo.prov.cert.deleted"},
        {"url": "https://a.example.com/", "enabledEvents": [1]},
        {"url": "ftp://a.example.com/", "enabledEvents": ["root.cert.added"]},
        {"url": "https://10.0.0.1/", "enabledEvents": ["root.cert.added"]},
        {"url": "https://[::ffff:169.254.169.254]/", "enabledEvents": ["root.cert.added"]},
        {"url": "https://user:secret@a.example.com/", "enabledEvents": ["root.cert.added"]},
        {"url": 5, "enabledEvents": ["root.cert.added"]},
        {"url": "https://a.example.com/", "enabledEvents": ["root.cert.added"], "status": "on"},
        {"url": "https://a.example.com/", "enabledEvents": ["root.cert.added"], "metadata": []},
        {"url": "https://a.example.com/", "enabledEvents": ["root.cert.added"], "metadata": {"a": "x" * 5000}},
        {"url": "https://a.example.com/", "enabledEvents": ["root.cert.added"], "description": "x" * 501},
        {"url": "https://a.example.com/", "enabledEvents": ["root.cert.added"], "description": "\0"},
        {"url": "https://a.example.com/" + "x" * 2048, "enabledEvents": ["root.cert.added"]},
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(client, body):
    answer = client.call("POST", json=body)
    assert answer.status_code == 400
    assert set(answer.json) == {"errorMessages", "traceId"}
    assert client.call("GET").json == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 60_000, b"x" * 70_000])
def test_a_body_that_is_no_object_is_refused(client, body):
    assert client.call("POST", data=body, content_type="application/json").status_code in {400, 413}


def test_outside_dev_an_endpoint_has_tls(home):
    with (home / "pncpki.toml").open("a") as file:
        file.write("\n[webhooks]\nplain_http = false\nmax_endpoints = 2\n")
    with closing(open_runtime(home)) as runtime:
        client = HookClient(runtime)
        assert client.add("http://a.example.com/").status_code == 400
        assert [client.add().status_code for _ in range(3)] == [201, 201, 409]


def test_endpoints_that_are_made_at_once_are_no_more_than_a_partner_may_have(any_environment):
    client = HookClient(any_environment)
    for _ in range(18):
        client.added()
    ready = threading.Barrier(6)

    def add(_):
        ready.wait(10)
        return client.add().status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(add, range(6))) == [201] * 2 + [409] * 4
    assert len(client.call("GET").json) == 20


def test_an_event_is_told_to_those_it_is_for_and_signed(any_environment):
    client = HookClient(any_environment)
    oem = HookClient(any_environment, "demo-oem", client.app)
    provider = min(prefix for one in any_environment.partners.all() for prefix in one.provider_prefixes)
    with receiver() as mine, receiver() as theirs:
        secret = client.added(mine.url, ["mo.prov.cert.deleted", "root.cert.added"])["secret"]
        oem_secret = oem.added(theirs.url, ["oem.contract.created", "root.cert.added"])["secret"]
        happen(any_environment, scope=provider, namespace=22)
        happen(any_environment, scope="XXXXX")  # another operator's
        happen(any_environment, "mo.prov.cert.updated", provider)  # not asked for
        happen(any_environment, "root.cert.added", "", pcid="", emaid="", root_id="a-root")
        assert deliver(any_environment) == (3, 0, 0, 0)
        events = {event["eventType"]: event for event in heard_by(mine, secret)}
        assert set(events) == {"mo.prov.cert.deleted", "root.cert.added"}
        deleted = events["mo.prov.cert.deleted"]
        assert deleted["payload"] == {"pcid": PCID, "emaid": EMAID}
        assert deleted["xsdMsgDefNamespace"] == "urn:iso:15118:20:2022:MsgDef"
        assert deleted["timestamp"] == "2026-02-02T02:40:00Z"
        assert uuid.UUID(deleted["eventId"])
        (told,) = heard_by(theirs, oem_secret)
        assert told["payload"] == {"rootCertificateId": "a-root"}
        assert "xsdMsgDefNamespace" not in told
        assert deliver(any_environment) == (0, 0, 0, 0)
        assert (len(mine.heard), len(theirs.heard)) == (2, 1)


def test_an_event_has_the_name_of_the_interface_it_was_asked_for_in(environment):
    client = HookClient(environment)
    with receiver() as opcp, receiver() as opnc, receiver() as both:
        place = "/opnc/v1/event/endpoints"
        wanted = {"url": opnc.url, "enabledEvents": ["emsp.prov.cert.deleted", "root.cert.added"]}
        made = client.call("POST", place, json=wanted)
        assert (made.status_code, made.json["enabledEvents"]) == (201, wanted["enabledEvents"])
        secrets = {opnc: made.json["secret"]}
        for server, names in (
            (opcp, ["mo.prov.cert.deleted"]),
            (both, ["mo.prov.cert.deleted", *wanted["enabledEvents"]]),
        ):
            secrets[server] = client.added(server.url, names)["secret"]
        happen(environment, scope="DEPNC")
        happen(environment, "mo.prov.cert.updated", "DEPNC")  # asked for under no name
        assert deliver(environment) == (3, 0, 0, 0)
        told = {server: [event["eventType"] for event in heard_by(server, secrets[server])] for server in secrets}
        assert told == {
            opcp: ["mo.prov.cert.deleted"],
            opnc: ["emsp.prov.cert.deleted"],
            both: ["mo.prov.cert.deleted"],
        }
    oem = HookClient(environment, "demo-oem", client.app)
    assert oem.add(events=["emsp.prov.cert.deleted"]).status_code == 400


def test_an_endpoint_that_fails_is_asked_again_three_times_and_then_given_up(home):
    clock = SetClock()
    with closing(open_runtime(home, clock)) as runtime, receiver() as server:
        HookClient(runtime).added(server.url)
        happen(runtime)
        server.answers = [500, 503, 502, 500, 200]
        assert deliver(runtime) == (0, 0, 0, 1)
        clock.advance(minutes=59)
        assert deliver(runtime) == (0, 0, 0, 1)
        assert len(server.heard) == 1
        for attempts in (2, 3):
            clock.advance(minutes=60)
            assert deliver(runtime) == (0, 0, 0, 1)
            assert len(server.heard) == attempts
        clock.advance(minutes=60)
        assert deliver(runtime) == (0, 0, 1, 0)
        clock.advance(days=1)
        assert deliver(runtime) == (0, 0, 0, 0)
        assert len(server.heard) == 4
        assert len({body for _, _, body in server.heard}) == 1  # the same bytes each time


def test_an_endpoint_that_comes_back_hears(home):
    clock = SetClock()
    with closing(open_runtime(home, clock)) as runtime, receiver() as server:
        HookClient(runtime).added(server.url)
        happen(runtime)
        server.answers = [500]
        deliver(runtime)
        clock.advance(hours=1)
        assert deliver(runtime) == (1, 0, 0, 0)


@pytest.mark.parametrize("status", [400, 409, 404])
def test_a_no_is_a_no(environment, status):
    with receiver() as server:
        HookClient(environment).added(server.url)
        happen(environment)
        server.answers = [status]
        assert deliver(environment) == (0, 1, 0, 0)
        assert deliver(environment) == (0, 0, 0, 0)
        (delivery,) = environment.access.webhook_deliveries.recent(DeliveryState.REFUSED, 10)
        assert (delivery.last_status, delivery.attempts) == (status, 1)


def test_a_redirect_is_nobody(environment):
    with receiver() as server:
        HookClient(environment).added(server.url)
        happen(environment)
        server.answers = [302]
        assert deliver(environment) == (0, 0, 1, 0)


def test_a_call_that_outlasts_its_lease_does_not_overwrite_what_a_later_one_found(home, monkeypatch):
    clock = SetClock()
    with closing(open_runtime(home, clock)) as runtime, receiver() as server:
        HookClient(runtime).added(server.url)
        happen(runtime)
        server.answers = [200, 503]
        deliveries = runtime.access.webhook_deliveries
        honest = deliveries._send

        def slow(*claimed):
            answered = honest(*claimed)
            monkeypatch.setattr(deliveries, "_send", honest)
            clock.advance(minutes=6)
            assert deliver(runtime) == (0, 0, 0, 1)
            return answered

        monkeypatch.setattr(deliveries, "_send", slow)
        deliver(runtime)
        (delivery,) = deliveries.recent(None, 10)
        assert (delivery.state, delivery.attempts, delivery.last_status) == (DeliveryState.WAITING, 2, 503)
        assert len(server.heard) == 2


def test_an_endpoint_that_is_gone_or_disabled_hears_nothing_more(environment):
    client = HookClient(environment)
    with receiver() as server:
        gone, off = client.added(server.url), client.added(server.url)
        server.answers = [500, 500]
        happen(environment)
        assert deliver(environment) == (0, 0, 0, 2)
        client.call("DELETE", f"{PLACE}/{gone['id']}")
        client.call("PUT", f"{PLACE}/{off['id']}", json={"status": "disabled"})
        with environment.store.transaction() as work:
            from sqlalchemy import text

            work.audit._connection.execute(text("UPDATE webhook_delivery SET next_at = 0"))
        assert deliver(environment) == (0, 0, 2, 0)
        happen(environment)
        assert deliver(environment) == (0, 0, 0, 0)
        assert len(server.heard) == 2


def test_a_name_that_leads_inside_by_now_is_not_called(home):
    with (home / "pncpki.toml").open("a") as file:
        file.write('\n[outbound]\nallowed_networks = ["10.0.0.0/8"]\n')
    with closing(open_runtime(home)) as runtime, receiver() as server:
        HookClient(runtime).added(server.url.replace("127.0.0.1", "localhost"))
        happen(runtime)
        assert deliver(runtime) == (0, 0, 1, 0)
        assert server.heard == []


def test_an_endpoint_that_is_away_does_not_hold_the_others_up(environment):
    client = HookClient(environment)
    with receiver() as server:
        away = receiver()
        with away as dead:
            dead_url = dead.url
        client.added(dead_url)
        happen(environment, count=100)
        assert deliver(environment)[3] == 100
        calls = rows(environment, "SELECT count(*) FROM webhook_delivery WHERE attempts > 0")
        assert calls[0][0] <= 32  # what one round had claimed; the rest is put off and not counted as tried
        client.added(server.url)
        happen(environment)
        assert deliver(environment)[0] == 1


def test_two_runs_at_once_tell_each_event_once(any_home):
    with closing(open_runtime(any_home)) as one, closing(open_runtime(any_home)) as other, receiver() as server:
        HookClient(one).added(server.url)
        happen(one, count=60)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(deliver, (one, other)))
        deliver(one)
        assert len(server.heard) == 60
        assert len({body for _, _, body in server.heard}) == 60


def test_a_run_that_dies_after_the_call_tells_again_later(home, monkeypatch):
    clock = SetClock()
    with closing(open_runtime(home, clock)) as runtime, receiver() as server:
        HookClient(runtime).added(server.url)
        happen(runtime)
        with monkeypatch.context() as patch:
            patch.setattr(runtime.access.webhook_deliveries, "_settle", None)
            with pytest.raises(TypeError):
                deliver(runtime)
        assert deliver(runtime) == (0, 0, 0, 1)  # claimed by a run that may be alive
        clock.advance(minutes=5)
        assert deliver(runtime) == (1, 0, 0, 0)
        assert server.heard[0][2] == server.heard[1][2]


def test_what_was_told_long_ago_is_forgotten(home):
    clock = SetClock()
    with closing(open_runtime(home, clock)) as runtime, receiver() as server:
        HookClient(runtime).added(server.url)
        happen(runtime)
        deliver(runtime)
        clock.advance(days=91)
        deliver(runtime)
        assert runtime.access.webhook_deliveries.recent(None, 10) == []


def test_secrets_are_in_no_row_of_the_database_and_survive_a_restart(home):
    with closing(open_runtime(home)) as runtime:
        made = HookClient(runtime).added()
    for file in home.glob("store.db*"):
        assert made["secret"].encode() not in file.read_bytes()
    assert (home / "secrets" / "webhooks").stat().st_mode & 0o777 == 0o600
    with closing(open_runtime(home)) as runtime:
        assert HookClient(runtime).call("GET", f"{PLACE}/{made['id']}").json["secret"] == made["secret"]


def test_processes_that_start_together_make_one_key_of_secrets(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: WebhookSecrets(tmp_path / "webhooks").of("endpoint"), range(8)))
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["webhooks"]
    (tmp_path / "webhooks").write_text("not a key")
    with pytest.raises(SettingsError):
        WebhookSecrets(tmp_path / "webhooks").of("endpoint")


def test_what_becomes_of_a_delivery_follows_from_the_answer():
    from datetime import timedelta

    policy = WebhookPolicy(
        plain_http=False, max_endpoints=1, retries=3, retry_after=timedelta(hours=1), keep=timedelta(days=1)
    )
    states = {
        status: state_after(status, 1, policy) for status in (None, 0, 200, 204, 301, 400, 404, 408, 409, 429, 500)
    }
    waiting = {status for status, state in states.items() if state is DeliveryState.WAITING}
    assert waiting == {None, 408, 429, 500}
    assert {status for status, state in states.items() if state is DeliveryState.REFUSED} == {400, 404, 409}
    assert {status for status, state in states.items() if state is DeliveryState.DELIVERED} == {200, 204}
    assert [state_after(500, attempts, policy) for attempts in (3, 4)] == [DeliveryState.WAITING, DeliveryState.FAILED]


def test_roles_without_events_of_their_own_hear_of_roots():
    assert events_for(frozenset({"cpo"})) == {"root.cert.added", "root.cert.expired", "root.cert.revoked"}
    assert "oem.contract.created" not in events_for(frozenset({"mo"}))
    assert events_for(frozenset()) == frozenset()
