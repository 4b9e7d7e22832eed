"""Binding a request to its TLS connection, with Python's own TLS as the client (RFC 7030 3.5, RFC 9266)."""

import base64
import http.client
import ssl
from contextlib import closing

import pytest

from pki_core.runtime import open_runtime
from tests.builders import name, new_key, raw_csr, tlv
from tests.journeys.acts import copy_home
from tests.journeys.est_acts import station_csr
from tests.journeys.serving_acts import serving

pytest_plugins = ["tests.journeys.environments"]
pytestmark = pytest.mark.slow
PATH = "/.well-known/est/cpo/simpleenroll"


@pytest.fixture(scope="module")
def front(founded_home, tmp_path_factory):
    home = copy_home(founded_home, tmp_path_factory.mktemp("linking") / "home")
    with closing(open_runtime(home)) as runtime:
        secret = runtime.credentials.make_secret("demo-cpo")
    with serving(home) as served:
        yield served, base64.b64encode(f"demo-cpo:{secret}".encode()).decode()


class Connection:
    """One kept-alive connection."""

    def __init__(self, front, version):
        served, self._basic = front
        self._https = http.client.HTTPSConnection(
            "localhost", served.https_port, timeout=10, context=served.context(version=version)
        )
        self._https.connect()

    @property
    def tls_unique(self):
        return self._https.sock.get_channel_binding("tls-unique")

    def ask(self, csr_der, path=PATH):
        self._https.auto_open = 0  # another connection would be another binding
        headers = {"Authorization": f"Basic {self._basic}", "Content-Type": "application/pkcs10"}
        self._https.request("POST", path, base64.b64encode(csr_der), headers)
        answer = self._https.getresponse()
        return answer.status, answer.headers, answer.read()

    def close(self):
        self._https.close()


def bound_csr(binding):
    password = tlv(0x31, tlv(0x13, base64.b64encode(binding)))
    attribute = tlv(0x30, bytes.fromhex("06092a864886f70d010907") + password)
    subject = name(("C", "DE"), ("CN", "DEPNCELINK1")).public_bytes()
    return raw_csr(new_key(), subject=subject, attributes=tlv(0xA0, attribute))


def test_a_bound_request_is_issued_and_its_connection_is_closed(front):
    with closing(Connection(front, ssl.TLSVersion.TLSv1_2)) as connection:
        status, headers, body = connection.ask(bound_csr(connection.tls_unique))
        assert status == 200, body
        assert headers["Connection"] == "close"
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.ask(station_csr())


def test_an_unbound_request_leaves_its_connection_open(front):
    with closing(Connection(front, ssl.TLSVersion.TLSv1_2)) as connection:
        assert [connection.ask(station_csr())[0] for _ in range(3)] == [200] * 3


def test_the_binding_of_another_connection_is_refused(front):
    with (
        closing(Connection(front, ssl.TLSVersion.TLSv1_2)) as first,
        closing(Connection(front, ssl.TLSVersion.TLSv1_2)) as second,
    ):
        status, _, body = second.ask(bound_csr(first.tls_unique))
    assert (status, body.partition(b":")[0]) == (403, b"linking.mismatch")


def test_on_tls_1_3_the_value_openssl_still_gives_binds_nothing(front):
    with closing(Connection(front, ssl.TLSVersion.TLSv1_3)) as connection:
        status, _, body = connection.ask(bound_csr(connection.tls_unique or b"x" * 12))
    assert (status, body.partition(b":")[0]) == (403, b"linking.mismatch")


def test_a_label_that_requires_linking_says_so_on_tls_1_3(front):
    with closing(Connection(front, ssl.TLSVersion.TLSv1_3)) as connection:
        status, _, body = connection.ask(station_csr(), "/.well-known/est/linked/simpleenroll")
    assert (status, body.partition(b":")[0]) == (403, b"linking.required")
