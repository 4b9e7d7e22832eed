"""Contract data for vehicles over HTTP: EXI in, EXI out, in the words of OPCP (ccp.v1) and OPNC (ccp.api.v1)."""

from functools import partial
from typing import Any

from flask import Response, jsonify, request

from pki_core.model.errors import NotFoundError
from pki_core.model.partners import Partner
from pki_core.model.pools import CONTRACT_OR_VEHICLE_NOT_FOUND
from pki_core.runtime import Runtime
from pki_core.services.contract_intake import SignedData
from pki_core.services.installations import Installation, Installed, session_id_of
from pki_core.services.pool_contracts import MAX_SIGNED_OCTETS
from webapp import contract_schemas as schemas
from webapp import pool_fields as fields
from webapp.api_routes import FAILURE, JSON, Answer, Parameter, Route, refusals
from webapp.contract_fields import extras_of, octets_of
from webapp.pool_gate import Dialect, Words, in_dialects
from webapp.pool_schemas import (
    BROADCAST,
    HEX_256,
    IN_EMAID,
    IN_NAMESPACE,
    IN_PCID,
    NOTHING,
    found,
    json_body_of,
    list_of,
    within,
)
from webapp.rest import json_body

_MOST_EXI = 24_576  # characters: four times what OCPP carries
_route = partial(Route, path="", tag="CCP", scope="ccpservice")  # dialects have paths of their own
_ALWAYS = "alwaysReturnEXI"
_NOT_FOUND, _CREATED = 404, 201
_COLLECTION = within("signedContractDataCollection", list_of(schemas.SIGNED_OPNC))
_CCP = within("CCPResponse", schemas.CCP_RESPONSE)


class InstallationViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._contracts = runtime.contracts

    def install(self, dialect: Dialect, partner: Partner) -> Response:
        """Answer a vehicle's request."""
        body = json_body(request)
        extras = extras_of(body)
        header = request.headers.get(_ALWAYS, "true" if dialect is Dialect.OPCP else "false")
        always = fields.flag_of(_ALWAYS, header)
        exi = octets_of(body, "certificateInstallationReq", limit=_MOST_EXI)
        answer = self._contracts.installations.answer(partner, exi, extras.namespace)
        if not answer.is_found and not always:
            raise NotFoundError(CONTRACT_OR_VEHICLE_NOT_FOUND)
        shown = jsonify(_ccp_response(answer) if dialect is Dialect.OPCP else _collection(answer))
        shown.status_code = 200 if answer.is_found else _NOT_FOUND
        return shown

    def add(self, dialect: Dialect, partner: Partner) -> Response:
        """Take contract data in that a provisioning service signed."""
        body = json_body(request, MAX_SIGNED_OCTETS + 8192)
        extras = extras_of(body)
        emaid = fields.emaid_of(fields.text_of(body, "emaid", needed=True), dialect)
        pcid = fields.pcid_of(fields.text_of(body, "pcid", needed=True))
        name = "signedContractDataXML" if dialect is Dialect.OPCP else "certificateInstallationRes"
        data = octets_of(body, name, "signedContractDataXML", "certificateInstallationRes", limit=MAX_SIGNED_OCTETS)
        self._contracts.intake.add(partner, pcid, emaid, SignedData(data, extras.namespace, extras.meta))
        answer = jsonify({})
        answer.status_code = _CREATED
        return answer

    def provide(self, dialect: Dialect, partner: Partner, emaid: str, pcid: str) -> Response:
        """Hand a contract to the OEM of its vehicle."""
        session_id = session_id_of(fields.query_text("sessionID"))
        item = self._contracts.installations.provide(
            partner, fields.emaid_of(emaid, dialect), fields.pcid_of(pcid), session_id
        )
        if dialect is Dialect.OPNC:
            return jsonify(signedContractDataCollection=[_shown(item)])
        return jsonify(certificateInstallationRes=fields.base64_of(item.exi), xsdMsgDefNamespace=_urn(item))


def installation_routes(runtime: Runtime) -> list[Route]:
    """Return the routes of the CCP that deal with signed contract data."""
    views = InstallationViews(runtime)
    return [*_installing(views), *_storing(views)]


def _installing(views: InstallationViews) -> list[Route]:
    install = _route(
        method="POST",
        view=views.install,
        summary="Answer a vehicle's installation request: a station's operator or an OEM hands it in.",
        details="ISO 15118-2 gets the default contract, -20 a list. Without a contract the answer is 404, with a "
        "negative answer for the vehicle where alwaysReturnEXI is true; so it is when the vehicle's certificate is "
        "revoked or has ended. Where a foreign CA has not told the status of vehicle or contract for a day, it is 503.",
        answers=refusals(400, 413),
        roles=("cpo", "oem"),
        parameters=(
            BROADCAST,
            Parameter(name=_ALWAYS, place="header", schema={"type": "boolean"}, summary="Negative answers as EXI."),
        ),
    )
    provide = _route(
        method="GET",
        view=views.provide,
        summary="Hand out a contract for one's own vehicle, without a request of the vehicle's.",
        details="404 and 503 as for the vehicle's own request.",
        answers=refusals(400, 404),
        roles=("oem",),
        parameters=(
            IN_EMAID,
            IN_PCID,
            IN_NAMESPACE,
            Parameter(name="sessionID", summary="Of the vehicle's session: eight octets at most, in hexadecimal."),
            Parameter(name="cpsV2GRootCertificateFingerprint", schema=HEX_256, summary="Read and not needed."),
        ),
    )
    body = json_body_of(schemas.INSTALLATION)
    return [
        *in_dialects(
            "ccp_install",
            install,
            Words(path="/v1/ccp/signedContractData", answers=_or_refused(_CCP), body=body),
            Words(path="/opnc/v1/ccp/signedcontractdata", answers=_or_refused(_COLLECTION), body=body),
        ),
        *in_dialects(
            "ccp_provide",
            provide,
            Words(path="/v1/ccp/provideSignedContractData/<emaid>/<pcid>", answers=found(schemas.PROVIDED)),
            Words(path="/opnc/v1/ccp/signedcontractdata/<emaid>/<pcid>", answers=found(_COLLECTION)),
        ),
    ]


def _storing(views: InstallationViews) -> list[Route]:
    add = _route(
        method="PUT",
        view=views.add,
        summary="Put contract data into the CCP that a provisioning service signed.",
        details="The chain of the signer has to lead to a V2G root, that of the contract to a root of the RCP.",
        answers=refusals(400, 413),
        roles=("cps", "mo"),
    )
    added = {_CREATED: Answer(summary="It is there.", content={JSON: NOTHING})}
    return in_dialects(
        "ccp_add",
        add,
        Words(path="/v1/ccp/signedContractData", answers=added, body=json_body_of(schemas.SIGNED_DATA)),
        Words(path="/opnc/v1/ccp/signedcontractdata", answers=added, body=json_body_of(schemas.SIGNED_DATA_OPNC)),
    )


def _or_refused(schema: Any) -> dict[int, Answer]:  # noqa: ANN401  # a Schema
    either = {"anyOf": [schema, FAILURE]}
    missing = Answer(summary="No contract, or no vehicle: a negative answer, or a message.", content={JSON: either})
    return {**found(schema), _NOT_FOUND: missing}


def _urn(item: Installation) -> str:
    return item.contract.namespace.urn if item.contract is not None else ""


def _ccp_response(answer: Installed) -> dict[str, Any]:
    content = []
    for item in answer.items:
        message: dict[str, Any] = {"certificateInstallationRes": fields.base64_of(item.exi)}
        if item.contract is not None:
            message["emaid"] = item.contract.emaid_as_issued
            if item.contract.meta:
                message["metaData"] = item.contract.meta
            if item.contract.cps_fingerprint:
                message["cpsV2GRootCertificateFingerprint"] = item.contract.cps_fingerprint
        content.append({"messageDef": message})
    return {"CCPResponse": {"emaidContent": content}}


def _collection(answer: Installed) -> dict[str, Any]:
    return {"signedContractDataCollection": [_shown(item) for item in answer.items]}


def _shown(item: Installation) -> dict[str, Any]:
    shown = {"certificateInstallationRes": fields.base64_of(item.exi)}
    if item.contract is not None:
        shown |= {
            "emaid": item.contract.emaid_as_issued,
            "pcid": item.contract.pcid,
            "xsdMsgDefNamespace": item.contract.namespace.urn,
        }
        if item.contract.meta:
            shown["metaData"] = item.contract.meta
        if item.contract.cps_fingerprint:
            shown["cpsV2GRootCertificateFingerprint"] = item.contract.cps_fingerprint
    return shown
