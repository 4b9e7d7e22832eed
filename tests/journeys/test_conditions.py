"""Conditional requests to every route (RFC 9110 13.1.3): a date that cannot be read is as good as none."""

import base64
import io

import pytest

from tests.journeys.batch_api_acts import ApiClient, sign
from tests.journeys.ocsp_acts import Asked
from tests.ocsp_forms import certificate_id, request
from webapp.app import create_app, wsgi_application

pytest_plugins = ["tests.journeys.batch_api_environments"]

DATES = (
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2024 00:00:00 +9999999999999999",
    "Fri, 31 Dec 9999 23:59:59 -0100",
)
VALUES = {
    "/aia/<label>.cer": "/aia/mo-sub2.cer",
    "/aia/<label>.pem": "/aia/mo-sub2.pem",
    "/crl/<name>.crl": "/crl/mo-sub2.crl",
    "/docs/<name>": "/docs/viewer.js",
}
MOVING = {"/metrics", "/readyz"}  # they say something else each time


def get(application, path, **headers):
    """Ask over WSGI; an exception that leaves the application is one of the test."""
    told = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        **headers,
    }
    parts = application(environ, lambda status, *_: told.append(status))
    return told[0], b"".join(parts)


def paths_of(runtime):
    rules = [rule for rule in create_app(runtime).url_map.iter_rules() if "GET" in rule.methods]
    answered = Asked(runtime)
    record = answered.ca("mo-sub1")
    der = request(certificate_id(record, answered.serial_of_ca("mo-sub2")))
    answered.ocsp.close()
    plain = [rule.rule for rule in rules if not rule.arguments and not rule.rule.startswith("/ocsp")]
    return [*plain, *VALUES.values(), "/ocsp/" + base64.b64encode(der).decode()]


@pytest.mark.parametrize("header", ["HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_IF_RANGE"])
def test_no_date_makes_any_route_fail(untouched, header):
    application = wsgi_application(untouched)
    paths = paths_of(untouched)
    assert {"/openapi.json", "/docs", "/pki", "/pki/roots", "/pki/policy.txt", *VALUES.values()} < set(paths)
    for path in paths:
        status, body = get(application, path)
        for date in DATES:
            told = get(application, path, **{header: date, "HTTP_RANGE": "bytes=5-"})
            assert told[0] == status, (path, date)
            assert status != "200 OK" or path in MOVING or told[1] == body, (path, date)


@pytest.mark.slow
def test_results_of_a_batch_come_whole_under_a_date_that_cannot_be_read(uploader: ApiClient, table):
    batch_id = uploader.batch(table(1))
    sign(uploader.runtime, batch_id)
    path = f"/v1/batches/{batch_id}/result"
    whole = uploader.get(path).data
    for date in DATES:
        assert uploader.get(path, headers={"If-Modified-Since": date}).status_code == 200
        part = uploader.get(path, headers={"If-Range": date, "Range": "bytes=5-"})
        assert (part.status_code, part.data) == (200, whole)
