"""What load balancers and monitoring ask: alive, ready, figures. No secret and no partner's name is in any of it."""

import time
from functools import partial
from ipaddress import ip_address
from math import inf
from threading import Lock

from flask import Blueprint, Response, jsonify, request

from pki_core.runtime import Runtime
from pki_core.services.readiness import Finding
from webapp.api_routes import PLAIN_TEXT, TEXT, Answer, Route, add_routes, json_of, object_of
from webapp.metrics import Metrics, exposition

_TEXT = "text/plain; version=0.0.4; charset=utf-8"  # what Prometheus asks for
_LONGEST_LOOK_SECONDS = 10  # two for each of the things that are looked at
_route = partial(Route, tag="Health", roles=None)
_ALIVE = object_of("Alive", {"status": {"const": "alive"}})
_READY = object_of(
    "Ready",
    {
        "status": {"enum": ["ready", "degraded", "not ready"]},
        "checks": {
            "type": "object",
            "description": '"ok", or the stable code of what is wrong, by what was looked at.',
            "additionalProperties": TEXT,
        },
    },
)


class _Looks:
    """Keeps the last look for some seconds: it signs, and anybody may ask.

    While somebody looks anew, others are told what the last look found: were they to wait, they would hold all places.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = Lock()
        self._until = -inf
        self._findings: list[Finding] = []

    def findings(self) -> list[Finding]:
        is_recent = time.monotonic() < self._until + _LONGEST_LOOK_SECONDS
        if not self._lock.acquire(blocking=not is_recent):
            return self._findings
        try:
            if time.monotonic() >= self._until:
                self._findings = self._runtime.readiness.look()
                self._until = time.monotonic() + self._runtime.settings.serving.ready_seconds
            return self._findings
        finally:
            self._lock.release()


def health_blueprint(runtime: Runtime, metrics: Metrics) -> Blueprint:
    """Return the routes /healthz, /readyz and /metrics."""
    routes = Blueprint("health", __name__)
    looks = _Looks(runtime)
    networks = runtime.settings.serving.metrics_networks

    def healthz() -> Response:
        """Answer that the process is alive; looks at nothing else."""
        return _fresh(jsonify(status="alive"))

    def readyz() -> tuple[Response, int]:
        """Answer 200 when store and keys work, 503 when not; what else is late is told."""
        findings = looks.findings()
        ready = all(finding.code == "ok" for finding in findings if finding.is_vital)
        status = "not ready" if not ready else "ready" if all(one.code == "ok" for one in findings) else "degraded"
        body = jsonify(status=status, checks={finding.name: finding.code for finding in findings})
        return _fresh(body), 200 if ready else 503

    def figures() -> Response:
        """Answer all figures to those who may read them; for others there is nothing here."""
        if not _may_read(request.remote_addr or ""):
            return Response("There is nothing here.\n", 404, content_type="text/plain; charset=utf-8")
        gauges = {
            "pncpki_check_ok": {f'check="{finding.name}"': float(finding.code == "ok") for finding in looks.findings()}
        }
        for kind, ends in runtime.readiness.seconds_left().items():
            gauges[f"pncpki_{kind}_seconds_left"] = {f'name="{name}"': seconds for name, seconds in ends.items()}
        return _fresh(Response(exposition(metrics.total(), gauges), content_type=_TEXT))

    add_routes(
        routes,
        [
            _route(
                method="GET",
                path="/healthz",
                view=healthz,
                summary="Tell that the process is alive",
                answers={200: json_of(_ALIVE, "It is.")},
            ),
            _route(
                method="GET",
                path="/readyz",
                view=readyz,
                summary="Tell whether store and keys work",
                details="What else is late is told, and takes nobody out of service.",
                answers={200: json_of(_READY, "They work."), 503: json_of(_READY, "One of them does not.")},
            ),
            _route(
                method="GET",
                path="/metrics",
                view=figures,
                summary="Figures, for Prometheus",
                details="For the networks of the settings; for others there is nothing here.",
                answers={
                    200: Answer(summary="All figures.", content={PLAIN_TEXT: TEXT}),
                    404: Answer(summary="Not for this address.", content={PLAIN_TEXT: TEXT}),
                },
            ),
        ],
    )

    def _may_read(address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in networks)
        except ValueError:
            return False  # a Unix socket: whoever comes through a proxy is not on this machine

    return routes


def _fresh(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
