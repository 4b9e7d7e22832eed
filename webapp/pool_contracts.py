"""The Contract Certificate Pool over HTTP, in the words of OPCP (ccp.v1) and OPNC (ccp.api.v1).

Operators see and remove their own contracts, OEMs those of their own vehicles. Answers to vehicles are made elsewhere.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from flask import Response, jsonify, request

from pki_core.model.clock import rfc3339
from pki_core.model.partners import Partner
from pki_core.model.pools import ContractRow, Namespace
from pki_core.runtime import Runtime
from pki_core.wire.root_facts import read_root_facts
from webapp import pool_fields as fields
from webapp.api_routes import TEXT, Parameter, Route, refusals
from webapp.pool_gate import Dialect, Words, in_dialects
from webapp.pool_schemas import (
    BASE64,
    DONE,
    EMAID,
    HEX_256,
    IN_EMAID,
    IN_NAMESPACE,
    IN_PCID,
    MOMENT,
    NAMESPACE,
    PCID,
    found,
    list_of,
    named,
    within,
)

CONTRACT = named(
    "Contract",
    {
        "pcid": PCID,
        "emaid": EMAID,
        "xsdMsgDefNamespace": NAMESPACE,
        "contractCertificate": BASE64,
        "defaultContract": {"type": "boolean"},
        "certValidFrom": MOMENT,
        "certValidTo": MOMENT,
        "cpsV2GRootCertificateFingerprint": HEX_256,
        "cpsRootCertificateDN": TEXT,
    },
    needed=("pcid", "emaid", "xsdMsgDefNamespace", "contractCertificate", "defaultContract"),
)
_route = partial(Route, path="", tag="CCP", scope="ccpservice")  # dialects have paths of their own
_SKIP = "X-Skip-Revocation"


class ContractViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._pool = runtime.pools.contracts
        self._roots = runtime.pools.cps_roots

    def get(self, dialect: Dialect, partner: Partner, emaid: str) -> Response:
        """Show a contract of the partner's own, or of one of his vehicles."""
        row = self._pool.get(partner, fields.emaid_of(emaid, dialect))
        return self._collection([row], dialect)

    def of_vehicle(self, dialect: Dialect, partner: Partner, identifier: str) -> Response:
        """List the contracts of an OEM's own vehicle."""
        rows = self._pool.of_vehicle(partner, fields.pcid_of(identifier))
        return self._collection(rows, dialect)

    def delete(self, dialect: Dialect, partner: Partner, identifier: str) -> Response:
        """Remove an operator's own contract."""
        skips = fields.flag_of(_SKIP, request.headers.get(_SKIP, ""))
        self._pool.delete(partner, fields.emaid_of(identifier, dialect), skip_revocation=skips)
        return jsonify({})

    def set_default(self, dialect: Dialect, partner: Partner, emaid: str, pcid: str) -> Response:
        """Make a contract the one a vehicle of ISO 15118-2 gets."""
        self._pool.set_default(partner, fields.pcid_of(pcid), fields.emaid_of(emaid, dialect))
        return jsonify({})

    def _collection(self, rows: list[ContractRow], dialect: Dialect) -> Response:
        shown = [self._shown(row) for row in rows if _chosen(row)]
        return jsonify(XMLContracts=shown) if dialect is Dialect.OPCP else jsonify(contractDataCollection=shown)

    def _shown(self, row: ContractRow) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "pcid": row.key.pcid,
            "emaid": row.emaid_as_issued,
            "xsdMsgDefNamespace": row.namespace.urn,
            "contractCertificate": fields.base64_of(row.leaf_der),
            "defaultContract": row.is_default,
            "certValidFrom": rfc3339(row.valid_from),
            "certValidTo": rfc3339(row.valid_to),
        }
        if row.cps_fingerprint:
            shown["cpsV2GRootCertificateFingerprint"] = row.cps_fingerprint
        root_der = self._roots.certificate_of(row.cps_fingerprint)
        if root_der is not None:
            shown["cpsRootCertificateDN"] = read_root_facts(root_der).distinguished_name
        return shown


def contract_routes(runtime: Runtime) -> list[Route]:
    """Return the routes of the CCP that deal with its rows."""
    views = ContractViews(runtime)
    return [*_reading(views), *_changing(views)]


def _reading(views: ContractViews) -> list[Route]:
    get = _route(
        method="GET",
        view=views.get,
        summary="Show a contract: to its operator, or to the OEM of its vehicle.",
        details="404 when it or the vehicle's certificate is revoked or has ended; 503 where a foreign CA has not told "
        "the status of one of them for a day.",
        answers=refusals(400, 404),
        roles=("mo", "oem"),
        parameters=(IN_EMAID, IN_NAMESPACE),
    )
    of_vehicle = _route(
        method="GET",
        view=views.of_vehicle,
        summary="List the contracts in force of a vehicle, the default first: to its OEM.",
        details="None where the vehicle's certificate is revoked or has ended; 503 where a foreign CA has not told the "
        "status of it, or of all its contracts, for a day.",
        answers=refusals(400),
        roles=("oem",),
        parameters=(replace(IN_PCID, name="identifier"), IN_NAMESPACE),
    )
    opcp, opnc = (
        found(within("XMLContracts", list_of(CONTRACT))),
        found(within("contractDataCollection", list_of(CONTRACT))),
    )
    return [
        *in_dialects(
            "ccp_get",
            get,
            Words(path="/v1/ccp/lookupContract/<emaid>", answers=opcp),
            Words(path="/opnc/v1/ccp/contractData/emaid/<emaid>", answers=opnc),
        ),
        *in_dialects(
            "ccp_of_vehicle",
            of_vehicle,
            Words(path="/v1/ccp/signedContractData/<identifier>", answers=opcp),
            Words(path="/opnc/v1/ccp/contractData/pcid/<identifier>", answers=opnc),
        ),
    ]


def _changing(views: ContractViews) -> list[Route]:
    delete = _route(
        method="DELETE",
        view=views.delete,
        summary="Remove a contract of one's own.",
        details="A certificate of this PKI is revoked first; when it cannot be, the contract stays.",
        answers={200: DONE, **refusals(400, 404)},
        roles=("mo",),
        parameters=(
            replace(IN_EMAID, name="identifier"),  # the path of a list by PCID, which OPCP names otherwise
            Parameter(name=_SKIP, place="header", schema={"type": "boolean"}, summary="Remove it without revoking."),
        ),
    )
    set_default = _route(
        method="POST",
        view=views.set_default,
        summary="Make a contract the default of one's own vehicle.",
        answers={200: DONE, **refusals(400, 404)},
        roles=("oem",),
        parameters=(IN_PCID, IN_EMAID),
    )
    return [
        *in_dialects(
            "ccp_delete",
            delete,
            Words(path="/v1/ccp/signedContractData/<identifier>", answers={}),
            Words(path="/opnc/v1/ccp/signedcontractdata/<identifier>", answers={}),
        ),
        *in_dialects(
            "ccp_default",
            set_default,
            Words(path="/v1/ccp/signedContractData/<pcid>/<emaid>/default", answers={}),
            Words(path="/opnc/v1/ccp/signedcontractdata/<emaid>/<pcid>/setdefault", answers={}),
        ),
    ]


def _chosen(row: ContractRow) -> bool:
    urn = fields.query_text("xsdMsgDefNamespace")
    return not urn or Namespace.of_urn(urn).is_edition_20 == row.namespace.is_edition_20
