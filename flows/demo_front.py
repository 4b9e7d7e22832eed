"""The second half of the demonstration: the online front, asked by curl and openssl as a partner's software would."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.demo_shell import ask_ocsp, chain_of, output, printed, show
from flows.demo_vehicle import tell_story
from flows.output import say
from pki_core.model.errors import InvariantError

_EVSE_ID = "DEPNCEDEMO0001"
_HOST = "127.0.0.1"
_USUAL_PORTS = (8443, 8080)
_PATIENCE_SECONDS = 60
_REVOKED = "certificate revoked"

Pncpki = Callable[..., str]


def run_front(home: Path, directory: Path, step: Callable[[str], None], pncpki: Pncpki) -> None:
    """Start the front, enrol a charger over EST, watch its status while it is revoked, check the CRL.

    Raises:
        InvariantError: an answer is not what it should be.
    """
    directory.mkdir()
    step("the online front: EST over HTTPS, OCSP and CRLs over plain HTTP")
    with _serving(home) as (https_port, http_port):
        https, http = f"https://{_HOST}:{https_port}", f"http://{_HOST}:{http_port}"
        say(f"EST at {https}/.well-known/est/cpo, OCSP at {http}/ocsp")
        step("a charge point enrols over EST with curl and openssl")
        secret = json.loads(pncpki(home, "partner", "secret", "demo-cpo", "--json"))["secret"]
        certificate = _enrol(home, directory, https, secret)
        step("OCSP and CRL before and after the certificate is revoked")
        chain = chain_of(home, "cpo-sub2", directory)
        ask_ocsp(home, "cpo-sub2", certificate, http, "good")
        serial = output(["openssl", "x509", "-in", str(certificate), "-noout", "-serial"]).partition("=")[2].strip()
        pncpki(home, "revoke", serial, "--reason", "keyCompromise")
        ask_ocsp(home, "cpo-sub2", certificate, http, "revoked")
        pncpki(home, "crl", "publish", "--issuer", "cpo-sub2")
        _check_crl(home, directory, certificate, chain, http)
        step("a vehicle's life: enrolled, published, under contract, deleted")
        tell_story(home, directory, (https_port, http), pncpki)


@contextmanager
def _serving(home: Path) -> Iterator[tuple[int, int]]:
    ports = _ports()
    command = [sys.executable, "-m", "flows", "serve", "--https-port", str(ports[0]), "--http-port", str(ports[1])]
    say(f"$ pncpki serve --https-port {ports[0]} --http-port {ports[1]}")
    log = home.parent / "front.log"
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603  # our own program
            command, env={**os.environ, "PNCPKI_HOME": str(home)}, stdout=output, stderr=output
        )
        try:
            _await_ready(server, ports[1], log)
            yield ports
        finally:
            server.terminate()
            server.wait(_PATIENCE_SECONDS)


def _ports() -> tuple[int, int]:
    """Return the usual ports, or free ones where somebody has taken them."""
    found = []
    for usual in _USUAL_PORTS:
        for port in (usual, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((_HOST, port))
                except OSError:
                    continue
                found.append(int(probe.getsockname()[1]))
                break
    return found[0], found[1]


def _await_ready(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        asked = subprocess.run(  # noqa: S603  # on PATH
            ["curl", "-fsS", "-o", os.devnull, f"http://{_HOST}:{port}/readyz"],  # noqa: S607
            capture_output=True,
            check=False,
        )
        if asked.returncode == 0:
            return
        time.sleep(0.2)
    raise InvariantError(f"the front did not become ready; {log} says why")


def _enrol(home: Path, directory: Path, https: str, secret: str) -> Path:
    """Make a key and a CSR, send it with Basic authentication, and unpack the PKCS#7 answer."""
    key, csr, answer = directory / "evse.key", directory / "evse.csr", directory / "evse.p7"
    show(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)])
    show(["openssl", "req", "-new", "-key", str(key), "-subj", f"/O=Demo Charging/CN={_EVSE_ID}", "-outform", "DER",
           "-out", str(csr)])  # fmt: skip
    show(["openssl", "base64", "-in", str(csr), "-out", str(csr.with_suffix(".b64"))])
    # The secret in a file that only its owner reads: arguments are everybody's on this machine.
    netrc = directory / "netrc"
    with netrc.open("x", encoding="ascii") as file:
        netrc.chmod(0o600)
        file.write(f"machine {_HOST} login demo-cpo password {secret}\n")
    show(["curl", "-fsS", "--cacert", str(home / "ca" / "tls-root.pem"), "--netrc-file", str(netrc),
           "-H", "Content-Type: application/pkcs10", "--data-binary", f"@{csr.with_suffix('.b64')}",
           "-o", str(answer), f"{https}/.well-known/est/cpo/simpleenroll"])  # fmt: skip
    netrc.unlink()
    certificate = directory / "evse.pem"
    show(["openssl", "base64", "-d", "-in", str(answer), "-out", str(answer.with_suffix(".der"))])
    show(["openssl", "pkcs7", "-inform", "DER", "-in", str(answer.with_suffix(".der")), "-print_certs",
           "-out", str(certificate)])  # fmt: skip
    say(
        "  "
        + output(["openssl", "x509", "-in", str(certificate), "-noout", "-subject", "-enddate"]).replace("\n", "  ")
    )
    return certificate


def _check_crl(home: Path, directory: Path, certificate: Path, chain: Path, http: str) -> None:
    crl, pem = directory / "cpo-sub2.crl", directory / "cpo-sub2.crl.pem"
    show(["curl", "-fsS", "-o", str(crl), f"{http}/crl/cpo-sub2.crl"])
    show(["openssl", "crl", "-inform", "DER", "-in", str(crl), "-CAfile", str(home / "ca" / "cpo-sub2.pem"), "-verify",
           "-out", str(pem)])  # fmt: skip
    command = ["openssl", "verify", "-crl_check", "-CRLfile", str(pem), "-CAfile", str(home / "ca" / "v2g-root.pem")]
    command += ["-untrusted", str(chain), str(certificate)]
    say(f"$ {printed(command)}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # on PATH
    if done.returncode == 0 or _REVOKED not in done.stdout + done.stderr:
        raise InvariantError(f"openssl did not find the certificate on the CRL: {(done.stdout + done.stderr)[:300]}")
    say(f"  {_REVOKED}: the CRL is signed by the CA and lists it")


def is_possible() -> bool:
    """Tell whether the programs this half needs are there."""
    return shutil.which("curl") is not None
