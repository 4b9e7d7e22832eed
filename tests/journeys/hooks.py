"""A partner's webhook receiver on loopback: answers as told, checks signatures, remembers what it heard."""

import hashlib
import hmac
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.listening import listening


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.heard.append((self.path, dict(self.headers), body))
            status = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the usual 5 turn away calls that come at once


@contextmanager
def receiver():
    """A running receiver with ``heard``, ``answers`` (statuses to give, then 200) and ``url``."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.heard, server.answers, server.lock = [], [], threading.Lock()
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    with listening(server):
        yield server


def heard_by(server, secret):
    """The events a receiver heard, once their signatures are checked as existing receivers do."""
    events = []
    for _, headers, body in server.heard:
        expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Hubject-Signature"] == headers["X-Pncpki-Signature"] == expected
        assert headers["Content-Type"] == "application/json"
        events.append(json.loads(body))
    return events
