"""The front when its HSM or its database goes away and comes back: real server, SoftHSM, PostgreSQL, TLS."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus, load_der_ocsp_response
from sqlalchemy import text
from sqlalchemy.engine import make_url

from pki_core.model.issuers import IssuerRecord
from pki_core.runtime import open_runtime
from tests.builders import make_csr, name, new_key
from tests.journeys.acts import ROOT, found_by_command, operator_environment
from tests.journeys.serving_acts import Served, add_settings, serving, wait_for
from tests.ocsp_forms import certificate_id, nonce, request
from tests.store.connections import connected

pytest_plugins = ["tests.journeys.environments"]
pytestmark = [pytest.mark.slow, pytest.mark.softhsm, pytest.mark.postgres, pytest.mark.enable_socket]

QUICK = """
[serving]
ready_seconds = 1
"""
CSR_TYPE = "application/pkcs10"


@dataclass(frozen=True)
class Front:
    """A running front and what a partner needs to speak to it."""

    served: Served
    secret: str
    issuer: IssuerRecord
    url: str

    def enroll(self, number):
        credentials = base64.b64encode(f"demo-cpo:{self.secret}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": CSR_TYPE}
        csr = make_csr(subject=name(("O", "Outage Charging"), ("CN", f"DEPNCE{number:08d}")), key=new_key())
        return self.served.https("POST", "/.well-known/est/cpo/simpleenroll", base64.encodebytes(csr), headers)

    def ask(self, serial, **more):
        body = request(certificate_id(self.issuer, serial), **more)
        status, _, der = self.served.plain("POST", "/ocsp", body, {"Content-Type": "application/ocsp-request"})
        assert status == 200
        return load_der_ocsp_response(der)

    def serials(self):
        with connected(self.url) as connection:
            rows = connection.execute(
                text("SELECT serial FROM certificate WHERE partner_id = 'demo-cpo' ORDER BY id")
            ).all()
        return [int(row.serial, 16) for row in rows]


@pytest.fixture(scope="module")
def front(tmp_path_factory, postgres_url):
    from tests.postgres import PostgresDatabases

    home = tmp_path_factory.mktemp("outages") / "home"
    databases = PostgresDatabases(postgres_url, lambda url: found_by_command(home, url, key_store="softhsm"))
    url = databases.create()
    settings = (home / "pncpki.toml").read_text()
    (home / "pncpki.toml").write_text(re.sub(r'database_url = ".*"', f'database_url = "{url}"', settings))
    add_settings(home, QUICK)
    secret = subprocess.run(
        [sys.executable, "-m", "flows", "partner", "secret", "demo-cpo", "--home", home, "--json"],
        cwd=ROOT,
        env=operator_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    with closing(open_runtime(home)) as runtime, runtime.store.reading() as work:
        issuer = work.issuers.get("cpo-sub2")
    with serving(home) as served:
        yield Front(served, json.loads(secret)["secret"], issuer, url)
    databases.drop(url)
    databases.close()


@contextmanager
def without_token(home):
    """The HSM is gone: its objects cannot be reached."""
    token = home / "token" / "tokens"
    token.rename(token.with_name("away"))
    try:
        yield
    finally:
        token.with_name("away").rename(token)


@contextmanager
def without_database(url):
    """The database takes nobody and hangs up on who is there."""
    address = make_url(url)
    admin_url = address.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{address.database}" WITH ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [address.database])
        try:
            yield
        finally:
            admin.execute(f'ALTER DATABASE "{address.database}" WITH ALLOW_CONNECTIONS true')


@contextmanager
def hanging_database(url):
    """The database answers nothing, and hangs up on nobody: its processes are stopped."""
    with connected(url) as connection:
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
        server = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        pids = [server, *map(int, children)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def readiness(front):
    return front.served.plain("GET", "/readyz")[0]


def test_without_its_hsm_est_asks_to_come_again_and_goes_on_when_it_is_back(front):
    assert front.enroll(1)[0] == 200
    serial = front.serials()[-1]
    assert front.ask(serial).certificate_status is OCSPCertStatus.GOOD
    with without_token(front.served.home):
        status, headers, body = front.enroll(2)
        assert (status, headers["Retry-After"].isdigit(), headers["Content-Type"]) == (
            503,
            True,
            "text/plain; charset=utf-8",
        )
        assert b"Traceback" not in body
        assert front.ask(serial).certificate_status is OCSPCertStatus.GOOD  # the answer it has
        assert front.ask(serial, extensions=[nonce(b"n" * 16)]).response_status in {
            OCSPResponseStatus.SUCCESSFUL,  # the answer it has, without the nonce (RFC 9919)
            OCSPResponseStatus.TRY_LATER,
        }
        assert wait_for(lambda: readiness(front) == 503)
    assert wait_for(lambda: front.enroll(3)[0] == 200, 30)
    assert wait_for(lambda: readiness(front) == 200, 30)


def test_without_its_database_est_asks_to_come_again_and_ocsp_says_what_it_has(front):
    assert wait_for(lambda: front.enroll(4)[0] == 200, 30)
    serial = front.serials()[-1]
    assert front.ask(serial).certificate_status is OCSPCertStatus.GOOD
    with without_database(front.url):
        status, headers, _ = front.enroll(5)
        assert (status, headers["Retry-After"].isdigit()) == (503, True)
        time.sleep(2)  # longer than a look at the feed may be old
        assert front.ask(serial).certificate_status is OCSPCertStatus.GOOD
        assert front.ask(serial + 1).response_status is OCSPResponseStatus.TRY_LATER
        assert wait_for(lambda: readiness(front) == 503)
    assert wait_for(lambda: front.enroll(6)[0] == 200, 30)
    assert wait_for(lambda: front.ask(front.serials()[-1]).response_status is OCSPResponseStatus.SUCCESSFUL)


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="the processes of that server are not ours to stop")
def test_while_its_database_hangs_ocsp_says_what_it_has_however_many_want_crls(front):
    assert wait_for(lambda: front.enroll(8)[0] == 200, 30)
    serial = front.serials()[-1]
    assert front.ask(serial).certificate_status is OCSPCertStatus.GOOD
    with ExitStack() as stack:
        stack.enter_context(hanging_database(front.url))
        for _ in range(400):
            reader = stack.enter_context(socket.create_connection(("127.0.0.1", front.served.http_port), 5))
            reader.sendall(b"GET /crl/cpo-sub2.crl HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1)
        for _ in range(3):
            began = time.monotonic()
            assert front.ask(serial).certificate_status is OCSPCertStatus.GOOD
            assert readiness(front) == 503
            assert time.monotonic() - began < 8
        status, headers, _ = front.served.plain("GET", "/crl/cpo-sub2.crl")
        assert (status, headers["Retry-After"]) == (503, "10")
    assert wait_for(lambda: readiness(front) == 200, 40)
    assert wait_for(lambda: front.served.plain("GET", "/crl/cpo-sub2.crl")[0] == 200, 40)
    assert wait_for(lambda: front.enroll(9)[0] == 200, 40)


def test_two_hundred_enrolments_at_once_give_two_hundred_serials_and_audit_rows(front):
    before = len(front.serials())
    answers = []

    def enroll(first):
        answers.extend(front.enroll(first + step)[0] for step in range(10))

    threads = [threading.Thread(target=enroll, args=(1000 + 10 * at,)) for at in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 200
    serials = front.serials()
    assert len(serials) == len(set(serials)) == before + 200
    with connected(front.url) as connection:
        audited = connection.scalar(
            text("SELECT count(*) FROM audit WHERE action = 'certificate.issued' AND actor = 'demo-cpo'")
        )
    assert audited == len(serials)


def test_a_revocation_is_seen_by_the_running_front_within_a_second(front):
    assert wait_for(lambda: front.enroll(7)[0] == 200, 30)
    serial = front.serials()[-1]
    assert front.ask(serial).certificate_status is OCSPCertStatus.GOOD
    command = [sys.executable, "-m", "flows", "revoke", f"{serial:x}", "--reason", "keyCompromise"]
    subprocess.run(
        [*command, "--home", front.served.home], cwd=ROOT, env=operator_environment(), check=True, capture_output=True
    )
    revoked = time.monotonic()
    assert wait_for(lambda: front.ask(serial).certificate_status is OCSPCertStatus.REVOKED, 5)
    assert time.monotonic() - revoked < 1.5  # one second, and the time a busy machine takes to ask
