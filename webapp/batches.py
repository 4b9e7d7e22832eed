"""Batches over HTTP: a file of CSRs in, its progress, its verdicts and its results out; a partner sees his own only."""

import hashlib
import re
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from flask import Response, jsonify, request, send_file

from pki_core.model.batches import BatchKind, BatchRecord
from pki_core.model.clock import rfc3339
from pki_core.model.errors import MalformedError, NotAuthorizedError, NotFoundError
from pki_core.model.est import Approval
from pki_core.model.partners import Partner
from pki_core.model.tokens import SCOPE_OF_ISSUING
from pki_core.runtime import Runtime
from pki_core.services.partner_batches import MAX_PAGE, BatchRow, BatchView
from pki_core.services.uploads import Upload
from webapp.api_routes import JSON
from webapp.batch_jobs import BatchJobs
from webapp.callers import CallerReader
from webapp.rest import RestCallers, whole_number
from webapp.upload_stream import receive, suffix_of

_USUAL_PROFILES = {"mo": "contract_leaf", "cpo": "evse_leaf", "oem": "oem_provisioning_leaf", "cps": "cps_leaf"}
RESULTS = {
    "zip": ("certificates.zip", "application/zip"),
    "csv": ("results.csv", "text/csv"),
    "parquet": ("results.parquet", "application/vnd.apache.parquet"),
    "manifest": ("manifest.json", JSON),
}
LAST_SEQ = 2_000_000_000
_ONE_PART = re.compile(r"bytes=\s*(?:(?P<first>[0-9]+)-(?P<last>[0-9]*)|-[0-9]+)\s*", re.ASCII | re.IGNORECASE)


class BatchViews:
    """One function for each route."""

    def __init__(self, runtime: Runtime, callers: CallerReader) -> None:
        self._runtime = runtime
        self._limit = runtime.settings.batches.max_octets
        self._jobs = BatchJobs(runtime)
        self._partner = partial(RestCallers(runtime, callers).partner, SCOPE_OF_ISSUING)

    def submit(self) -> Response:
        """Take a file: 202 and where to look, the same for the same file."""
        partner = self._partner()
        with self._jobs.turn() as turn:
            path = self._jobs.new_file(suffix_of(request.args.get("name", "")))
            try:
                received = receive(request, path, self._limit)
                path = path.rename(path.with_suffix(suffix_of(received.name)))
                upload = Upload(
                    path=path,
                    source_name=received.name,
                    partner_id=partner.id,
                    profile_name=self._profile(partner, received.fields),
                    kind=_kind_of(received.fields),
                )
            except BaseException:
                path.unlink(missing_ok=True)  # what broke off is not loaded
                raise
            loaded = self._jobs.load(upload, turn)
        batch_id = loaded["batch_id"]
        if loaded["new"]:
            self._runtime.access.dispatch_poke.poke(batch_id)
        view = self._runtime.access.partner_batches.status(partner.id, batch_id)
        answer = jsonify({**_status(view), "new": loaded["new"]})
        answer.status_code = 202
        answer.headers["Location"] = f"/v1/batches/{batch_id}"
        return answer

    def _profile(self, partner: Partner, fields: dict[str, str]) -> str:
        chosen = fields.get("profile") or request.args.get("profile", "")
        if not chosen and len(partner.roles) != 1:
            raise MalformedError("say which kind of certificates: the parameter profile")
        name = chosen or _USUAL_PROFILES.get(next(iter(partner.roles)), "")
        if name not in self._runtime.profiles:
            raise NotFoundError("there is no such certificate profile")
        label = self._runtime.settings.est.labels.get(self._runtime.profiles[name].branch)
        if label is not None and label.approval is Approval.MANUAL:
            raise NotAuthorizedError("these requests are approved one by one: enrol over EST, or ask the operator")
        return name

    def recent(self) -> Response:
        """List a partner's batches, newest first."""
        partner = self._partner()
        limit = whole_number("limit", 100, 1, MAX_PAGE)
        batches = self._runtime.access.partner_batches.recent(partner.id, request.args.get("before", ""), limit)
        return jsonify(batches=[_described(batch) for batch in batches])

    def status(self, batch_id: str) -> Response:
        """Tell how far a batch is."""
        return _fresh(jsonify(_status(self._runtime.access.partner_batches.status(self._partner().id, batch_id))))

    def items(self, batch_id: str) -> Response:
        """Tell what became of rows, a page at a time: ``after`` is the last ``seq`` of the page before."""
        partner = self._partner()
        after = whole_number("after", -1, -1, LAST_SEQ)
        limit = whole_number("limit", 100, 1, MAX_PAGE)
        rows = self._runtime.access.partner_batches.rows(partner.id, batch_id, after, limit)
        following = rows[-1].seq if len(rows) == limit else None
        return _fresh(jsonify(items=[_item(row) for row in rows], next_after=following))

    def result(self, batch_id: str) -> Response:
        """Answer the results as a file that can be fetched in parts (RFC 9110 14.2)."""
        partner = self._partner()
        kind = request.args.get("format", "zip")
        if kind not in RESULTS:
            raise MalformedError(f"format is one of {', '.join(RESULTS)}")
        view = self._runtime.access.partner_batches.status(partner.id, batch_id)
        name, content_type = RESULTS[kind]
        path = self._jobs.results(view.batch.id) / name
        # A part of JSON is none: the manifest is small, and comes whole.
        comes_whole = content_type == JSON or not _asks_for_one_part(request.headers.get("Range", ""))
        try:
            answer = send_file(
                path,
                mimetype=content_type,
                as_attachment=True,
                download_name=f"{batch_id}-{name}",
                conditional=not comes_whole,
                etag=_etag(path),
            )
        except FileNotFoundError as error:
            raise NotFoundError("these results were just removed; ask again") from error
        if comes_whole:
            answer.make_conditional(request.environ)
        answer.headers["Cache-Control"] = "private, no-cache"
        return answer

    def cancel(self, batch_id: str) -> Response:
        """Refuse what is not signed yet."""
        return _fresh(jsonify(_status(self._runtime.access.partner_batches.cancel(self._partner().id, batch_id))))


def _etag(path: Path) -> str:
    """Return what a file is known by without reading it: a bundle is written once under its name."""
    about = path.stat()
    return hashlib.sha256(f"{path.name} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:32]


def _status(view: BatchView) -> dict[str, Any]:
    counts = view.counts
    return {
        **_described(view.batch),
        "issued": counts.issued,
        "refused": counts.refused,
        "pending": counts.pending,
        "rows_per_second": view.rows_per_second,
    }


def _kind_of(fields: dict[str, str]) -> BatchKind:
    try:
        return BatchKind(fields.get("kind") or request.args.get("kind") or BatchKind.CSR)
    except ValueError as error:
        raise MalformedError(f"kind is one of {', '.join(BatchKind)}") from error


def _described(batch: BatchRecord) -> dict[str, Any]:
    return {
        "id": batch.id,
        "state": batch.state.value,
        "kind": batch.kind.value,
        "profile": batch.profile_name,
        "source_name": batch.source_name,
        "source_sha256": batch.source_sha256,
        "total": batch.total,
        "created_at": _moment(batch.created_at),
        "finished_at": _moment(batch.finished_at),
    }


def _item(row: BatchRow) -> dict[str, Any]:
    result = row.result
    if result is None:
        return {"seq": row.seq, "row_id": row.row_id, "verdict": "pending"}
    verdict = "issued" if result.certificate_der else "refused"
    return {
        "seq": row.seq,
        "row_id": row.row_id,
        "verdict": verdict,
        "code": result.code,
        "message": result.message,
        "common_name": result.common_name,
        "serial": result.serial,
        "not_after": _moment(result.not_after),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _asks_for_one_part(wanted: str) -> bool:
    """Tell whether a Range header is one that is answered, or none; others are ignored (RFC 9110 14.2)."""
    if not wanted:
        return True
    part = _ONE_PART.fullmatch(wanted)
    if part is None:
        return False
    first, last = part["first"], part["last"]
    return not first or not last or _number(first) <= _number(last)  # 14.1.1: else it is invalid


def _number(digits: str) -> tuple[int, str]:
    """Return what decimal numbers of any length are compared by: int refuses those of thousands of digits."""
    bare = digits.lstrip("0")
    return len(bare), bare


def _fresh(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
