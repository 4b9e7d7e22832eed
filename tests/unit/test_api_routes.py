"""Declared routes: what is declared is served, under every alias, and is in the list of its application alone."""

import pytest
from flask import Blueprint, Flask, jsonify

from webapp.api_routes import TEXT, Parameter, Route, add_routes, failures, json_of, routes_of


def show(thing_id):
    return jsonify(thing_id)


def application(**changes):
    stated = {"method": "GET", "path": "/<thing_id>", "view": show, "summary": "Show a thing", "tag": "Things"}
    route = Route(answers={200: json_of(TEXT, "The thing."), **failures(404)}, **{**stated, **changes})
    blueprint = Blueprint("things", __name__, url_prefix="/v1/things")
    add_routes(blueprint, [route])
    app = Flask("test")
    app.register_blueprint(blueprint)
    return app


def test_a_route_is_served_and_described_at_its_path_and_its_aliases():
    app = application(aliases=("/<thing_id>/again",), parameters=(Parameter(name="thing_id", place="path"),))
    client = app.test_client()
    assert [client.get(path).json for path in ("/v1/things/a", "/v1/things/b/again")] == ["a", "b"]
    assert client.post("/v1/things/a").status_code == 405
    assert [(one.rule, one.endpoint, one.is_alias) for one in routes_of(app)] == [
        ("/v1/things/<thing_id>", "things.show", False),
        ("/v1/things/<thing_id>/again", "things.show_1", True),
    ]
    assert {one.endpoint for one in routes_of(app)} < {rule.endpoint for rule in app.url_map.iter_rules()}


def test_declarations_belong_to_one_application():
    first, second = application(), application(name="other")
    assert [one.endpoint for one in routes_of(first)] == ["things.show"]
    assert [one.endpoint for one in routes_of(second)] == ["things.other"]


def test_two_views_cannot_share_an_endpoint():
    blueprint = Blueprint("things", __name__)
    stated = {"method": "GET", "summary": "Show", "tag": "Things", "answers": failures(), "name": "show"}
    add_routes(blueprint, [Route(path=path, view=lambda: "", **stated) for path in ("/a", "/b")])
    with pytest.raises(AssertionError, match="show"):
        Flask("test").register_blueprint(blueprint)


def test_every_refusal_has_a_meaning_and_503_says_when_to_come_back():
    answers = failures(400, 404, 429)
    assert list(answers) == [400, 404, 429, 500, 503]
    assert all(answer.summary for answer in answers.values())
    assert [status for status, answer in answers.items() if "Retry-After" in answer.headers] == [429, 503]
