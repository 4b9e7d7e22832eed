"""The routes of batches over HTTP, and what the API document says of them."""

from dataclasses import replace
from functools import partial
from typing import Any, Final

from flask import Blueprint

from pki_core.model.batches import BatchKind
from pki_core.model.states import BatchState
from pki_core.model.tokens import SCOPE_OF_ISSUING
from pki_core.runtime import Runtime
from pki_core.services.partner_batches import MAX_PAGE
from webapp.api_routes import (
    JSON,
    OCTETS,
    TEXT,
    Answer,
    Body,
    Parameter,
    Route,
    Schema,
    add_routes,
    failures,
    json_of,
    object_of,
    refusals,
)
from webapp.batches import LAST_SEQ, RESULTS, BatchViews
from webapp.callers import caller_reader
from webapp.rest import answer_errors_as_json
from webapp.upload_stream import SUFFIXES

_route = partial(Route, tag="Batches", scope=SCOPE_OF_ISSUING)
_COUNT = {"type": "integer", "minimum": 0}
_MOMENT = {"type": "string", "format": "date-time"}
_MAYBE_MOMENT = {"type": ["string", "null"], "format": "date-time"}
_DESCRIBED: Final[dict[str, Any]] = {
    "id": TEXT,
    "state": {"enum": [state.value for state in BatchState]},
    "kind": {"enum": [kind.value for kind in BatchKind]},
    "profile": {"type": "string", "description": "Which kind of certificates."},
    "source_name": TEXT,
    "source_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "total": _COUNT,
    "created_at": _MOMENT,
    "finished_at": _MAYBE_MOMENT,
}
_COUNTED: Final[dict[str, Any]] = {
    "issued": _COUNT,
    "refused": _COUNT,
    "pending": _COUNT,
    "rows_per_second": {"type": "number", "minimum": 0, "description": "Since the upload."},
}


_BATCH = object_of("Batch", _DESCRIBED)
_PROGRESS = object_of("BatchProgress", {**_DESCRIBED, **_COUNTED})
_ACCEPTED = object_of(
    "BatchAccepted",
    {
        **_DESCRIBED,
        **_COUNTED,
        "new": {"type": "boolean", "description": "false: the same file is this batch already."},
    },
)
_VERDICT = ("code", "message", "common_name", "serial", "not_after")
_ITEM = object_of(
    "BatchItem",
    {
        "seq": _COUNT,
        "row_id": TEXT,
        "verdict": {"enum": ["pending", "issued", "refused"]},
        "code": {"type": "string", "description": "Stable; the list is in the README."},
        "message": TEXT,
        "common_name": TEXT,
        "serial": {"type": "string", "description": "Lower-case hexadecimal; empty when refused."},
        "not_after": _MAYBE_MOMENT,
    },
    optional=_VERDICT,
)
_ID = Parameter(name="batch_id", place="path", summary="The id of a batch of one's own.")
_LIMIT = Parameter(
    name="limit",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 100},
    summary="How many at most.",
)
_FORM: Schema = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "profile": {"type": "string", "description": "As the parameter."},
        "kind": {"type": "string", "description": "As the parameter."},
    },
}
_PARTIAL = {"Content-Range": "Which part (RFC 9110 14.4).", "ETag": "What these results are known by."}


def batches_blueprint(runtime: Runtime) -> Blueprint:
    """Return the routes below /v1/batches."""
    blueprint = Blueprint("batches", __name__, url_prefix="/v1/batches")
    add_routes(blueprint, _routes(BatchViews(runtime, caller_reader(runtime))))
    answer_errors_as_json(blueprint)
    return blueprint


def _routes(views: BatchViews) -> list[Route]:
    return [
        _upload(views),
        _route(
            method="GET",
            path="",
            view=views.recent,
            summary="List one's batches, newest first",
            parameters=(_LIMIT, Parameter(name="before", summary="The last id of the page before.")),
            answers={
                200: json_of(object_of("Batches", {"batches": {"type": "array", "items": _BATCH}}), "A page of them."),
                **refusals(400, 404),
            },
        ),
        _route(
            method="GET",
            path="/<batch_id>",
            view=views.status,
            summary="Tell how far a batch is",
            parameters=(_ID,),
            answers={200: json_of(_PROGRESS, "Its counts."), **refusals(404)},
        ),
        _verdicts(views),
        _results(views),
        _route(
            method="POST",
            path="/<batch_id>/cancel",
            view=views.cancel,
            summary="Refuse what is not signed yet",
            parameters=(_ID,),
            answers={200: json_of(_PROGRESS, "What came of it."), **refusals(404)},
        ),
    ]


def _upload(views: BatchViews) -> Route:
    return _route(
        method="POST",
        path="",
        view=views.submit,
        summary="Upload a file of certificate signing requests",
        details="The file is the body, or the one file of a form. The same file twice is the same batch.",
        parameters=(
            Parameter(name="name", summary="The name of a file that is the body; its suffix says what is in it."),
            Parameter(name="profile", summary="Which kind of certificates; needed by partners of several roles."),
            Parameter(
                name="kind",
                schema={"enum": [kind.value for kind in BatchKind], "default": BatchKind.CSR.value},
                summary="contract: a table of emaid, pcid, begins, ends; the MO CA makes the keys.",
            ),
        ),
        body=Body(
            content={
                **dict.fromkeys(SUFFIXES, OCTETS),
                "application/octet-stream": OCTETS,
                "multipart/form-data": _FORM,
            }
        ),
        answers={
            202: json_of(_ACCEPTED, "It is queued.", {"Location": "Where its progress is told."}),
            **refusals(400, 404, 409, 413),
        },
    )


def _verdicts(views: BatchViews) -> Route:
    after = {"type": "integer", "minimum": -1, "maximum": LAST_SEQ, "default": -1}
    page: dict[str, Schema] = {"items": {"type": "array", "items": _ITEM}, "next_after": {"type": ["integer", "null"]}}
    return _route(
        method="GET",
        path="/<batch_id>/items",
        view=views.items,
        summary="Tell what became of rows",
        parameters=(_ID, _LIMIT, Parameter(name="after", schema=after, summary="The last seq of the page before.")),
        answers={200: json_of(object_of("BatchItems", page), "A page of rows."), **refusals(400, 404)},
    )


def _results(views: BatchViews) -> Route:
    files = {media_type: OCTETS for _, media_type in RESULTS.values() if media_type != JSON}
    whole = {**files, JSON: {"type": "object"}}  # the manifest, which has no parts
    return _route(
        method="GET",
        path="/<batch_id>/result",
        view=views.result,
        summary="Fetch the results, whole or in parts",
        parameters=(
            _ID,
            Parameter(name="format", schema={"enum": list(RESULTS), "default": "zip"}, summary="Which file."),
            Parameter(name="Range", place="header", summary="A part of it (RFC 9110 14.2)."),
        ),
        answers={
            200: Answer(summary="The file.", content=whole, headers={"ETag": _PARTIAL["ETag"]}),
            206: Answer(summary="A part of it.", content=files, headers=_PARTIAL),
            304: Answer(summary="You have it already."),
            **refusals(400, 404, 409),
            416: replace(failures(416)[416], headers={"Content-Range": "How long the whole is (RFC 9110 15.5.17)."}),
        },
    )
