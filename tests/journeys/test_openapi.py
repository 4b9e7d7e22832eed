"""The API document and its page: every route is in it, it is valid, each listener tells its own, nothing is foreign."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from flask import Flask
from openapi_spec_validator import validate

from webapp import create_app
from webapp.__main__ import main
from webapp.api_routes import Named, Route, add_routes, failures, json_of
from webapp.listeners import PublicOnly, is_public
from webapp.openapi import document

pytest_plugins = ["tests.journeys.environments"]
# Answered ahead of Flask, by webapp/ocsp.py.
AHEAD_OF_FLASK = {("/ocsp", "POST"), ("/ocsp/", "POST"), ("/ocsp/{request}", "GET")}
BY_FLASK_ITSELF = {"HEAD", "OPTIONS"}


@pytest.fixture(scope="module")
def app(untouched):
    return create_app(untouched)


@pytest.fixture(scope="module")
def described(app, untouched):
    return document(app, untouched)


def operations(described):
    return {(path, method.upper()): one for path, item in described["paths"].items() for method, one in item.items()}


def references(part):
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


def test_the_document_is_valid(described):
    validate(described)
    assert described["openapi"].startswith("3.1.")


def test_every_route_is_in_the_document_and_nothing_else_is(app, described):
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - BY_FLASK_ITSELF
    }
    told = set(operations(described))
    assert served - told == set()
    assert told - served == AHEAD_OF_FLASK


def test_every_operation_has_a_name_of_its_own_and_every_parameter_of_its_path(described):
    found = operations(described)
    names = [one["operationId"] for one in found.values()]
    assert len(names) == len(set(names))
    for (path, _), one in found.items():
        in_path = [parameter["name"] for parameter in one.get("parameters", []) if parameter["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)
        assert one["summary"]
        assert one["responses"]


def test_an_alias_names_what_it_is_an_alias_of(described):
    found = operations(described)
    by_name = {one["operationId"]: one for one in found.values()}
    aliases = {place: one["x-alias-of"] for place, one in found.items() if "x-alias-of" in one}
    assert aliases["/opnc/v1/event/endpoints", "POST"] == "webhooks.add"
    assert aliases["/.well-known/{label}/simpleenroll/{edition}", "POST"] == "est.simpleenroll"
    assert all("x-alias-of" not in by_name[name] for name in aliases.values())


def test_what_is_refused_ahead_of_every_view_is_told_for_every_route(app, described):
    client = app.test_client()
    assert client.get("/healthz?a=%00").status_code == 400
    assert client.get("/crl/%00.crl").status_code == 404
    for place, one in operations(described).items():
        if place not in AHEAD_OF_FLASK:
            assert {"400", "404"} & set(one["responses"]) >= ({"400", "404"} if "{" in place[0] else {"400"}), place


def test_calls_of_partners_name_their_credentials_and_public_ones_none(described):
    found = operations(described)
    upload = found["/v1/batches", "POST"]
    assert upload["security"] == [{"token": ["pkigateway"]}, {"secret": []}, {"certificate": []}]
    assert "security" not in found["/crl/{name}.crl", "GET"]
    schemes = described["components"]["securitySchemes"]
    grant = schemes["token"]["flows"]["clientCredentials"]
    assert grant["tokenUrl"].endswith("/oauth/token")
    assert "pkigateway" in grant["scopes"]
    assert set(schemes) == {"token", "secret", "certificate"}


def test_no_schema_is_there_for_nothing(described):
    used = {name.rpartition("/")[2] for name in references(described)}
    assert used == set(described["components"]["schemas"])


def test_each_listener_tells_what_it_serves(app, described):
    whole = app.test_client().get("/openapi.json")
    assert whole.json == described
    plain = Flask("plain")
    plain.wsgi_app = PublicOnly(app)
    public = plain.test_client().get("/openapi.json")
    validate(public.json)
    assert set(public.json["paths"]) == {path for path in described["paths"] if is_public(path)}
    assert {"/ocsp", "/crl/{name}.crl", "/docs"} < set(public.json["paths"])
    assert "securitySchemes" not in public.json["components"]
    assert plain.test_client().get("/docs").status_code == 200
    assert app.test_client().get("/openapi.json").json == described  # neither is kept for the other


def test_the_document_is_fetched_once_and_then_asked_about(app):
    client = app.test_client()
    first = client.get("/openapi.json")
    again = client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.mimetype, again.status_code, again.data) == ("application/json", 304, b"")


class Addresses(HTMLParser):
    """What a page loads, and whether any of its scripts or styles stand in it."""

    def __init__(self):
        super().__init__()
        self.loaded, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.loaded += [named[key] for key in ("src", "href") if key in named]
        self.inline += [key for key in named if key.startswith("on") or key == "style"]
        if tag == "style" or (tag == "script" and "src" not in named):
            self.inline.append(tag)


def test_the_page_loads_nothing_foreign_and_its_policy_forbids_it(app):
    client = app.test_client()
    page = client.get("/docs")
    assert page.content_type == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    found = Addresses()
    found.feed(page.text)
    assert found.inline == []
    assert set(found.loaded) == {"/docs/viewer.css", "/docs/viewer.js", "/openapi.json"}
    for place in found.loaded:
        answer = client.get(place)
        assert answer.status_code == 200, place
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    script = client.get("/docs/viewer.js").text
    assert re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|https?:", script) is None


@pytest.mark.parametrize("name", ["no-such.js", "index.html", "..%2Fpolicy.md", "viewer.js%00"])
def test_the_page_is_no_way_to_other_files(app, name):
    assert app.test_client().get(f"/docs/{name}").status_code == 404


def test_two_schemas_cannot_share_a_name(untouched):
    from flask import Blueprint

    blueprint = Blueprint("things", __name__)
    for place, kind in (("/a", "string"), ("/b", "integer")):
        answers = {200: json_of(Named(name="Thing", schema={"type": kind}), "It."), **failures()}
        stated = {"method": "GET", "path": place, "view": lambda: "", "summary": "Show", "tag": "Things"}
        add_routes(blueprint, [Route(**stated, answers=answers, name=kind)])
    app = Flask("test")
    app.register_blueprint(blueprint)
    with pytest.raises(ValueError, match="Thing"):
        document(app, untouched)


@pytest.mark.slow
def test_the_command_writes_the_document_the_front_serves(home, described, tmp_path):
    out = tmp_path / "openapi.json"
    command = [sys.executable, "-m", "flows", "openapi", "--home", str(home), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads(out.read_text()) == described


def test_the_document_is_printed_and_what_cannot_be_written_is_told(home, described, tmp_path, monkeypatch, capsys):
    command = ["webapp", "openapi", "--home", str(home), "--json"]
    monkeypatch.setattr(sys, "argv", command)
    assert main() == 0
    assert json.loads(capsys.readouterr().out) == described
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "no" / "file")])
    assert main() == 1
    assert json.loads(capsys.readouterr().out)["error"] == "request.malformed"
