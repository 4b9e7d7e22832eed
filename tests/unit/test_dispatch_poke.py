"""The poke: Prefect is asked for a run when it is there, and nobody minds when it is not. A real server on loopback."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

from pki_core.model.outbound import OutboundPolicy
from pki_core.outbound.client import OutboundClient
from pki_core.services.dispatch_poke import DispatchPoke

POLICY = OutboundPolicy(allowed_networks=(ip_network("127.0.0.0/8"),), connect_seconds=1, total_seconds=2)


class _Prefect(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.calls.append(("GET", self.path, self.headers.get("Authorization")))
        self._answer(200, self.server.deployment)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append(("POST", self.path, body))
        self._answer(self.server.statuses.pop(0) if self.server.statuses else 201, b"{}")

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def prefect(deployment=b'{"id": "an-id"}'):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Prefect)
    server.calls, server.statuses, server.deployment = [], [], deployment
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def poke_at(url, **environ):
    return DispatchPoke(OutboundClient(POLICY), {"PREFECT_API_URL": url, **environ}, "qa")


def test_a_run_is_asked_for_once_a_batch_and_the_deployment_is_looked_up_once():
    with prefect() as (server, url):
        poke = poke_at(url)
        assert [poke.poke("batch-1"), poke.poke("batch-2")] == [True, True]
    look, first, second = server.calls
    assert look == ("GET", "/api/deployments/name/dispatch/qa", None)
    assert first[1] == second[1] == "/api/deployments/an-id/create_flow_run"
    assert first[2]["idempotency_key"] != second[2]["idempotency_key"]


def test_a_server_with_a_password_or_a_key_is_shown_it():
    with prefect() as (server, url):
        poke_at(url, PREFECT_API_AUTH_STRING="user:word").poke("batch")
        poke_at(url, PREFECT_API_KEY="key").poke("batch")
    shown = [call[2] for call in server.calls if call[0] == "GET"]
    assert shown == [f"Basic {base64.b64encode(b'user:word').decode()}", "Bearer key"]


def test_a_deployment_that_was_made_anew_is_looked_up_again():
    with prefect() as (server, url):
        server.statuses = [404]
        poke = poke_at(url)
        assert [poke.poke("batch-1"), poke.poke("batch-2")] == [False, True]
    assert [call[0] for call in server.calls] == ["GET", "POST", "GET", "POST"]


def test_nobody_minds_when_prefect_is_away_unset_or_speaks_nonsense(caplog):
    assert poke_at("").poke("batch") is False
    assert caplog.records == []
    assert poke_at("http://127.0.0.1:1/api", PREFECT_API_KEY="secret key").poke("batch") is False
    assert poke_at("not a url").poke("batch") is False
    for nonsense in (b"<html>", b"[]", b"{}", b"null"):
        with prefect(nonsense) as (_, url):
            assert poke_at(url).poke("batch") is False
    assert len(caplog.records) == 6
    assert "secret key" not in caplog.text
