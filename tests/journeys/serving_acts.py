"""The web server in tests: started as an operator starts it, on free ports, and ended with all its processes."""

import base64
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pki_core.runtime import open_runtime
from tests.builders import new_key
from tests.journeys.acts import ROOT, operator_environment
from tests.journeys.est_acts import certificates_of, renewal_csr, station_csr

ENROLL_20 = "/.well-known/cpo/simpleenroll/ISO15118-20"
SHORT_TIMES = """
[serving]
handshake_seconds = 2
read_seconds = 3
request_seconds = 5
ready_seconds = 1
connections = 96
"""


@dataclass(frozen=True)
class Served:
    """A running server."""

    process: subprocess.Popen
    home: Path
    ready: dict

    @property
    def https_port(self):
        return urlsplit(self.ready["https"]).port

    @property
    def http_port(self):
        return urlsplit(self.ready["http"]).port

    def context(self, *, version=None, certificate=None):
        context = ssl.create_default_context(cafile=self.ready["ca_file"])
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context

    def connect(self, context=None, session=None, timeout=10):
        raw = socket.create_connection(("127.0.0.1", self.https_port), timeout)
        return (context or self.context()).wrap_socket(raw, server_hostname="localhost", session=session)

    def https(self, method, path, body=None, headers=None, context=None, **more):
        connection = http.client.HTTPSConnection(
            "localhost", self.https_port, timeout=10, context=context or self.context()
        )
        return ask(connection, method, path, body, headers, **more)

    def plain(self, method, path, body=None, headers=None, **more):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        return ask(connection, method, path, body, headers, **more)

    def processes(self):
        """Every process of this server but the first, by what it does."""
        return processes_of(self.home)


def ask(connection, method, path, body, headers, **more):
    """Return (status, headers, body)."""
    try:
        connection.request(method, path, body, headers or {}, **more)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def processes_of(home):
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(home).encode() in words and b"webapp" in words:
            found[int(entry.name)] = words[words.index(b"webapp") + 1].decode()
    return {pid: act for pid, act in found.items() if act != "serve"}


def start(home, *arguments, environment=None):
    """Start ``pncpki serve`` on free ports and return it when it says that it is ready."""
    command = [sys.executable, "-m", "flows", "serve", "--home", str(home), "--json"]
    ports = ["--https-port", "0", "--http-port", "0"]
    process = subprocess.Popen(
        [*command, *ports, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=operator_environment(**(environment or {})),
    )
    line = process.stdout.readline()
    assert line, f"the server ended with {process.wait(10)}"
    return Served(process, home, json.loads(line))


def stop(served, number=signal.SIGTERM):
    """End a server; returns its exit code."""
    if served.process.poll() is None:
        served.process.send_signal(number)
    try:
        return served.process.wait(30)
    finally:
        served.process.stdout.close()


@contextmanager
def serving(home, *arguments, environment=None):
    served = start(home, *arguments, environment=environment)
    try:
        yield served
    finally:
        code = stop(served)
    assert code == 0
    assert wait_for(lambda: not processes_of(home))


def wait_for(condition, seconds=15):
    """Return what the condition gives as soon as it is true, or its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return value


def add_settings(home, text):
    with (home / "pncpki.toml").open("a") as file:
        file.write(text)
    return home


def connected(served, port=None):
    return socket.create_connection(("127.0.0.1", port or served.https_port), 10)


def is_closed_by_server(connection, seconds):
    """Tell whether the server closed a connection in time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def s_client(served, *arguments, text="Q\n"):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.https_port}", "-CAfile", served.ready["ca_file"]]
    done = subprocess.run([*command, *arguments], input=text, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


def pem_file(file, key, certificate_der):
    """Write a client's key and certificate as TLS libraries take them."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + x509.load_der_x509_certificate(certificate_der).public_bytes(Encoding.PEM))
    return file


def enrolled_20(served, file, algorithm):
    """An ISO 15118-20 station certificate, which is for TLS servers alone, and its key; the file holds both."""
    key = new_key(algorithm)
    with closing(open_runtime(served.home)) as runtime:
        secret = runtime.credentials.make_secret("demo-cpo")
    user = base64.b64encode(f"demo-cpo:{secret}".encode()).decode()
    headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {user}"}
    status, _, body = served.https("POST", ENROLL_20, base64.encodebytes(station_csr(key=key)), headers)
    assert status == 200, body
    (certificate_der,) = certificates_of(base64.b64decode(body))
    pem_file(file, key, certificate_der)
    return key, certificate_der


def renewal_20(served, file, algorithm, version):
    """Renew such a certificate with itself; returns the status of the answer."""
    key, certificate_der = enrolled_20(served, file, algorithm)
    body = base64.encodebytes(renewal_csr(certificate_der, key))
    context = served.context(version=version, certificate=(file,))
    path = ENROLL_20.replace("simpleenroll", "simplereenroll")
    return served.https("POST", path, body, {"Content-Type": "application/pkcs10"}, context)[0]
