"""The life of a vehicle in the demonstration: three partners, three pools, and what is left when the OEM deletes it."""

import base64
import csv
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from flows.demo_shell import ask_ocsp, show
from flows.output import say
from flows.sample_batch import sample_csr
from pki_core.model.errors import InvariantError

_PCID, _EMAID = "WPNDEM0VEHCLE0001", "DEPNCC00009001"
_HOST, _PATIENCE_SECONDS = "127.0.0.1", 30
_VEHICLE, _CONTRACT = f"/v1/oem/provCerts/{_PCID}", f"/v1/ccp/lookupContract/{_EMAID}"
_EVENTS = ["mo.contract.created.sent.to.oem", "mo.contract.deleted.sent.to.oem", "mo.prov.cert.deleted"]
_OK, _CREATED, _GONE = 200, 201, 404
_YEAR = timedelta(days=365)

Pncpki = Callable[..., str]


class _Hook(ThreadingHTTPServer):
    """An operator's webhook receiver: keeps what it hears."""

    heard: list[tuple[str, bytes]]


class _Listener(BaseHTTPRequestHandler):
    server: _Hook

    def do_POST(self) -> None:
        """Take an event."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.headers["X-Hubject-Signature"], body))
        self.send_response(_OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing: the demonstration does."""


class _Partner:
    """A partner's client of the running front."""

    def __init__(self, home: Path, port: int, partner_id: str, pncpki: Pncpki) -> None:
        secret = json.loads(pncpki(home, "partner", "secret", partner_id, "--json"))["secret"]
        text = base64.b64encode(f"{partner_id}:{secret}".encode()).decode()
        self._id, self._port = partner_id, port
        self._headers = {"Authorization": f"Basic {text}"}
        self._tls = ssl.create_default_context(cafile=str(home / "ca" / "tls-root.pem"))

    def call(self, method: str, path: str, body: object = None, expected: int = _OK) -> Any:  # noqa: ANN401  # JSON
        """Make a call and return the answer's object."""
        kind, octets = "application/json", b"" if body is None else json.dumps(body).encode()
        answer = self._send(method, path, (kind, octets), expected)
        return json.loads(answer) if answer else None

    def enroll(self, label: str, csr_der: bytes) -> bytes:
        """Enrol over EST; return the leaf in DER."""
        path = f"/.well-known/est/{label}/simpleenroll"
        answer = self._send("POST", path, ("application/pkcs10", base64.encodebytes(csr_der)), _OK)
        (leaf, *_) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))
        return leaf.public_bytes(Encoding.DER)

    def _send(self, method: str, path: str, body: tuple[str, bytes], expected: int) -> bytes:
        connection = HTTPSConnection(_HOST, self._port, timeout=_PATIENCE_SECONDS, context=self._tls)
        with closing(connection):
            connection.request(method, path, body[1] or None, {**self._headers, "Content-Type": body[0]})
            answer = connection.getresponse()
            octets = answer.read()
        say(f"  {self._id:8} {method:6} {path}  {answer.status}")
        if answer.status != expected:
            raise InvariantError(f"{method} {path} answered {answer.status}: {octets[:300].decode(errors='replace')}")
        return octets


def tell_story(home: Path, directory: Path, front: tuple[int, str], pncpki: Pncpki) -> None:
    """Tell it at a running front: (its HTTPS port, the address of its plain one).

    Raises:
        InvariantError: an answer is not what it should be.
    """
    port, http = front
    oem, mo = _Partner(home, port, "demo-oem", pncpki), _Partner(home, port, "demo-mo", pncpki)
    with _hook() as hook:
        url = f"http://{_HOST}:{hook.server_port}/events"
        endpoint = {"url": url, "enabledEvents": _EVENTS}
        secret = mo.call("POST", "/v1/webhook/endpoints", endpoint, _CREATED)["secret"]
        _publish(home, oem)
        mo.call("GET", _VEHICLE)
        contract = _under_contract(home, directory, mo, pncpki)
        ask_ocsp(home, "mo-sub2", contract, http, "good")
        oem.call("DELETE", _VEHICLE)
        mo.call("GET", _CONTRACT, expected=_GONE)
        ask_ocsp(home, "mo-sub2", contract, http, "revoked")
        pncpki(home, "crl", "publish", "--issuer", "mo-sub2")
        _check_listed(directory, contract, http)
        _deliver(home)
        _check_told(hook, secret)
    pncpki(home, "audit", "seal")
    pncpki(home, "audit", "verify")


def _publish(home: Path, oem: _Partner) -> None:
    """Enrol a vehicle over EST and publish its certificate with the CAs above it."""
    csr_der = sample_csr(_PCID, ec.generate_private_key(ec.SECP256R1()), "Demo Cars")
    upload = {"vehicleCertificate": base64.b64encode(oem.enroll("oem", csr_der)).decode()}
    for number in (1, 2):
        pem = (home / "ca" / f"oem-sub{number}.pem").read_bytes()
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        upload[f"subCA{number}Certificate"] = base64.b64encode(der).decode()
    oem.call("PUT", "/v1/oem/provCerts", upload)


def _under_contract(home: Path, directory: Path, mo: _Partner, pncpki: Pncpki) -> Path:
    """Have a contract made from a table of one row; return its certificate, as the CCP shows it."""
    from pki_core.runtime import open_runtime  # noqa: PLC0415  # half a second

    with closing(open_runtime(home)) as runtime:
        now = runtime.clock.now()
    table = directory / "contracts.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        ends = now + _YEAR
        csv.writer(file).writerows((("emaid", "pcid", "begins", "ends"), (_EMAID, _PCID, f"{now:%F}", f"{ends:%F}")))
    submitted = pncpki(home, "batch", "submit", str(table), "--partner", "demo-mo", "--kind", "contract", "--json")
    pncpki(home, "batch", "sign", json.loads(submitted)["batch_id"], "--direct")
    (shown,) = mo.call("GET", _CONTRACT)["XMLContracts"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(shown["contractCertificate"]))
    file_of = directory / "contract.pem"
    file_of.write_bytes(certificate.public_bytes(Encoding.PEM))
    return file_of


def _check_listed(directory: Path, contract: Path, http: str) -> None:
    crl = directory / "mo-sub2.crl"
    show(["curl", "-fsS", "-o", str(crl), f"{http}/crl/mo-sub2.crl"])
    serial = x509.load_pem_x509_certificate(contract.read_bytes()).serial_number
    if x509.load_der_x509_crl(crl.read_bytes()).get_revoked_certificate_by_serial_number(serial) is None:
        raise InvariantError("the CRL does not list the contract's certificate")
    say("  the CRL lists the contract's certificate")


def _deliver(home: Path) -> None:
    """Do what the flow deliver_webhooks does every minute."""
    from pki_core.runtime import open_runtime  # noqa: PLC0415  # half a second

    with closing(open_runtime(home)) as runtime:
        runtime.access.webhook_deliveries.run(100)


def _check_told(hook: _Hook, secret: str) -> None:
    for signature, body in hook.heard:
        if signature != "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest():
            raise InvariantError("an event's signature does not verify")
    told = sorted(json.loads(body)["eventType"] for _, body in hook.heard)
    if told != _EVENTS:
        raise InvariantError(f"the operator was told {', '.join(told) or 'nothing'}")
    say(f"  demo-mo was told, signed: {', '.join(told)}")


@contextmanager
def _hook() -> Iterator[_Hook]:
    hook = _Hook((_HOST, 0), _Listener)
    hook.heard = []
    thread = threading.Thread(target=hook.serve_forever, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.shutdown()
        hook.server_close()
