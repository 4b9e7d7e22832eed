"""OCSP over HTTP: paths, methods, limits, headers (O43 to O54)."""

import base64
import hashlib
import io
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.client import HTTPConnection
from urllib.parse import quote, unquote

import pytest

from pki_core.runtime import open_runtime
from tests.journeys.acts import ROOT
from tests.journeys.ocsp_acts import Asked
from tests.ocsp_forms import Response, certificate_id, extension, nonce, request
from webapp.ocsp import OcspMiddleware, request_in_path

pytest_plugins = ["tests.journeys.environments", "tests.journeys.ocsp_environments"]

MOST = 2000


@dataclass
class Reply:
    status: str
    headers: dict[str, str]
    body: bytes
    read: int  # octets taken of the request's body


class Body(io.BytesIO):
    """A body that counts how much of it was read."""

    def __init__(self, octets):
        super().__init__(octets)
        self.taken = 0

    def read(self, size=-1):
        octets = super().read(size)
        self.taken += len(octets)
        return octets


@pytest.fixture
def http(shared):
    """Ask over WSGI, as a server would."""

    def elsewhere(_environ, start_response):
        start_response("404 Not Found", [("Content-Type", "text/html")])
        return [b"elsewhere"]

    front = OcspMiddleware(elsewhere, shared.ocsp, MOST, shared.clock)

    def ask(method, path="/ocsp", body=b"", **environ):
        told, stream = [], Body(body)
        if method == "POST" and "HTTP_TRANSFER_ENCODING" not in environ:
            environ.setdefault("CONTENT_LENGTH", str(len(body)))
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(path, "latin-1"),
            "wsgi.input": stream,
            "CONTENT_TYPE": "application/ocsp-request",
            **{name: value for name, value in environ.items() if value is not None},
        }
        parts = front(environ, lambda status, headers: told.append((status, headers)))
        ((status, headers),) = told
        names = [name for name, _ in headers]
        assert len(set(names)) == len(names)
        return Reply(status, dict(headers), b"".join(parts), stream.taken)

    return ask


@pytest.fixture
def asked_der(shared):
    return request(certificate_id(shared.record, shared.good))


def path_of(der):
    return "/ocsp/" + quote(base64.b64encode(der).decode(), safe="")


def with_slashes(front):
    """A request whose base64 holds a plus sign and slashes side by side, and that base64."""
    id_der = certificate_id(front.record, front.good)
    for number in range(1000):
        value = number.to_bytes(6, "big") + b"\xff\xff\xfb\xef\xbe" * 4
        der = request(id_der, extensions=[extension("1.2.3", value)])
        text = base64.b64encode(der).decode()
        if "//" in text and "+" in text:
            return der, text
    raise AssertionError


def test_o43_a_get_gives_the_bytes_of_the_post(http, asked_der):
    posted, got = http("POST", body=asked_der), http("GET", path_of(asked_der))
    assert (posted.status, got.status) == ("200 OK", "200 OK")
    assert posted.body == got.body
    assert Response(got.body).statuses == ["good"]


@pytest.mark.parametrize("safe", ["", "/", "+", "=", "/+="])
@pytest.mark.parametrize("lower", [False, True])
def test_o44_and_o45_percent_signs_plus_signs_and_double_slashes_are_read_alike(shared, http, safe, lower):
    der, text = with_slashes(shared)
    path = quote(text, safe=safe)
    if lower:
        path = path.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d")
    assert Response(http("GET", f"/ocsp/{path}").body).statuses == ["good"]
    assert request_in_path(text) == der


def test_o45_a_plus_that_became_a_space_is_mended(shared):
    der, text = with_slashes(shared)
    assert request_in_path(text.replace("+", " ")) == der


@pytest.mark.parametrize("octets", range(60, 70))
@pytest.mark.parametrize("last", [0xFF, 0xBF, 0x00])
def test_o46_padding_alphabet_and_slashes_around_may_differ(octets, last):
    der = bytes((0x30, octets)) + (bytes((0xFB, 0xEF, 0xFF)) * 24)[: octets - 1] + bytes((last,))
    text = base64.b64encode(der).decode()
    plain = text.rstrip("=")
    for form in (
        text,
        plain,
        f"/{text}",
        f"//{plain}",
        f"{text}/",
        f"{plain}/",
        text.replace("+", "-").replace("/", "_"),
    ):
        assert request_in_path(form) == der, form


@pytest.mark.parametrize("text", ["", "/", "not base64!", "AAAAA", "MFE=MFE=", "M%46E", "ü", "\x00", "===="])
def test_o47_what_is_not_base64_is_a_malformed_request(http, text):
    reply = http("GET", "/ocsp/" + quote(text))
    assert (reply.status, reply.body) == ("200 OK", bytes.fromhex("30030a0101"))


def test_o47_a_get_without_request_is_malformed(http):
    assert http("GET", "/ocsp").body == http("GET", "/ocsp/").body == bytes.fromhex("30030a0101")


def test_o48_a_body_that_is_too_long_is_not_read(http):
    reply = http("POST", body=bytes(MOST + 1))
    assert (reply.status, reply.read, reply.body) == ("413 Content Too Large", 0, b"")


def test_o48_a_path_that_is_too_long_is_not_decoded(http):
    assert http("GET", "/ocsp/" + "A" * 4 * MOST).status == "414 URI Too Long"


def test_o48_a_length_that_is_missing_or_wrong_costs_nothing(http, asked_der):
    assert http("POST", body=asked_der, CONTENT_LENGTH="x").status == "400 Bad Request"
    nothing = http("POST", body=asked_der, CONTENT_LENGTH=None)
    assert (nothing.body, nothing.read) == (bytes.fromhex("30030a0101"), 0)
    short = http("POST", body=asked_der, CONTENT_LENGTH=str(len(asked_der) - 1))
    assert short.body == bytes.fromhex("30030a0101")
    long = http("POST", body=asked_der, CONTENT_LENGTH=str(len(asked_der) + 1))
    assert Response(long.body).statuses == ["good"]  # what came is a whole request


def test_o48_a_body_in_pieces_is_read_up_to_the_limit(http, asked_der):
    assert Response(http("POST", body=asked_der, HTTP_TRANSFER_ENCODING="chunked").body).statuses == ["good"]
    reply = http("POST", body=bytes(10 * MOST), HTTP_TRANSFER_ENCODING="chunked")
    assert (reply.status, reply.read) == ("413 Content Too Large", MOST + 1)


def test_o49_head_has_the_headers_of_get_and_no_body(http, asked_der):
    got, head = http("GET", path_of(asked_der)), http("HEAD", path_of(asked_der))
    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")
    assert got.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_o50_other_methods_are_refused_with_those_there_are(http, method):
    reply = http(method)
    assert (reply.status, reply.headers["Allow"]) == ("405 Method Not Allowed", "GET, HEAD, POST")
    assert "Content-Type" not in reply.headers


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", None])
def test_o51_a_body_counts_whatever_it_calls_itself(http, asked_der, kind):
    assert Response(http("POST", body=asked_der, CONTENT_TYPE=kind).body).statuses == ["good"]


def test_o52_who_has_the_answer_is_told_so(http, asked_der):
    first = http("GET", path_of(asked_der))
    tag, date = first.headers["ETag"], first.headers["Last-Modified"]
    for condition in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        reply = http("GET", path_of(asked_der), HTTP_IF_NONE_MATCH=condition)
        assert (reply.status, reply.body) == ("304 Not Modified", b"")
        assert reply.headers["ETag"] == tag
        assert "Content-Type" not in reply.headers
    assert reply.headers["Cache-Control"] == first.headers["Cache-Control"]
    after = format_datetime(parsedate_to_datetime(date) + timedelta(seconds=1), usegmt=True)
    assert http("GET", path_of(asked_der), HTTP_IF_MODIFIED_SINCE=after).status == "304 Not Modified"
    assert http("HEAD", path_of(asked_der), HTTP_IF_NONE_MATCH=tag).status == "304 Not Modified"


def test_o52_a_date_does_not_tell_two_answers_of_one_second_apart(http, asked_der):
    date = http("GET", path_of(asked_der)).headers["Last-Modified"]
    assert http("GET", path_of(asked_der), HTTP_IF_MODIFIED_SINCE=date).status == "200 OK"


def test_o52_who_has_another_answer_gets_this_one(shared, http, asked_der):
    path = path_of(asked_der)
    earlier = format_datetime(shared.clock.now().replace(year=2020), usegmt=True)
    later = format_datetime(shared.clock.now().replace(year=2040), usegmt=True)
    assert http("GET", path, HTTP_IF_NONE_MATCH='"other"').status == "200 OK"
    assert http("GET", path, HTTP_IF_NONE_MATCH='"other"', HTTP_IF_MODIFIED_SINCE=later).status == "200 OK"
    assert http("GET", path, HTTP_IF_MODIFIED_SINCE=earlier).status == "200 OK"
    assert http("GET", path, HTTP_IF_MODIFIED_SINCE="yesterday").status == "200 OK"
    assert http("POST", body=asked_der, HTTP_IF_NONE_MATCH="*").status == "200 OK"


def test_o53_an_answer_for_everybody_says_how_long_it_may_be_kept(shared, http, asked_der):
    reply = http("GET", path_of(asked_der))
    (one,) = Response(reply.body).singles
    now = shared.clock.now()
    seconds = int((one.next_update - now).total_seconds())
    assert reply.headers == {
        "Content-Type": "application/ocsp-response",
        "Content-Length": str(len(reply.body)),
        "ETag": f'"{hashlib.sha256(reply.body).hexdigest()}"',
        "Last-Modified": format_datetime(one.this_update, usegmt=True),
        "Expires": format_datetime(one.next_update, usegmt=True),
        "Cache-Control": f"max-age={seconds}, public, no-transform, must-revalidate",
    }
    assert parsedate_to_datetime(reply.headers["Expires"]) == one.next_update


def test_o53_the_time_to_keep_it_shrinks_as_the_answer_ages(asked):
    front = OcspMiddleware(None, asked.ocsp, MOST, asked.clock)
    record, serial = asked.issue()
    der = request(certificate_id(record, serial))
    ages = []
    for _ in range(3):
        front(
            {"REQUEST_METHOD": "GET", "PATH_INFO": unquote(path_of(der))},
            lambda _status, headers: ages.append(dict(headers)["Cache-Control"].partition(",")[0]),
        )
        asked.clock.advance(hours=1)
    assert ages == [f"max-age={86_400 - 3600 * hour}" for hour in range(3)]


def test_o54_an_answer_for_one_or_of_the_moment_is_not_kept(shared, http):
    good = certificate_id(shared.record, shared.good)
    for der in (
        request(good, extensions=[nonce(b"x" * 32)]),
        request(certificate_id(shared.record, 99)),
        request(certificate_id(shared.record, 1, key_hash=bytes(20))),
        b"",
    ):
        reply = http("POST", body=der)
        assert reply.headers == {
            "Content-Type": "application/ocsp-response",
            "Content-Length": str(len(reply.body)),
            "Cache-Control": "no-store",
        }
        assert reply.status == "200 OK"


def test_o54_nobody_has_an_answer_of_the_moment_already(shared, http):
    path = path_of(request(certificate_id(shared.record, 99)))
    assert http("GET", path, HTTP_IF_NONE_MATCH="*").status == "200 OK"
    assert http("GET", path, HTTP_IF_MODIFIED_SINCE=format_datetime(shared.clock.now(), usegmt=True)).status == "200 OK"


@pytest.mark.parametrize("path", ["/", "/ocspx", "/ocs", "/crl/x", "/ocsp.html", "//ocsp"])
def test_other_paths_are_handed_on(http, path):
    assert http("GET", path).body == b"elsewhere"


# --- the servers


@pytest.fixture(params=["granian", "gunicorn"])
def server(request, home, tmp_path):
    """The whole front behind a real server."""
    program = tmp_path / "front_under_test.py"
    program.write_text(
        "import os\nfrom pathlib import Path\nfrom pki_core.runtime import open_runtime\n"
        "from webapp.app import wsgi_application\n"
        "app = wsgi_application(open_runtime(Path(os.environ['PNCPKI_HOME'])))\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    commands = {
        "granian": ["granian", "--interface", "wsgi", "--port", port, "--no-ws", "front_under_test:app"],
        "gunicorn": ["gunicorn", "--bind", f"127.0.0.1:{port}", "front_under_test:app"],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, commands[request.param])],
        cwd=tmp_path,
        env={**os.environ, "PNCPKI_HOME": str(home), "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield home, port
    finally:
        process.terminate()
        process.wait(20)


def talk(port, method, path, body=None, headers=None):
    """Ask once the server is there; returns status, headers in title case, and body."""
    for _ in range(100):
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            try:
                connection.connect()
            except ConnectionRefusedError:
                time.sleep(0.1)
                continue
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, {name.title(): value for name, value in reply.getheaders()}, reply.read()
    raise AssertionError("the server did not start")


@pytest.mark.slow
def test_o43_to_o53_behind_the_servers_we_ship(server):
    home, port = server
    with closing(open_runtime(home)) as runtime:
        front = Asked(runtime)
        front.record, front.good = front.issue()
        der, text = with_slashes(front)
    posted = talk(port, "POST", "/ocsp", der)
    assert Response(posted[2]).statuses == ["good"]
    escaped = quote(text, safe="")
    for path in (text, escaped, escaped.replace("%2F", "%2f"), text.rstrip("="), f"/{text}/"):
        assert talk(port, "GET", f"/ocsp/{path}")[2] == posted[2], path
    status, headers, body = talk(port, "HEAD", f"/ocsp/{quote(text, safe='')}")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(posted[2])))
    assert parsedate_to_datetime(headers["Date"])
    for name in ("Content-Type", "Etag", "Expires", "Last-Modified"):
        assert headers[name] == posted[1][name]
    status, headers, body = talk(
        port, "GET", f"/ocsp/{quote(text, safe='')}", headers={"If-None-Match": posted[1]["Etag"]}
    )
    assert (status, body) == (304, b"")
    assert talk(port, "POST", "/ocsp", bytes(20_000))[0] == 413
    assert talk(port, "PUT", "/ocsp", b"x")[0] == 405
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/ocsp")
        assert connection.getresponse().read() == bytes.fromhex("30030a0101")
        connection.request("POST", "/ocsp", body=iter([der[:40], der[40:]]))  # in pieces, without a length
        assert connection.getresponse().read() == posted[2]
