"""REST calls with anything at all in them: an error in JSON that says so, never our fault, never a page."""

import json

import pytest

from tests.journeys.acts import rows
from tests.journeys.pool_acts import everything
from tests.journeys.rest_acts import CCP, PCP, PCP_OPNC, RCP, RCP_OPNC, VRA, basic
from webapp.api_routes import routes_of

pytest_plugins = ["tests.journeys.rest_environments"]
HOOKS = "/v1/webhook/endpoints"
WRITERS = [
    ("oem", "PUT", PCP),
    ("oem", "PUT", PCP_OPNC),
    ("alice", "PUT", RCP),
    ("alice", "PUT", RCP_OPNC),
    ("cpo", "PUT", VRA),
    ("mo", "POST", HOOKS),
    ("mo", "PUT", f"{HOOKS}/b1b86334-7c74-4ccc-b78d-d4f773d3b559"),
    ("mo", "POST", "/opnc/v1/pki/pki/revokeCertificate"),
]
NO_OBJECTS = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "a number": b"1",
    "NaN": b'{"a": NaN}',
    "too large a number": b'{"a": 1e999}',
    "a very long number": b'{"a": ' + b"9" * 5000 + b"}",
    "a member twice": b'{"a": 1, "a": 2}',
    "NUL": b'{"a": ["\\u0000"]}',
    "half a character": b'{"a": "\\ud800"}',
    "half a character for a name": b'{"\\udfff": 1}',
    "no UTF-8": b'{"a": "\xff"}',
    "two objects": b"{}{}",
    "a form": b"a=b",
    "deep arrays": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000,
    "a little too deep": b'{"a":' * 17 + b"1" + b"}" * 17,
}


@pytest.mark.parametrize("what", NO_OBJECTS)
def test_what_is_no_json_object_is_refused_by_every_route_that_takes_one(steady, what):
    for who, method, path in WRITERS:
        answer = steady.call(who, method, path, data=NO_OBJECTS[what], content_type="application/json")
        assert (answer.status_code, answer.mimetype) == (400, "application/json"), (path, answer.data)
        assert set(answer.json) == {"errorMessages", "traceId"}


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", "application/jsonp", "x"])
def test_a_body_of_another_type_is_refused(steady, kind):
    for who, method, path in WRITERS:
        status, message = steady.refused(who, method, path, data=b"{}", content_type=kind)
        assert (status, message.removeprefix("request.malformed: ")) == (400, "the body must be application/json")


def test_a_body_that_is_too_large_is_refused(steady):
    for who, method, path in WRITERS:
        most = 1_048_576 if path == VRA else 65_536
        answer = steady.call(who, method, path, data=b" " * (most + 1), content_type="application/json")
        assert (answer.status_code, answer.mimetype) == (413, "application/json")
        assert answer.headers.get("Connection") == "close" or "revoke" in path
        fitting = steady.call(who, method, path, data=b" " * (most - 2) + b"[]", content_type="application/json")
        assert fitting.status_code == 400


VALUES = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    "x" * 9000,
    "\x00",
    "😀",
    [],
    [[]],
    [None],
    {},
    {"a": {}},
    "-----BEGIN X-----",
]


def members_of(placed):
    schema = placed.route.body.content["application/json"]
    schema = getattr(schema, "schema", schema)
    return [*schema.get("properties", {}), *(m for one in schema.get("anyOf", ()) for m in one.schema["properties"])]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_any_value_in_any_member_is_refused_and_changes_nothing(steady, value):
    before = everything(steady.runtime)
    seen = 0
    for placed in routes_of(steady.app):
        if not placed.endpoint.startswith("pools.") or placed.route.body is None:
            continue
        (who,) = [{"operator": "alice"}.get(role, role) for role in placed.route.roles if role != "cps"][:1]
        for member in members_of(placed):
            for sent in ({member: value}, {member: {member: value}}, {member: [{member: value}]}):
                answer = steady.call(who, placed.route.method, placed.rule, json=sent)
                assert answer.status_code in {400, 413}, (placed.rule, sent, answer.data)
                assert answer.mimetype == "application/json"
                seen += 1
    assert seen > 50
    assert everything(steady.runtime) == before


def test_what_is_not_there_and_what_may_not_be_done_is_told_in_json(steady):
    for path in ("/v1", "/v1/", "/v1/nobody", "/opnc/v1/pcp/", "/opnc/v2/rcp/rootcertificates", f"{PCP}//x"):
        if path != "/v1":
            assert steady.refused("oem", "GET", path) == (404, "Not Found")
    for method, path in (("DELETE", PCP), ("POST", RCP), ("PATCH", f"{CCP}/x"), ("PUT", f"{PCP}/WPNFOREGN00000001")):
        answer = steady.call("oem", method, path)
        assert (answer.status_code, answer.json["errorMessages"]) == (405, ["Method Not Allowed"])
        assert "Allow" in answer.headers


def test_no_answer_of_the_rest_calls_is_a_page(steady):
    for placed in routes_of(steady.app):
        if not placed.rule.startswith(("/v1/", "/opnc/v1/")):
            continue
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE"):
            answer = steady.call("mo", method, placed.rule.replace("<", "").replace(">", ""))
            assert answer.mimetype != "text/html", (method, placed.rule)
            assert answer.status_code < 500, (method, placed.rule)


def test_names_in_paths_may_be_anything(steady):
    for text in ("%00", "%ff%fe", "a" * 4000, "%2e%2e%2f", "%F0%9F%98%80", "'; DROP TABLE contract; --", "%0d%0aX: y"):
        for who, method, path in (
            ("oem", "GET", f"{PCP}/{text}"),
            ("mo", "DELETE", f"{CCP}/{text}"),
            ("oem", "GET", f"{CCP}/{text}"),
            ("cpo", "DELETE", f"{VRA}/{text}"),
            ("alice", "DELETE", f"{RCP}/{text}"),
            ("mo", "GET", f"{HOOKS}/{text}"),
            ("mo", "GET", f"/v1/batches/{text}"),
            ("cpo", "GET", f"{VRA}?after={text}"),
            ("cpo", "GET", f"{RCP}?rootType={text}"),
            ("mo", "GET", f"/v1/batches?before={text}"),
        ):
            answer = steady.call(who, method, path)
            assert answer.status_code in {200, 400, 404}, (path, answer.status_code)
            assert answer.mimetype == "application/json"
    assert json.dumps(rows(steady.runtime, "SELECT count(*) FROM end_entity")) == "[[0]]"


@pytest.mark.postgres
def test_names_in_paths_may_be_anything_on_postgresql_too(rest_postgres):
    test_names_in_paths_may_be_anything(rest_postgres)
    for user, secret in (("a\0b", "x"), ("mo", "x\0"), ("\udc80", "x")):
        given = {"grant_type": "client_credentials", "client_id": user, "client_secret": secret}
        assert rest_postgres.call("nobody", "POST", "/oauth/token", json=given).status_code == 401
        if user.isascii():
            assert rest_postgres.refused("nobody", "GET", RCP, headers=basic(user, secret))[0] == 401


def test_a_fault_of_ours_is_told_in_json_without_its_detail(steady, monkeypatch):
    def broken(*_arguments, **_more):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(type(steady.runtime.pools.provisioning), "look_up", broken)
    monkeypatch.setattr(type(steady.runtime.access.webhooks), "all_of", broken)
    for who, path in (("mo", f"{PCP}/lookupVehicle/WPNFOREGN00000001"), ("mo", HOOKS)):
        status, message = steady.refused(who, "GET", path)
        assert (status, message) == (500, "Internal Server Error")
