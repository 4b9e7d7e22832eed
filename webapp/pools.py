"""The pools over HTTP: every route of RCP, PCP, CCP, CPS and of the registration authority, behind one gate."""

from flask import Blueprint

from pki_core.runtime import Runtime
from webapp.api_routes import Route, add_routes
from webapp.cps import cps_routes
from webapp.installations import installation_routes
from webapp.pool_contracts import contract_routes
from webapp.pool_gate import Gate
from webapp.pool_provisioning import provisioning_routes
from webapp.pool_root_routes import root_routes
from webapp.registrations import registration_routes
from webapp.rest import answer_errors_as_json


def pools_blueprint(runtime: Runtime) -> Blueprint:
    """Return the routes of one environment."""
    blueprint = Blueprint("pools", __name__)
    add_routes(blueprint, Gate(runtime).guard(pool_routes(runtime)))
    answer_errors_as_json(blueprint, as_opcp=True)
    return blueprint


def pool_routes(runtime: Runtime) -> list[Route]:
    """Return what is declared: the access rules among it."""
    return [
        *root_routes(runtime),
        *provisioning_routes(runtime),
        *contract_routes(runtime),
        *registration_routes(runtime),
        *cps_routes(runtime),
        *installation_routes(runtime),
    ]
