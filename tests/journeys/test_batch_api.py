"""Batches over HTTP: upload, progress, verdicts, results; by partners, each his own. Real processes."""

import csv
import io
import json
import subprocess
import zipfile
from contextlib import closing

import pytest
from cryptography import x509

from pki_core.model.credentials import CredentialKind
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime import open_runtime
from tests.builders import new_key
from tests.journeys.batch_api_acts import ApiClient, emaid, errors_of, sign, uploads_of
from tests.journeys.est_acts import EstClient, enrolled, trust_proxy
from webapp import create_app

pytest_plugins = ["tests.journeys.batch_api_environments"]


@pytest.mark.slow
def test_a_file_becomes_a_batch_and_its_results_come_back(uploader, table):
    answer = uploader.upload(table(3, bad=1))
    assert answer.status_code == 202
    batch_id = answer.json["id"]
    assert answer.headers["Location"] == f"/v1/batches/{batch_id}"
    assert (answer.json["state"], answer.json["total"], answer.json["new"]) == ("queued", 4, True)
    assert answer.json["source_name"] == "batch.csv"
    assert uploads_of(uploader.runtime) == []
    assert uploader.get(f"/v1/batches/{batch_id}/result").status_code == 409
    sign(uploader.runtime, batch_id)
    status = uploader.get(f"/v1/batches/{batch_id}").json
    counts = {key: status[key] for key in ("state", "issued", "refused", "pending")}
    assert counts == {"state": "done", "issued": 3, "refused": 1, "pending": 0}
    assert status["rows_per_second"] > 0
    assert status["finished_at"] >= status["created_at"]
    with zipfile.ZipFile(io.BytesIO(uploader.get(f"/v1/batches/{batch_id}/result").data)) as archive:
        chain = x509.load_pem_x509_certificates(archive.read(archive.namelist()[0]))
    assert len(archive.namelist()) == 3
    assert len(chain) == 3
    lines = list(csv.DictReader(io.StringIO(uploader.get(f"/v1/batches/{batch_id}/result?format=csv").text)))
    assert [line["verdict"] for line in lines] == ["issued"] * 3 + ["refused"]
    assert uploader.get(f"/v1/batches/{batch_id}/result?format=exe").status_code == 400


@pytest.mark.slow
def test_the_same_file_twice_is_the_same_batch(uploader, table):
    octets = table(2)
    first, second = uploader.upload(octets), uploader.upload(octets, "?name=renamed.csv")
    assert (first.json["id"], second.json["new"]) == (second.json["id"], False)
    form = {"file": (io.BytesIO(octets), "C:\\uploads\\form.csv"), "profile": "contract_leaf"}
    third = uploader.post("/v1/batches", data=form, content_type="multipart/form-data")
    assert (third.status_code, third.json["id"]) == (202, first.json["id"])
    assert [batch["id"] for batch in uploader.get("/v1/batches").json["batches"]] == [first.json["id"]]


@pytest.mark.slow
def test_a_form_is_as_good_as_a_body(uploader, table):
    form = {"file": (io.BytesIO(table(1)), "../../uploads/form.csv")}
    answer = uploader.post("/v1/batches", data=form, content_type="multipart/form-data")
    assert (answer.status_code, answer.json["source_name"]) == (202, "form.csv")


def form_of(**fields):
    """A form byte by byte: the test client keeps large ones in files it never closes."""
    parts = []
    for field, value in fields.items():
        name_of_file = "" if isinstance(value, str) else '; filename="large.csv"'
        octets = value.encode() if isinstance(value, str) else value
        head = f'--limit\r\nContent-Disposition: form-data; name="{field}"{name_of_file}\r\n\r\n'
        parts += [head.encode(), octets, b"\r\n"]
    return {"data": b"".join([*parts, b"--limit--\r\n"]), "content_type": "multipart/form-data; boundary=limit"}


def test_a_form_may_hold_a_large_file_and_no_large_field(uploader):
    octets = bytes(range(256)) * 8000
    answer = uploader.post("/v1/batches", **form_of(file=octets, profile="no_such"))
    assert errors_of(answer)[0] == 404  # read to its end: the field behind the file is known
    answer = uploader.post("/v1/batches", **form_of(note="x" * 600_000, file=octets))
    assert errors_of(answer) == (400, ["the form cannot be read"])
    answer = uploader.post("/v1/batches", data=form_of(file=octets)["data"][:-20], content_type="multipart/form-data")
    assert errors_of(answer)[0] == 400
    assert uploads_of(uploader.runtime) == []


@pytest.mark.slow
def test_the_kind_of_a_raw_body_follows_from_its_type(uploader, requests):
    line = json.dumps({"row_id": "one", "csr": requests(0)}).encode()
    answer = uploader.upload(line, "", "application/x-ndjson")
    assert (answer.status_code, answer.json["total"]) == (202, 1)


@pytest.mark.slow
def test_what_is_wrong_with_a_file_is_told_and_nothing_of_it_stays(uploader):
    assert errors_of(uploader.upload(b"no,table\nof,requests\n"))[0] == 400
    status, (message,) = errors_of(uploader.upload(b"octets", "?name=file.exe", "application/octet-stream"))
    assert (status, "none of .csv" in message) == (400, True)
    status, (message,) = errors_of(uploader.upload(b"x", "?name=--help.csv"))
    assert status == 400
    assert "usage" not in message
    assert uploads_of(uploader.runtime) == []
    assert uploader.get("/v1/batches").json == {"batches": []}


def test_what_cannot_be_a_batch_is_refused_before_a_process_is_spent_on_it(uploader, table, monkeypatch):

    monkeypatch.setattr(subprocess, "Popen", None)
    assert errors_of(uploader.upload(b"")) == (400, ["the body is empty: it is the file of requests"])
    assert errors_of(uploader.upload(table(0), "?name=a.csv&profile=no_such"))[0] == 404
    form = {"note": "no file"}
    assert errors_of(uploader.post("/v1/batches", data=form, content_type="multipart/form-data"))[0] == 400
    two = {"a": (io.BytesIO(b"1"), "a.csv"), "b": (io.BytesIO(b"2"), "b.csv")}
    answer = uploader.post("/v1/batches", data=two, content_type="multipart/form-data")
    assert errors_of(answer) == (400, ["one request holds one file"])
    assert uploads_of(uploader.runtime) == []


@pytest.mark.slow
def test_a_profile_of_another_role_is_forbidden(uploader, table):
    assert errors_of(uploader.upload(table(1), "?name=a.csv&profile=evse_leaf"))[0] == 403


class Unread(io.BytesIO):
    """A body nobody should begin to read."""

    def read(self, *_):
        raise AssertionError

    readinto = readline = read


def test_a_file_over_the_limit_is_refused_declared_or_not(home, monkeypatch):

    monkeypatch.setattr(subprocess, "Popen", None)  # the process for the file would refuse it, too, and too late
    with (home / "pncpki.toml").open("a") as file:
        file.write("\n[batches]\nmax_octets = 1000\n")
    with closing(open_runtime(home)) as runtime:
        uploader = ApiClient(runtime)
        octets = b"x" * 1001
        answer = uploader.upload(octets)
        assert errors_of(answer) == (413, ["a file has at most 1000 octets"])
        assert answer.headers["Connection"] == "close"
        without_length = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
        declared = uploader.post(
            "/v1/batches?name=a.csv", input_stream=Unread(), environ_overrides={"CONTENT_LENGTH": "1001"}
        )
        assert declared.status_code == 413
        chunked = uploader.post(
            "/v1/batches?name=a.csv", input_stream=io.BytesIO(octets), environ_overrides=without_length
        )
        assert chunked.status_code == 413
        form = {"file": (io.BytesIO(octets), "a.csv")}
        assert uploader.post("/v1/batches", data=form, content_type="multipart/form-data").status_code == 413
        assert uploads_of(runtime) == []


@pytest.mark.slow
def test_a_partner_sees_his_own_batches_only(uploader, table):
    batch_id = uploader.batch(table(1))
    other = ApiClient(uploader.runtime, "demo-cpo", uploader.app)
    for method, path in (("GET", ""), ("GET", "/items"), ("GET", "/result"), ("POST", "/cancel")):
        answer = other.call(method, f"/v1/batches/{batch_id}{path}")
        assert errors_of(answer) == (404, [f"there is no batch '{batch_id}'"])
        assert errors_of(other.call(method, f"/v1/batches/nothing{path}"))[0] == 404
    assert other.get("/v1/batches").json == {"batches": []}
    assert other.get(f"/v1/batches?before={batch_id}").status_code == 404
    assert uploader.get(f"/v1/batches/{batch_id}").json["state"] == "queued"


def test_nobody_calls_without_credentials_and_no_device_with_its_certificate(home):
    with closing(open_runtime(trust_proxy(home))) as runtime:
        app = create_app(runtime)
        answer = app.test_client().post("/v1/batches", data=b"x" * 1000)
        assert errors_of(answer)[0] == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        station = EstClient(runtime, app, basic=("demo-cpo", runtime.credentials.make_secret("demo-cpo")))
        certificate_der = enrolled(station, new_key(KeyAlgorithm.SECP256R1))
        device = station.with_certificate(certificate_der)
        assert errors_of(device.get("/v1/batches"))[0] == 403
        code = runtime.credentials.make_secret("demo-cpo", CredentialKind.CODE)
        assert EstClient(runtime, app, basic=("demo-cpo", code)).get("/v1/batches").status_code == 401
        assert station.get("/v1/batches").status_code == 200


@pytest.mark.slow
def test_a_token_of_ours_uploads_with_the_scope_of_issuing(uploader, table):
    secret = uploader.runtime.credentials.make_secret("demo-mo")
    ask = {"client_id": "demo-mo", "client_secret": secret, "grant_type": "client_credentials"}
    http = uploader.app.test_client()
    token = http.post("/oauth/token", json=ask).json["access_token"]
    uploader.headers = {"Authorization": f"Bearer {token}"}
    assert uploader.upload(table(1)).status_code == 202
    token = http.post("/oauth/token", json={**ask, "scope": "rcpservice"}).json["access_token"]
    uploader.headers = {"Authorization": f"Bearer {token}"}
    assert uploader.upload(table(1)).status_code == 403


@pytest.mark.slow
def test_verdicts_come_in_pages_and_rows_without_one_are_pending(home, table):
    with (home / "pncpki.toml").open("a") as file:
        file.write("\n[issuance]\nchunk_rows = 2\n")
    with closing(open_runtime(home)) as runtime:
        uploader = ApiClient(runtime)
        batch_id = uploader.batch(table(5, bad=1))
        sign(runtime, batch_id, chunks=1)
        seen, after = [], -1
        while after is not None:
            page = uploader.get(f"/v1/batches/{batch_id}/items?after={after}&limit=4").json
            seen += page["items"]
            after = page["next_after"]
        assert [item["seq"] for item in seen] == list(range(6))
        assert [item["verdict"] for item in seen] == ["issued"] * 2 + ["pending"] * 3 + ["refused"]
        assert seen[0]["common_name"] == emaid(0) + seen[0]["common_name"][14:]
        assert (seen[0]["serial"] != "", seen[5]["code"], seen[4]["row_id"]) == (True, seen[5]["code"], "row-4")
        for query in ("after=x", "limit=0", "limit=1001", "after=-2", "after=99999999999999999999", "limit=²"):
            assert uploader.get(f"/v1/batches/{batch_id}/items?{query}").status_code == 400, query


@pytest.mark.slow
def test_results_can_be_fetched_in_parts_and_are_written_once(uploader, table):
    batch_id = uploader.batch(table(2))
    sign(uploader.runtime, batch_id)
    whole = uploader.get(f"/v1/batches/{batch_id}/result")
    etag = whole.headers["ETag"]
    part = uploader.get(f"/v1/batches/{batch_id}/result", headers={"Range": "bytes=100-", "If-Range": etag})
    assert (part.status_code, part.data) == (206, whole.data[100:])
    assert part.headers["Content-Range"] == f"bytes 100-{len(whole.data) - 1}/{len(whole.data)}"
    assert uploader.get(f"/v1/batches/{batch_id}/result", headers={"If-None-Match": etag}).status_code == 304
    changed = uploader.get(f"/v1/batches/{batch_id}/result", headers={"Range": "bytes=100-", "If-Range": '"other"'})
    assert (changed.status_code, changed.data) == (200, whole.data)
    for wanted in ("bytes=999999999-", "bytes=999999998-999999999", "bytes=-0"):
        beyond = uploader.get(f"/v1/batches/{batch_id}/result", headers={"Range": wanted})
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.data)}"), wanted
    short = uploader.get(f"/v1/batches/{batch_id}/result", headers={"Range": "bytes=9-010"})
    assert (short.status_code, short.data) == (206, whole.data[9:11])
    invalid = ("bytes=5-1", "bytes=10-9", f"bytes={'9' * 5000}-1")
    for ignored in (*invalid, "bytes=0-0,5-9", "bytes=0-0, 999999999-", "rows=1-2", "bytes=x-y", "nonsense"):
        answer = uploader.get(f"/v1/batches/{batch_id}/result", headers={"Range": ignored})
        assert (answer.status_code, answer.data) == (200, whole.data), ignored
    manifest = uploader.get(f"/v1/batches/{batch_id}/result?format=manifest", headers={"Range": "bytes=1-9"})
    assert (manifest.status_code, "Accept-Ranges" in manifest.headers) == (200, False)  # a part of it is no JSON
    assert manifest.json["files"]["certificates.zip"]["octets"] == len(whole.data)


@pytest.mark.slow
def test_results_that_cannot_be_written_here_are_not_the_callers_fault(uploader, table):
    batch_id = uploader.batch(table(1))
    sign(uploader.runtime, batch_id)
    spool = uploader.runtime.home / "spool"
    spool.mkdir(exist_ok=True)
    (spool / batch_id).write_bytes(b"")
    assert uploader.get(f"/v1/batches/{batch_id}/result").status_code == 503


@pytest.mark.slow
def test_a_new_batch_is_told_to_prefect_and_an_old_one_is_not(uploader, table, monkeypatch):
    told = []
    monkeypatch.setattr(uploader.runtime.access.dispatch_poke, "poke", told.append)
    octets = table(1)
    batch_id = uploader.upload(octets).json["id"]
    assert uploader.upload(octets).json["new"] is False
    assert told == [batch_id]
    assert uploader.runtime.maintenance.queued() == [batch_id]  # whether it is told or not
