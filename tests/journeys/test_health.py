"""Alive, ready, figures: what load balancers and monitoring read, and what they must not."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from pki_core.model.clock import SystemClock
from pki_core.model.errors import HsmUnavailableError, StoreUnavailableError
from pki_core.model.revocations import Reason
from pki_core.runtime import open_runtime
from tests.builders import SetClock
from tests.journeys.acts import artefact, copy_home
from tests.journeys.crl_acts import LABEL, leaf, opened, revoke
from webapp.app import create_app, wsgi_application
from webapp.listeners import HTTPS, PLAIN, is_public
from webapp.metrics import METRICS_VARIABLE, Measured, Metrics, exposition

pytest_plugins = ["tests.journeys.environments"]


def client_of(runtime, metrics=None):
    return create_app(runtime, metrics).test_client()


# --- alive and ready


def test_alive_looks_at_nothing(environment):
    environment.store.close()
    (environment.home / "store.db").unlink()
    assert client_of(environment).get("/healthz").json == {"status": "alive"}


def test_a_whole_environment_is_ready(untouched):
    answer = client_of(untouched).get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "ready")
    assert set(answer.json["checks"]) == {"store", "keys", "responder", "crl", "listing"}
    assert set(answer.json["checks"].values()) == {"ok"}
    assert answer.headers["Cache-Control"] == "no-store"


def test_without_keys_a_process_is_not_ready(environment):
    for file in (environment.home / "keys").glob("tls-root*"):
        file.unlink()
    answer = client_of(environment).get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "not ready")
    assert answer.json["checks"]["store"] == "ok"
    assert answer.json["checks"]["keys"] != "ok"


def test_a_token_that_is_away_and_comes_back(environment, monkeypatch):
    ready = environment.settings.serving.model_copy(update={"ready_seconds": 0})
    environment.settings = environment.settings.model_copy(update={"serving": ready})
    client = client_of(environment)

    def away(_label):
        raise HsmUnavailableError("the token is away")

    with monkeypatch.context() as broken:
        broken.setattr(environment.key_store, "bind", away)
        assert client.get("/readyz").json["checks"]["keys"] == "hsm.unavailable"
    assert client.get("/readyz").status_code == 200


def test_without_the_store_a_process_is_not_ready_and_says_no_more(environment, monkeypatch):
    def away():
        raise StoreUnavailableError("postgresql://user:secret@host is away")

    monkeypatch.setattr(environment.store, "reading", away)
    answer = client_of(environment).get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["store"] == StoreUnavailableError.code
    assert "secret" not in answer.text


def test_a_responder_that_ended_is_told_but_takes_nobody_out_of_service(home):
    late = SetClock(SystemClock().now() + timedelta(days=40))
    with closing(open_runtime(home, late)) as runtime:
        answer = client_of(runtime).get("/readyz")
        assert (answer.status_code, answer.json["status"]) == (200, "degraded")
        assert answer.json["checks"]["responder"].startswith("late: ")
        assert "mo-sub2" in answer.json["checks"]["responder"]
        assert "mo-sub2" in answer.json["checks"]["crl"]
        figures = client_of(runtime).get("/metrics").text
        assert 'pncpki_responder_seconds_left{name="mo-sub2"} -' in figures
        assert 'pncpki_crl_seconds_left{name="mo-sub2"} -' in figures


def test_a_revocation_that_no_list_took_up_in_time_is_told_but_takes_nobody_out_of_service(any_home):
    with opened(any_home) as runtime:
        serial, _ = leaf(runtime)
        by = revoke(runtime, serial).crl_by
        runtime.clock.moment = by - timedelta(seconds=1)
        assert client_of(runtime).get("/readyz").json["checks"]["listing"] == "ok"
        assert 'pncpki_listing_seconds_left{name="mo-sub2"} 1\n' in client_of(runtime).get("/metrics").text
        runtime.clock.moment = by
        answer = client_of(runtime).get("/readyz")
        assert (answer.status_code, answer.json["status"]) == (200, "degraded")
        assert (answer.json["checks"]["listing"], answer.json["checks"]["crl"]) == (f"late: {LABEL}", "ok")
        assert 'pncpki_check_ok{check="listing"} 0' in client_of(runtime).get("/metrics").text
        runtime.crls.publish_due()
        assert client_of(runtime).get("/readyz").json["checks"]["listing"] == "ok"
        assert "pncpki_listing_seconds_left{" not in client_of(runtime).get("/metrics").text


def test_a_list_signed_at_a_persons_command_is_late_when_it_ends(any_home):
    with opened(any_home, crl="automatic_roots = false") as runtime:
        sub1 = x509.load_der_x509_certificate(artefact(runtime, "mo-sub1")).serial_number
        by = revoke(runtime, f"{sub1:x}", Reason.CA_COMPROMISE).crl_by
        for moment, code in ((by - timedelta(seconds=1), "ok"), (by, "late: v2g-root")):
            runtime.clock.moment = moment
            assert client_of(runtime).get("/readyz").json["checks"]["listing"] == code


def test_a_look_stands_for_some_seconds_since_it_signs(untouched, monkeypatch):
    client = client_of(untouched)
    looks = []
    original = untouched.readiness.look
    monkeypatch.setattr(untouched.readiness, "look", lambda: looks.append(1) or original())
    for _ in range(5):
        assert client.get("/readyz").status_code == 200
    assert len(looks) == 1


def test_whoever_asks_while_somebody_looks_is_told_what_the_look_before_found(environment, monkeypatch):
    """A token takes its time: were all to wait for it, nobody else would have a place, a load balancer neither."""
    ready = environment.settings.serving.model_copy(update={"ready_seconds": 0})
    environment.settings = environment.settings.model_copy(update={"serving": ready})
    client, plain = client_of(environment), environment.readiness.look
    assert client.get("/readyz").status_code == 200
    looking, gate = threading.Event(), threading.Event()

    def look():
        looking.set()
        assert gate.wait(30)
        return [replace(one, code="token.away") if one.name == "keys" else one for one in plain()]

    monkeypatch.setattr(environment.readiness, "look", look)
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(client.application.test_client().get, "/readyz")
        assert looking.wait(30)
        try:
            others = [pool.submit(client.application.test_client().get, path) for path in ("/readyz", "/metrics")]
            assert [one.result(10).status_code for one in others] == [200, 200]
        finally:
            gate.set()
        assert slow.result(10).status_code == 503
    monkeypatch.setattr(environment.readiness, "look", plain)


def test_a_look_that_failed_lets_the_next_one_look(environment, monkeypatch):
    client, plain = client_of(environment), environment.readiness.look
    monkeypatch.setattr(environment.readiness, "look", lambda: 1 // 0)
    assert client.get("/readyz").status_code == 500
    monkeypatch.setattr(environment.readiness, "look", plain)
    assert client.get("/readyz").status_code == 200


def test_a_probe_signs_nothing_that_could_be_anything_else(untouched, monkeypatch):
    signed = []
    signer = untouched.key_store.bind("tls-root")

    class Noting:
        def sign(self, messages):
            signed.extend(messages)
            return signer.sign(messages)

    monkeypatch.setattr(untouched.key_store, "bind", lambda _label: Noting())
    untouched.readiness.look()
    untouched.readiness.look()
    assert len(set(signed)) == 2
    assert all(message[:1] != b"\x30" for message in signed)  # every signed structure of X.509 begins so


# --- figures


def test_answers_are_counted_by_family_and_status(untouched):
    metrics = Metrics()
    app = Measured(create_app(untouched), metrics)
    client = create_app(untouched).test_client()
    client.application.wsgi_app = Measured(client.application.wsgi_app, metrics)
    client.get("/aia/mo-sub2.cer")
    client.get("/aia/nobody.cer")
    client.get("/pki/roots")
    client.get("/.well-known/est/cpo/cacerts")
    client.get("/somebody/whose/name/is/secret")
    client.get("/v1/batches")
    client.get("/openapi.json")
    client.get("/healthz")
    assert app is not client.application
    counted = {key: row[0] for key, row in metrics.total().items()}
    assert counted == {
        "aia 200": 1,
        "aia 404": 1,
        "pki 200": 1,
        "est 200": 1,
        "other 404": 1,
        "rest 401": 1,
        "docs 200": 1,
    }


def test_the_text_is_what_prometheus_reads(untouched):
    parser = pytest.importorskip("prometheus_client.parser")
    metrics = Metrics()
    for seconds in (0.0005, 0.002, 0.2, 9.0):
        metrics.count("/ocsp/abc", "200 OK", seconds)
    metrics.count("/ocsp", "413", 0.001)
    answer = client_of(untouched, metrics).get("/metrics")
    families = {family.name: family for family in parser.text_string_to_metric_families(answer.text)}
    answers = {tuple(one.labels.values()): one.value for one in families["pncpki_answers"].samples}
    assert answers == {("ocsp", "200"): 4, ("ocsp", "413"): 1}
    buckets = [
        one.value
        for one in families["pncpki_answer_seconds"].samples
        if one.name.endswith("_bucket") and one.labels["status"] == "200"
    ]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-1]) == (1, 4)
    assert {one.labels["check"] for one in families["pncpki_check_ok"].samples} >= {"store", "keys"}


def test_figures_of_all_processes_are_added_up_also_of_those_that_ended(tmp_path):
    (tmp_path / "1-1.json").write_text(json.dumps({"ocsp 200": [5.0, 0.5, *[0.0] * 9]}))
    (tmp_path / "2-1.json").write_text("{damaged")
    mine = Metrics(tmp_path)
    mine.count("/ocsp", "200 OK", 0.5)
    assert mine.total()["ocsp 200"][:2] == [6.0, 1.0]
    assert mine._write()
    assert Metrics(tmp_path).total()["ocsp 200"][0] == 6.0


def test_no_answer_is_lost_between_threads():
    metrics = Metrics()

    def work():
        for _ in range(2000):
            metrics.count("/crl/x.crl", "200 OK", 0.01)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.total()["crl 200"][0] == 16_000


def test_a_fault_is_counted_as_one():
    metrics = Metrics()

    def faulty(_environ, _start_response):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        Measured(faulty, metrics)({"PATH_INFO": "/crl/x"}, None)
    assert list(metrics.total()) == ["crl 500"]


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 404), ("", 404)])
def test_figures_are_for_the_networks_of_the_settings(untouched, address, status):
    answer = client_of(untouched).get("/metrics", environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status


def test_no_partner_and_no_secret_is_in_any_answer(untouched):
    client = client_of(untouched)
    names = [partner.id for partner in untouched.partners.all()]
    for path in ("/healthz", "/readyz", "/metrics"):
        text = client.get(path).text
        assert not [name for name in names if name in text]
        assert not re.search(r"/home|/tmp|sqlite|secret|pin", text)


def test_empty_figures_are_well_formed():
    assert exposition({}, {}).endswith("\n")


# --- what each listener serves


@pytest.mark.parametrize(
    ("path", "public"),
    [
        *((path, True) for path in ("/ocsp", "/ocsp/abc", "/crl/mo-sub2.crl", "/aia/x.cer", "/pki", "/pki/roots")),
        *((path, False) for path in ("/", "", "/ocspx", "/.well-known/est/cacerts", "//ocsp", "/opnc/v1/pki", "/PKI")),
    ],
)
def test_only_what_is_named_is_public(path, public):
    assert is_public(path) is public


@pytest.mark.parametrize(("listener", "status"), [(HTTPS, 200), (PLAIN, 404)])
def test_est_is_behind_tls_only(home, tmp_path, monkeypatch, listener, status):
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path))
    with closing(open_runtime(copy_home(home, tmp_path / "other"))) as runtime:
        application = wsgi_application(runtime, listener=listener)
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/.well-known/est/cpo/cacerts",
            "SERVER_NAME": "x",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
        }
        said = []
        list(application(environ, lambda line, _headers, *_more: said.append(line)))
        assert int(said[0][:3]) == status
