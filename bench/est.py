"""EST over mTLS with durable commits: `pncpki serve` as shipped, and clients in a process of their own.

The clients send requests prepared beforehand over plain TLS sockets. What one core gives is measured with the server
confined to a core, one process for enrolments, and the clients confined to another.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode, encodebytes
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench.child import ROOT, clean_environment
from bench.machine import Machine, Place
from flows.sample_batch import sample_csr, sample_emaid
from pki_core.runtime import open_runtime

_PARTNER, _LABEL = "demo-mo", "mo"
_OK = b"HTTP/1.1 200 "
_END_OF_HEAD = b"\r\n\r\n"
_HEAD = (
    f"POST /.well-known/est/{_LABEL}/simpleenroll HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/pkcs10\r\nContent-Length: {length}\r\n\r\n"
)


def measure(machine: Machine, place: Place, requests: int, clients: int) -> dict[str, Any]:
    """Return latencies (ms) of one client kept alive and anew, the rate of several, and server CPU (ms) each.

    ``many`` is the server as it is shipped; ``one_core`` the same with one process to enrol, on one core.
    """
    warm = max(requests // 2, 200)
    loads: tuple[tuple[str, dict[str, Any]], ...] = (
        ("kept", {"count": requests, "clients": 1, "anew": 0}),
        ("anew", {"count": requests, "clients": 1, "anew": 1}),
        ("many", {"count": requests, "clients": clients, "anew": 0}),
    )
    cores = sorted(os.sched_getaffinity(0))
    core, others = cores[:1], cores[1:] or cores
    alone = (("one_core", {"count": requests, "clients": clients, "anew": 0, "cores": others}),)
    count = (len(loads) + len(alone)) * requests + 2 * warm
    files: Any = place.run("est.prepare", directory=str(machine.directory / f"est-{place.database}"), count=count)
    figures: dict[str, Any] = {}
    first = 0
    for planned, workers, allowed in ((loads, 0, cores), (alone, 1, core)):
        with _workers(Path(place.home), workers), _serving(place, allowed) as (pid, ready):
            warming: tuple[str, dict[str, Any]] = ("", {"count": warm, "clients": clients, "anew": 0})
            for name, load in (warming, *planned):
                asked = _cpu_of_database(place)
                figures[name] = place.run(
                    "est.drive", ready=ready, files=files, load={"first": first, "server": pid, **load}
                )
                figures[name]["database_cpu_ms"] = (_cpu_of_database(place) - asked) / load["count"] * 1000
                first += load["count"]
    return figures


@contextmanager
def _workers(home: Path, workers: int) -> Iterator[None]:
    """Let the server have this many processes for enrolments, 0 for as many as it is shipped with."""
    file = home / "pncpki.toml"
    settings = file.read_text(encoding="utf-8")
    if workers:
        file.write_text(f"{settings}\n[serving]\nworkers = {workers}\n", encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(settings, encoding="utf-8")


@contextmanager
def _confined(cores: list[int]) -> Iterator[None]:
    """Let processes that are started meanwhile run on these cores only."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


@contextmanager
def _serving(place: Place, cores: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    command = [sys.executable, "-m", "webapp", "serve", "--home", place.home, "--json"]
    with _confined(cores):
        server = subprocess.Popen(  # noqa: S603  # our own module
            [*command, "--https-port", "0", "--http-port", "0"],
            cwd=ROOT,
            env=clean_environment(place.variables),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield server.pid, json.loads(server.stdout.readline())  # type: ignore[union-attr]  # a pipe, by the call above
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def _stat(pid: str) -> list[int]:
    """Return a process's parent and the ticks it used, and its ended children, in user mode and the kernel; OSError."""
    fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    return [int(fields[1]), *(int(one) for one in fields[11:15])]


def _cpu_of(pid: int, *, ended: bool = False) -> float:
    """Return the CPU seconds a process and all below it have used so far; on request its ended children's as well."""
    below: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent, user, system, ended_user, ended_system = _stat(entry.name)
        except OSError:
            continue  # it ended meanwhile
        below.setdefault(parent, []).append(int(entry.name))
        used[int(entry.name)] = user + system + (ended_user + ended_system if ended else 0)
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        total += used.get(one, 0)
        waiting += below.get(one, [])
    return total / os.sysconf("SC_CLK_TCK")


def _cpu_of_database(place: Place) -> float:
    """Return the CPU seconds of the PostgreSQL server that has this database, on this machine; 0 on SQLite."""
    name = place.variables.get("PNCPKI_DATABASE_URL", "").partition("?")[0].rpartition("/")[2]
    for entry in Path("/proc").glob("[0-9]*") if name else ():
        try:
            if f" {name} " in (entry / "cmdline").read_bytes().decode(errors="replace"):
                return _cpu_of(_stat(entry.name)[0], ended=True)
        except OSError:
            continue
    return 0


def prepare(home: str, directory: str, count: int) -> dict[str, str]:
    """Job: issue a client certificate and write as many requests as will be sent."""
    place = Path(directory)
    place.mkdir(parents=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _PARTNER)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    with closing(open_runtime(Path(home))) as runtime:
        profile = runtime.profiles["tls_client"]
        issued = runtime.credentials.issue_certificate(_PARTNER, csr.public_bytes(Encoding.DER), profile)
    certificate = x509.load_der_x509_certificate(issued.certificate_der).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "client.pem").write_bytes(private + certificate)
    with (place / "bodies").open("w", encoding="ascii") as file:
        for number in range(count):
            csr_der = sample_csr(sample_emaid(number + 1))
            file.write(b64encode(csr_der).decode() + "\n")
    return {"certificate": str(place / "client.pem"), "bodies": str(place / "bodies")}


def drive(home: str, ready: dict[str, str], files: dict[str, str], load: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001  # every job of a place is told its home
    """Job: send requests; returns latencies in ms and the seconds it all took."""
    os.sched_setaffinity(0, load.get("cores") or os.sched_getaffinity(0))
    count, clients = load["count"], load["clients"]
    lines = Path(files["bodies"]).read_text(encoding="ascii").split("\n")[load["first"] : load["first"] + count]
    shares = [lines[number::clients] for number in range(clients)]
    context = ssl.create_default_context(cafile=ready["ca_file"])
    context.load_cert_chain(files["certificate"])
    port = int(ready["https"].rpartition(":")[2])
    anew = {"anew": bool(load["anew"])}
    latencies: list[list[float]] = [[] for _ in shares]
    threads = [
        threading.Thread(target=_send, args=(context, port, _requests(share), latencies[number]), kwargs=anew)
        for number, share in enumerate(shares)
    ]
    before = _cpu_of(load["server"])  # here: what the server does while this process starts is no enrolment's
    begun, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    ordered = sorted(one for share in latencies for one in share)
    if len(ordered) != count:
        raise RuntimeError(f"{count - len(ordered)} of {count} enrolments failed")
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        "rate": count / seconds,
        "server_cpu_ms": (_cpu_of(load["server"]) - before) / count * 1000,
        "client_cpu_ms": used / count * 1000,
    }


def _requests(lines: list[str]) -> list[bytes]:
    bodies = [encodebytes(b64decode(line)) for line in lines]
    return [_HEAD.format(length=len(body)).encode() + body for body in bodies]


def _send(context: ssl.SSLContext, port: int, requests: list[bytes], latencies: list[float], *, anew: bool) -> None:
    connection: ssl.SSLSocket | None = None
    for request in requests:
        begun = time.perf_counter()
        if connection is None:
            raw = socket.create_connection(("127.0.0.1", port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = context.wrap_socket(raw, server_hostname="localhost")
        connection.sendall(request)
        if not _answer(connection).startswith(_OK):
            return
        latencies.append(time.perf_counter() - begun)
        if anew:
            connection.close()
            connection = None


def _answer(connection: ssl.SSLSocket) -> bytes:
    answer = b""
    while _END_OF_HEAD not in answer:
        answer += _piece(connection)
    head = answer.partition(_END_OF_HEAD)[0]
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(answer) < len(head) + len(_END_OF_HEAD) + length:
        answer += _piece(connection)
    return answer


def _piece(connection: ssl.SSLSocket) -> bytes:
    piece = connection.recv(16_384)
    if not piece:
        raise ConnectionError("the server ended a connection")
    return piece
