"""The Flask application. Today it answers the health questions of a load balancer; protocols join as blueprints."""

from flask import Flask, Response, jsonify

from pki_core.model.errors import PkiError
from pki_core.runtime import Runtime


def create_app(runtime: Runtime) -> Flask:
    """Return the WSGI application of one environment."""
    app = Flask("pncpki")

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
