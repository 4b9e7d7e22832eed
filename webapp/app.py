"""The Flask application. Today it answers the health questions of a load balancer; protocols join as blueprints."""

from typing import Any

from flask import Flask, Response, jsonify

from pki_core.model.errors import PkiError
from pki_core.runtime import Runtime
from webapp.errors import register_error_answers
from webapp.est import est_blueprint
from webapp.listeners import HTTPS, PLAIN, PublicOnly
from webapp.ocsp import OcspMiddleware


def create_app(runtime: Runtime) -> Flask:
    """Return the WSGI application of one environment."""
    app = Flask("pncpki")
    app.url_map.merge_slashes = False  # RFC 7030 3.2.1: a redirect burdens the client
    register_error_answers(app)
    app.register_blueprint(est_blueprint(runtime))

    @app.get("/healthz")
    def healthz() -> Response:
        """Answer that the process is alive; looks at nothing else."""
        return jsonify(status="alive")

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        """Answer whether the store can be reached."""
        try:
            runtime.certificates.issuers()
        except PkiError as error:
            return jsonify(status="not ready", code=error.code), 503
        return jsonify(status="ready"), 200

    return app


def wsgi_application(runtime: Runtime, *, listener: str = HTTPS) -> Any:  # noqa: ANN401  # a WSGI application
    """Return what a listener serves: everything behind TLS, on the plain one what readers of certificates fetch."""
    application: Any = create_app(runtime)
    if listener == PLAIN:
        application = PublicOnly(application)
    return OcspMiddleware(application, runtime.ocsp, runtime.settings.ocsp.max_octets, runtime.clock)
