"""The Flask application, one blueprint a protocol, and the WSGI application each listener serves."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import Flask

from pki_core.model.errors import UnavailableError
from pki_core.runtime import Runtime
from webapp.api_docs import docs_blueprint
from webapp.batch_routes import batches_blueprint
from webapp.conditions import ReadableDates
from webapp.crls import crls_blueprint
from webapp.errors import register_error_answers
from webapp.est_revocation import revocation_blueprint
from webapp.est_routes import est_blueprint
from webapp.few_reads import FewReads
from webapp.health import health_blueprint
from webapp.listeners import HTTPS, PLAIN, PartnersOnly, PublicOnly
from webapp.long_answers import AnswerLimits, LongAnswers
from webapp.metrics import METRICS_VARIABLE, Measured, Metrics
from webapp.oauth_routes import oauth_blueprint
from webapp.ocsp import OcspMiddleware
from webapp.ocsp_routes import ocsp_blueprint
from webapp.pools import pools_blueprint
from webapp.repository import repository_blueprint
from webapp.webhook_routes import webhooks_blueprint


def create_app(runtime: Runtime, metrics: Metrics | None = None) -> Flask:
    """Return the WSGI application of one environment."""
    with suppress(UnavailableError):  # a front comes up while its store is away; signing checks again before it begins
        runtime.contracts.check_budget()  # refuse to start: no station could carry the answers
    app = Flask("pncpki", static_folder=None)
    app.url_map.merge_slashes = False  # RFC 7030 3.2.1: a redirect burdens the client
    register_error_answers(app)
    app.register_blueprint(est_blueprint(runtime))
    app.register_blueprint(oauth_blueprint(runtime))
    app.register_blueprint(batches_blueprint(runtime))
    app.register_blueprint(webhooks_blueprint(runtime))
    app.register_blueprint(revocation_blueprint(runtime))
    app.register_blueprint(ocsp_blueprint())
    app.register_blueprint(pools_blueprint(runtime))
    app.register_blueprint(crls_blueprint(runtime))
    app.register_blueprint(repository_blueprint(runtime))
    app.register_blueprint(health_blueprint(runtime, metrics or Metrics()))
    app.register_blueprint(docs_blueprint(runtime))
    app.wsgi_app = ReadableDates(app.wsgi_app)  # type: ignore[method-assign]  # as Flask says to do it
    return app


def wsgi_application(runtime: Runtime, *, listener: str = "", answers: AnswerLimits | None = None) -> Any:  # noqa: ANN401
    """Return what a listener serves: partners behind TLS, readers of certificates on the plain one; "" = all of it."""
    directory = os.environ.get(METRICS_VARIABLE)
    metrics = Metrics(Path(directory) if directory else None)
    application: Any = create_app(runtime, metrics)
    if listener:
        application = (PublicOnly if listener == PLAIN else PartnersOnly)(application)
    if answers is not None:
        application = LongAnswers(application, answers)
        if listener == PLAIN:
            application = FewReads(application, answers.threads)
    if listener != HTTPS:
        application = OcspMiddleware(application, runtime.ocsp, runtime.settings.ocsp.max_octets, runtime.clock)
    return Measured(application, metrics)
