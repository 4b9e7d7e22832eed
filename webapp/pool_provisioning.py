"""The Provisioning Certificate Pool over HTTP, in the words of OPCP (pcp.v1) and OPNC (pcp.api.v1).

OEMs publish and remove, operators ask for one PCID at a time: no route lists, counts or searches.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Response, jsonify, request

from pki_core.model.errors import MalformedError
from pki_core.model.partners import Partner
from pki_core.model.pools import ProvisioningEntry, ProvisioningKey, ProvisioningUpload
from pki_core.runtime import Runtime
from pki_core.services.pool_provisioning import MAX_KEY_IDENTIFIER, MAX_V2G_ROOTS, Selection
from pki_core.wire.pool_certificate import read_certificate
from pki_core.wire.root_facts import read_root_facts
from webapp import pool_fields as fields
from webapp.api_routes import Parameter, Route, refusals
from webapp.pool_gate import Dialect, Words, in_dialects
from webapp.pool_schemas import (
    ALGORITHM,
    BROADCAST,
    DONE,
    IN_NAMESPACE,
    IN_PCID,
    PCID,
    VEHICLE,
    VEHICLE_OPNC,
    VEHICLE_UPLOAD,
    VEHICLE_UPLOAD_OPNC,
    found,
    json_body_of,
    list_of,
    object_of,
    within,
)
from webapp.rest import json_body

_route = partial(Route, path="", tag="PCP", scope="pcpservice")  # dialects have paths of their own
_ONE = {Dialect.OPCP: "/v1/oem/provCerts/<pcid>", Dialect.OPNC: "/opnc/v1/pcp/provisioningcertificates/<pcid>"}
_IN_ALGORITHM = Parameter(name="signatureAlgorithm", schema=ALGORITHM, summary="Only the certificate of this key.")


class ProvisioningViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime) -> None:
        self._pool = runtime.pools.provisioning

    def publish(self, dialect: Dialect, partner: Partner) -> Response:
        """Add a vehicle's certificate."""
        upload = _upload_of(json_body(request), dialect)
        self._pool.publish(partner, upload)
        return jsonify(_uploaded(upload) if dialect is Dialect.OPCP else {})

    def get(self, dialect: Dialect, partner: Partner, pcid: str) -> Response:
        """Show a vehicle's certificate."""
        entry = self._pool.get(partner, fields.pcid_of(pcid), _selection())
        if dialect is Dialect.OPCP:
            return jsonify(OEMMessage=_shown(entry))
        return jsonify(provisioningCertificate=_in_chain(_shown(entry)))

    def delete(self, _dialect: Dialect, partner: Partner, pcid: str) -> Response:
        """Remove a vehicle's certificates."""
        wipes = fields.flag_of("factoryReset", fields.query_text("factoryReset"))
        self._pool.delete(partner, fields.pcid_of(pcid), _selection(), factory_reset=wipes)
        return jsonify({})

    def look_up(self, _dialect: Dialect, partner: Partner, pcid: str) -> Response:
        """Tell whether a vehicle is known."""
        self._pool.look_up(partner, fields.pcid_of(pcid))
        return jsonify({})

    def algorithms(self, partner: Partner, pcid: str) -> Response:
        """Tell which certificates a vehicle has."""
        found_here = self._pool.algorithms(partner, fields.pcid_of(pcid))
        return jsonify(pcid=pcid.upper(), signatureAlgorithms=sorted(found_here))


def provisioning_routes(runtime: Runtime) -> list[Route]:
    """Return the routes of the PCP."""
    views = ProvisioningViews(runtime)
    return [*_writing(views), *_reading(views)]


def _writing(views: ProvisioningViews) -> list[Route]:
    publish = _route(
        method="PUT",
        view=views.publish,
        summary="Publish a vehicle's provisioning certificate, or put it in the place of the one it had.",
        details="Checked in this order: whose vehicle it is, validity, status at the CAs, path to an OEM root. "
        "Another key takes the vehicle's contracts with it; the same key keeps them.",
        answers=refusals(400, 413),
        roles=("oem",),
    )
    delete = _route(
        method="DELETE",
        view=views.delete,
        summary="Remove a vehicle's provisioning certificates and the contracts that hang on them.",
        details="Contract certificates of this PKI are revoked first; when one cannot be, everything stays.",
        answers={200: DONE, **refusals(400, 404)},
        roles=("oem",),
        parameters=(
            IN_PCID,
            IN_NAMESPACE,
            _IN_ALGORITHM,
            Parameter(
                name="factoryReset", schema={"type": "boolean"}, summary="Tell operators that the vehicle is reset."
            ),
        ),
    )
    return [
        *in_dialects(
            "pcp_publish",
            publish,
            Words(path="/v1/oem/provCerts", answers=found(VEHICLE, "Published."), body=json_body_of(VEHICLE_UPLOAD)),
            Words(
                path="/opnc/v1/pcp/provisioningcertificates",
                answers={200: DONE},
                body=json_body_of(VEHICLE_UPLOAD_OPNC),
            ),
        ),
        *in_dialects(
            "pcp_delete",
            delete,
            Words(path=_ONE[Dialect.OPCP], answers={}),
            Words(path=_ONE[Dialect.OPNC], answers={}),
        ),
    ]


def _reading(views: ProvisioningViews) -> list[Route]:
    get = _route(
        method="GET",
        view=views.get,
        summary="Show the provisioning certificate of one vehicle with its chain.",
        details="Status and path are checked again. An OEM sees his own vehicles only.",
        answers=refusals(400, 404),
        roles=("oem", "mo", "cps"),
        parameters=(IN_PCID, IN_NAMESPACE, _IN_ALGORITHM, BROADCAST),
    )
    look_up = _route(
        method="GET",
        view=views.look_up,
        summary="Tell whether a vehicle has a provisioning certificate.",
        answers={200: DONE, **refusals(400, 404)},
        roles=("oem", "mo", "cps"),
        parameters=(IN_PCID,),
    )
    algorithms = _route(
        method="GET",
        path="/v1/oem/provCertSignatureAlgorithms/<pcid>",
        aliases=("/v1/oem/provCertSigntureAlgorithms/<pcid>",),  # as it is spelled where it is in use
        view=views.algorithms,
        summary="Tell which keys a vehicle has certificates of (ISO 15118-20).",
        answers={
            **found(object_of({"pcid": PCID, "signatureAlgorithms": list_of(ALGORITHM)}, needed=("pcid",))),
            **refusals(400, 404),
        },
        roles=("oem", "mo", "cps"),
        parameters=(IN_PCID,),
        name="pcp_algorithms",
    )
    return [
        *in_dialects(
            "pcp_get",
            get,
            Words(path=_ONE[Dialect.OPCP], answers=found(within("OEMMessage", VEHICLE))),
            Words(path=_ONE[Dialect.OPNC], answers=found(within("provisioningCertificate", VEHICLE_OPNC))),
        ),
        *in_dialects(
            "pcp_look_up",
            look_up,
            Words(path="/v1/oem/provCerts/lookupVehicle/<pcid>", answers={}),
            Words(path="/opnc/v1/pcp/lookupvehicle/<pcid>", answers={}),
        ),
        algorithms,
    ]


def _selection() -> Selection:
    urn = fields.query_text("xsdMsgDefNamespace")
    return Selection(
        algorithm=fields.algorithm_of(fields.query_text("signatureAlgorithm")),
        namespace=fields.namespace_of(urn) if urn else None,
    )


def _upload_of(body: Mapping[str, Any], dialect: Dialect) -> ProvisioningUpload:
    """Read what an OEM publishes; the spelling of the Sub-CAs' names differs between documents and their examples."""
    leaf, holder = "vehicleCertificate", body
    if dialect is Dialect.OPNC:
        leaf, holder = "certificate", body.get("provisioningCertificateChain", {})
        if not isinstance(holder, dict):
            raise MalformedError("provisioningCertificateChain is an object")
    names = ("v2gRootAuthorityKeyIdentifiers", "v2gRootAuthorityKeyIdentifier")  # the latter in older examples
    previous, urn = fields.text_of(body, "previousPcid"), fields.text_of(body, "xsdMsgDefNamespace")
    return ProvisioningUpload(
        leaf_der=fields.certificate_of(holder, leaf, shown="vehicleCertificate"),
        sub2_der=fields.certificate_of(
            holder, "subCA2Certificate", "subCa2Certificate", shown="subCa2Certificate", needed=False
        ),
        sub1_der=fields.certificate_of(holder, "subCA1Certificate", "subCa1Certificate", shown="subCa1Certificate"),
        namespace=fields.namespace_of(urn) if urn else None,
        v2g_roots=fields.texts_of(body, *names, most=MAX_V2G_ROOTS, limit=MAX_KEY_IDENTIFIER),
        previous_pcid=fields.pcid_of(previous) if previous else "",
    )


def _uploaded(upload: ProvisioningUpload) -> dict[str, Any]:
    key = ProvisioningKey("", read_certificate(upload.leaf_der).algorithm)
    namespace = upload.namespace or key.namespace
    return _without_empty(
        vehicleCertificate=fields.base64_of(upload.leaf_der),
        subCA1Certificate=fields.base64_of(upload.sub1_der),
        subCA2Certificate=fields.base64_of(upload.sub2_der),
        xsdMsgDefNamespace=namespace.urn,
        v2gRootAuthorityKeyIdentifiers=list(upload.v2g_roots),
        previousPcid=upload.previous_pcid,
    )


def _shown(entry: ProvisioningEntry) -> dict[str, Any]:
    row, chain = entry.row, entry.chain
    shown = _without_empty(
        vehicleCertificate=fields.base64_of(row.leaf_der),
        subCA1Certificate=fields.base64_of(chain.sub1_der),
        subCA2Certificate=fields.base64_of(chain.sub2_der),
        xsdMsgDefNamespace=row.namespace.urn,
        signatureAlgorithm=row.key.algorithm.value,
        v2gRootAuthorityKeyIdentifiers=list(row.v2g_roots),
        previousPcid=row.previous_pcid,
        fingerprint=hashlib.sha256(row.leaf_der).hexdigest(),
    )
    if entry.root_der:
        root = read_root_facts(entry.root_der)
        shown["rootIssuerDistinguishedName"] = root.distinguished_name
        shown["rootIssuerSerialNumber"] = root.serial
        shown["rootAuthorityKeyIdentifier"] = fields.with_colons(root.key_identifier)
    return shown


def _in_chain(shown: dict[str, Any]) -> dict[str, Any]:
    """Return the same as OPNC groups it."""
    chain = {"certificate": shown.pop("vehicleCertificate"), "subCa1Certificate": shown.pop("subCA1Certificate")}
    if "subCA2Certificate" in shown:
        chain["subCa2Certificate"] = shown.pop("subCA2Certificate")
    return {"provisioningCertificateChain": chain, **shown}


def _without_empty(**members: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON values
    return {name: value for name, value in members.items() if value}
