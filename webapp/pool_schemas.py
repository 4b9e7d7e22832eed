"""JSON schemas of the pools' requests and answers (JSON Schema 2020-12), for the API document."""

from typing import Any, Final

from pki_core.model.pools import Namespace
from pki_core.model.signer import KeyAlgorithm
from webapp.api_routes import JSON, TEXT, Answer, Body, Named, Parameter, Schema, json_of

BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
HEX_256: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
NOTHING: Final[Schema] = {"type": "object", "additionalProperties": False}
PCID: Final[Schema] = {"type": "string", "pattern": "^[a-zA-Z0-9]{17,64}$"}
EMAID: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z]{2}-?[A-Za-z0-9]{3}-?[A-Za-z0-9]{9}(-?[A-Za-z0-9])?$"}
NAMESPACE: Final[Schema] = {"type": "string", "enum": [one.urn for one in Namespace]}
ALGORITHM: Final[Schema] = {"type": "string", "enum": [one.value for one in KeyAlgorithm]}
CERTIFICATE: Final[Schema] = {"type": "string", "description": "DER in base64 on one line; PEM is read, too."}

DONE: Final = json_of(NOTHING, "It is done.")
BROADCAST: Final = Parameter(
    name="broadcast",
    place="header",
    schema={"type": "boolean"},
    summary="Read and not needed: no call goes on to others.",
)
IN_NAMESPACE: Final = Parameter(name="xsdMsgDefNamespace", schema=NAMESPACE, summary="Only for this edition.")
IN_PCID: Final = Parameter(name="pcid", place="path", schema=PCID, summary="The whole PCID; case does not count.")
IN_EMAID: Final = Parameter(name="emaid", place="path", schema=EMAID, summary="The EMAID, with dashes or without.")


def object_of(properties: dict[str, Any], *, needed: tuple[str, ...] = (), is_open: bool = False) -> dict[str, Any]:
    """Return the schema of an object; an open one may have members nobody reads."""
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": is_open}
    return {**schema, "required": list(needed)} if needed else schema


def named(name: str, properties: dict[str, Any], *, needed: tuple[str, ...] = (), is_open: bool = False) -> Named:
    """Return the same with a name, for the components of the document."""
    return Named(name=name, schema=object_of(properties, needed=needed, is_open=is_open))


def list_of(schema: Schema, most: int = 0) -> Schema:
    """Return the schema of a list, with at most so many members."""
    return {"type": "array", "items": schema, **({"maxItems": most} if most else {})}


def within(member: str, schema: Schema) -> Schema:
    """Return the schema of an object with one member, as OPCP and OPNC wrap what they answer."""
    return object_of({member: schema}, needed=(member,))


def json_body_of(schema: Schema) -> Body:
    """Return what a request must carry."""
    return Body(content={JSON: schema})


def found(schema: Schema, summary: str = "Found.") -> dict[int, Answer]:
    """Return the good answer of a reading route."""
    return {200: json_of(schema, summary)}


_CHAIN_MEMBERS = {"certificate": CERTIFICATE, "subCa1Certificate": CERTIFICATE, "subCa2Certificate": CERTIFICATE}
CHAIN: Final = named("CertificateChain", _CHAIN_MEMBERS, needed=("certificate",), is_open=True)

_VEHICLE_EXTRAS = {
    "xsdMsgDefNamespace": NAMESPACE,
    "v2gRootAuthorityKeyIdentifiers": list_of(TEXT, 32),
    "previousPcid": PCID,
}
_VEHICLE_FACTS = {
    "signatureAlgorithm": ALGORITHM,
    "rootIssuerDistinguishedName": TEXT,
    "rootIssuerSerialNumber": TEXT,
    "rootAuthorityKeyIdentifier": TEXT,
    "fingerprint": HEX_256,
}
_VEHICLE_CERTIFICATES = {
    "vehicleCertificate": CERTIFICATE,
    "subCA1Certificate": CERTIFICATE,
    "subCA2Certificate": CERTIFICATE,
}
VEHICLE_UPLOAD: Final = named(
    "VehicleUpload",
    {**_VEHICLE_CERTIFICATES, **_VEHICLE_EXTRAS},
    needed=("vehicleCertificate", "subCA1Certificate"),
    is_open=True,
)
VEHICLE: Final = named(
    "Vehicle",
    {**_VEHICLE_CERTIFICATES, **_VEHICLE_EXTRAS, **_VEHICLE_FACTS},
    needed=("vehicleCertificate", "subCA1Certificate", "xsdMsgDefNamespace"),
)
VEHICLE_UPLOAD_OPNC: Final = named(
    "VehicleUploadOpnc",
    {"provisioningCertificateChain": CHAIN, **_VEHICLE_EXTRAS},
    needed=("provisioningCertificateChain",),
    is_open=True,
)
VEHICLE_OPNC: Final = named(
    "VehicleOpnc",
    {"provisioningCertificateChain": CHAIN, **_VEHICLE_EXTRAS, **_VEHICLE_FACTS},
    needed=("provisioningCertificateChain", "xsdMsgDefNamespace"),
)
