"""Routes of the Root Certificate Pool, declared: places in both dialects, who may call them, what comes and goes."""

from functools import partial
from typing import Final

from pki_core.runtime import Runtime
from pki_core.services.pool_roots import MAX_EVIDENCE
from webapp.api_routes import TEXT, Parameter, Route, json_of, refusals
from webapp.pool_gate import Words, in_dialects
from webapp.pool_roots import OPNC_WORDS, WORDS, RootViews
from webapp.pool_schemas import (
    BASE64,
    CERTIFICATE,
    DONE,
    HEX_256,
    MOMENT,
    NOTHING,
    found,
    json_body_of,
    list_of,
    named,
    object_of,
    within,
)

_OPERATOR = ("operator",)
_OPCP, _OPNC = "/v1/root/rootCerts", "/opnc/v1/rcp/rootcertificates"
_route = partial(Route, path="", tag="RCP", scope="rcpservice")  # dialects have paths of their own
_ID: Final = Parameter(name="root_id", place="path", schema={"type": "string", "format": "uuid"})

_COMMON = {
    "rootCertificateId": {"type": "string", "format": "uuid"},
    "distinguishedName": TEXT,
    "caCertificate": BASE64,
    "commonName": TEXT,
    "organizationName": TEXT,
    "rootAuthorityKeyIdentifier": BASE64,
    "rootAuthorityKeyIdentifierHex": TEXT,
    "rootIssuerSerialNumber": TEXT,
    "validFrom": MOMENT,
    "validTo": MOMENT,
    "fingerprint": HEX_256,
    "fingerprintSha1": TEXT,
    "signatureAlgorithm": TEXT,
}
_ALWAYS = ("rootCertificateId", "caCertificate", "validFrom", "validTo", "fingerprint")
ROOT = named("PoolRoot", {**_COMMON, "rootType": {"type": "string", "enum": sorted(WORDS.values())}}, needed=_ALWAYS)
ROOT_OPNC = named(
    "PoolRootOpnc",
    {**_COMMON, "rootTypeList": list_of({"enum": sorted(OPNC_WORDS.values())}), "rootCtlList": list_of(TEXT)},
    needed=_ALWAYS,
)
ROOT_UPLOAD = named(
    "PoolRootUpload",
    {
        "caCertificate": CERTIFICATE,
        "rootType": {"type": "string", "enum": sorted({*WORDS.values(), *OPNC_WORDS.values()})},
        "rootTypeList": list_of(TEXT, 1),
        "evidence": {
            "type": "string",
            "maxLength": MAX_EVIDENCE,
            "description": "How the fingerprint was checked through a second channel.",
        },
    },
    needed=("caCertificate", "evidence"),
    is_open=True,
)
WAITING = named(
    "PoolRootWaiting",
    {
        "root": ROOT,
        "addedBy": TEXT,
        "confirmedBy": TEXT,
        "evidence": TEXT,
        "isInForce": {"type": "boolean"},
        "removalAskedBy": TEXT,
    },
    needed=("root", "addedBy", "evidence", "isInForce"),
)
_ONE_OPCP = within("RootResponse", ROOT)
_ONE_OPNC = object_of(
    {"rootCertificate": ROOT_OPNC, "roootCertificate": ROOT_OPNC}, needed=("rootCertificate", "roootCertificate")
)


def root_routes(runtime: Runtime) -> list[Route]:
    """Return the routes of the RCP."""
    views = RootViews(runtime)
    return [*_reading(views), *_adding(views), *_deciding(views)]


def _reading(views: RootViews) -> list[Route]:
    every = _route(
        method="GET",
        view=views.all,
        summary="List the root certificates in force.",
        answers=refusals(400),
        parameters=(
            Parameter(name="rootType", schema=TEXT, summary="mo, v2g, oem or pe."),
            Parameter(name="pkiType", schema=TEXT, summary="The same in OPNC: emsp, v2g, oem or pe."),
        ),
    )
    one = _route(
        method="GET",
        view=views.get,
        summary="Show a root certificate in force.",
        answers=refusals(404),
        parameters=(_ID,),
    )
    collection = within("RootCertificateCollection", within("rootCertificates", list_of(ROOT)))
    return [
        *in_dialects(
            "rcp_all",
            every,
            Words(path=_OPCP, answers=found(collection)),
            Words(path=_OPNC, answers=found(within("rootCertificateCollection", list_of(ROOT_OPNC)))),
        ),
        *in_dialects(
            "rcp_get",
            one,
            Words(path=f"{_OPCP}/<root_id>", answers=found(_ONE_OPCP)),
            Words(path=f"{_OPNC}/<root_id>", answers=found(_ONE_OPNC)),
        ),
    ]


def _adding(views: RootViews) -> list[Route]:
    waiting = _route(
        method="GET",
        path="/v1/root/waiting",
        view=views.waiting,
        summary="List the roots that wait for a second person: to come into force, or to go.",
        answers={**found(within("waiting", list_of(WAITING))), **refusals()},
        roles=_OPERATOR,
        name="rcp_waiting",
    )
    add = _route(
        method="PUT",
        view=views.add,
        summary="Add a root certificate that has 35 years left; outside dev it waits for another person.",
        answers=refusals(400, 413),
        roles=_OPERATOR,
    )
    places = [
        Words(
            path=path,
            answers={200: json_of(schema, "It is in force."), 202: json_of(schema, "It waits for another person.")},
            body=json_body_of(ROOT_UPLOAD),
        )
        for path, schema in ((_OPCP, _ONE_OPCP), (_OPNC, _ONE_OPNC))
    ]
    return [waiting, *in_dialects("rcp_add", add, *places)]


def _deciding(views: RootViews) -> list[Route]:
    confirm = _route(
        method="POST",
        view=views.confirm,
        summary="Put a root into force that another person has added.",
        answers={200: DONE, **refusals(400, 404)},
        roles=_OPERATOR,
        parameters=(_ID,),
    )
    later = json_of(NOTHING, "Asked for: it goes when another person asks for it within a week.")
    remove = _route(
        method="DELETE",
        view=views.remove,
        summary="Remove a root; nothing below it goes with it. Outside dev two people ask for it.",
        answers={200: DONE, 202: later, **refusals(404)},
        roles=_OPERATOR,
        parameters=(_ID,),
    )
    return [
        *in_dialects(
            "rcp_confirm", confirm, *(Words(path=f"{path}/<root_id>/confirm", answers={}) for path in (_OPCP, _OPNC))
        ),
        *in_dialects("rcp_remove", remove, *(Words(path=f"{path}/<root_id>", answers={}) for path in (_OPCP, _OPNC))),
    ]
