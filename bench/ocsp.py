"""OCSP over plain HTTP: one granian worker as shipped against nginx with the same bytes in a file, driven by wrk.

Server and load generator each have a core of their own. `openssl ocsp` answers one connection at a time and closes it,
which wrk cannot drive: a lean loop of ours does, and takes part of the time itself.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.certificates import issue, order_of, requests_of
from bench.child import run_job
from bench.machine import Machine, NotMeasurableError
from bench.web import drive, free_port, measure_nginx, running, wait_for
from pki_core.model.certificates import serial_text
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime.founding import Founding, found_environment
from pki_core.wire.ocsp_response import CertificateIdForm

_CERTIFICATES = 500
_NONCE_OCTETS = 16
_PAGE = 2000
_NONCE_EXTENSION = bytes.fromhex("a223 3021 301f 06092b0601050507300102 0412 0410".replace(" ", ""))
_SETTINGS = "[serving]\nplain_workers = 1\n[certificates]\ned448_hierarchy = false\n"
_SERVE = "import sys; from pathlib import Path; from webapp.serve_plain import serve_plain; "
_SERVE += "serve_plain(Path(sys.argv[1]), '127.0.0.1', int(sys.argv[2]))"
# wrk calls request() for each request: prepared ones in turn, or one with a nonce nobody used before.
_SCRIPT = """
local prepared, bodies, at = {{}}, {{}}, 0
local headers = {{["Content-Type"] = "application/ocsp-request"}}
init = function(args)
  math.randomseed(os.time())
  for line in io.lines("{file}") do
    local body = line:gsub("%x%x", function(two) return string.char(tonumber(two, 16)) end)
    bodies[#bodies + 1] = body
    prepared[#prepared + 1] = wrk.format("POST", "/ocsp", headers, body)
  end
end
request = function()
  at = at % #prepared + 1
  if not {live} then return prepared[at] end
  local nonce = {{}}
  for place = 1, {octets} do nonce[place] = string.char(math.random(0, 255)) end
  return wrk.format("POST", "/ocsp", headers, bodies[at]:sub(1, -{octets} - 1) .. table.concat(nonce))
end
"""


def measure(machine: Machine, seconds: int) -> dict[str, dict[str, float]]:
    """Return rate and p99 (ms) of nginx, of answers signed ahead, of live ones by both kinds of key, and of openssl."""
    for program in ("wrk", "taskset", "openssl"):
        if shutil.which(program) is None:
            raise NotMeasurableError(
                f"OCSP cannot be measured without {program}: apt-get install wrk util-linux openssl"
            )
    found: dict[str, dict[str, float]] = {}
    for kind in ("file", "softhsm"):
        directory = Path(tempfile.mkdtemp(prefix=f"ocsp-{kind}-", dir=machine.directory))
        files: Any = run_job("ocsp.prepare", {}, directory=str(directory), kind=kind)
        if kind == "file":
            found["nginx"] = measure_nginx(directory, Path(files["answer"]).read_bytes(), seconds)
            found["openssl"] = _measure_openssl(directory, files, seconds)
        with _serving(directory / "home") as port:
            url = f"http://127.0.0.1:{port}/ocsp"
            if kind == "file":
                _drive(url, directory, files["plain"], 1)  # every answer once into the cache
                found["ahead"] = _drive(url, directory, files["plain"], seconds)
            found[kind] = _drive(url, directory, files["nonce"], seconds, live=True)
    return found


def prepare(directory: str, kind: str) -> dict[str, str]:
    """Job: found an environment, issue certificates, sign ahead, write requests and one answer."""
    place = Path(directory)
    founding = Founding(environment="dev", home=place / "home", key_store=kind, overrides=_SETTINGS)
    with closing(found_environment(founding, lambda _line: None)) as runtime:
        issuer, order = order_of(runtime, "contract_leaf")
        spki_der = runtime.key_store.generate("bench", KeyAlgorithm.SECP256R1).spki_der
        issued = issue(runtime, (issuer, order), requests_of([("DEPNCC00000001A", spki_der)]) * _CERTIFICATES)
        runtime.ocsp_refresh.run()
        form = CertificateIdForm("sha1", issuer.record.subject_der, issuer.record.spki_der)
        ids = [form.der(serial_text(one.serial)) for one in issued]
        requests = [_request(one) for one in ids]
        answer = runtime.ocsp.answer(requests[0])
    (place / "plain").write_text("\n".join([one.hex() for one in requests]), encoding="ascii")
    live = [_request(one, _NONCE_EXTENSION + bytes(_NONCE_OCTETS)) for one in ids]
    (place / "nonce").write_text("\n".join([one.hex() for one in live]), encoding="ascii")
    (place / "answer").write_bytes(answer.der)
    return {name: str(place / name) for name in ("plain", "nonce", "answer")}


def _request(certificate_id: bytes, extensions: bytes = b"") -> bytes:
    requests = _sequence(_sequence(_sequence(certificate_id)) + extensions)
    return _sequence(requests)


def _sequence(content: bytes) -> bytes:
    size = len(content)
    return (b"\x30" + bytes((size,)) if size < 0x80 else b"\x30\x81" + bytes((size,))) + content  # noqa: PLR2004


@contextmanager
def _serving(home: Path) -> Iterator[int]:
    port = free_port()
    command = ["taskset", "-c", "0", sys.executable, "-c", _SERVE, str(home), str(port)]
    with running(command):
        wait_for(port)
        yield port


def _drive(url: str, directory: Path, bodies: str, seconds: int, *, live: bool = False) -> dict[str, float]:
    script = directory / "script.lua"
    script.write_text(_SCRIPT.format(file=bodies, live=str(live).lower(), octets=_NONCE_OCTETS), encoding="ascii")
    return drive(url, seconds, "-s", str(script))


def _measure_openssl(directory: Path, files: dict[str, str], seconds: int) -> dict[str, float]:
    """An openssl responder with a key file and an empty index: it signs "unknown", which costs what "good" does."""
    index, key, ca = directory / "index.txt", directory / "responder.key", directory / "responder.pem"
    index.touch()
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=b",
    ]
    subprocess.run([*make, "-keyout", key, "-out", ca], check=True, capture_output=True)  # noqa: S603
    port = free_port()
    options = ["-port", str(port), "-index", str(index), "-CA", str(ca), "-rsigner", str(ca), "-rkey", str(key)]
    with running(["taskset", "-c", "0", "openssl", "ocsp", *options, "-ignore_err"]):
        time.sleep(1)  # a connection that says nothing would stop it for good, so nobody looks whether it is there
        bodies = [bytes.fromhex(line) for line in Path(files["plain"]).read_text(encoding="ascii").split()]
        head = "POST / HTTP/1.0\r\nContent-Type: application/ocsp-request\r\nContent-Length: {}\r\n\r\n"
        asked = [head.format(len(body)).encode() + body for body in bodies]
        times: list[float] = []
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            began = time.perf_counter()
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(asked[len(times) % len(asked)])
                while connection.recv(_PAGE):
                    pass
            times.append(time.perf_counter() - began)
        rate = len(times) / (time.perf_counter() - started)
        return {"rate": rate, "p99_ms": sorted(times)[len(times) * 99 // 100] * 1000}
