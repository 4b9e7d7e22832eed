"""HTTP servers under load: nginx with one file, and wrk, each on a core of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.child import ROOT, clean_environment
from bench.machine import NotMeasurableError

_NOWHERE = subprocess.DEVNULL
_CONNECTIONS = 32
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    """Let a server run."""
    server = subprocess.Popen(  # noqa: S603  # our own commands; openssl tells of each request
        command, cwd=ROOT, env=clean_environment({}), stdin=_NOWHERE, stdout=_NOWHERE, stderr=_NOWHERE
    )
    try:
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NotMeasurableError("the server did not start")


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def drive(url: str, seconds: int, *options: str) -> dict[str, float]:
    """Return requests a second and p99 (ms) of 32 connections kept alive; wrk runs on the last core."""
    if shutil.which("wrk") is None:
        raise NotMeasurableError("servers cannot be driven without wrk: apt-get install wrk")
    core = str((os.cpu_count() or 1) - 1)
    command = ["taskset", "-c", core, "wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", *options, url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    if "Non-2xx" in output or "Socket errors" in output:
        raise NotMeasurableError(f"the server failed under load: {output}")
    figures = dict(line.split()[:2] for line in output.splitlines() if len(line.split()) > 1)
    p99 = figures["99%"]
    unit = p99.lstrip("0123456789.")
    return {"rate": float(figures["Requests/sec:"]), "p99_ms": float(p99.removesuffix(unit)) * _MS[unit]}


def measure_nginx(directory: Path, content: bytes, seconds: int) -> dict[str, float]:
    """Return requests a second and p99 (ms) of one nginx worker on the first core that serves a file."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise NotMeasurableError("servers are held against nginx: apt-get install nginx-light")
    port = free_port()
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        root = Path(scratch)
        (root / "file").write_bytes(content)
        paths = " ".join(
            f"{name}_temp_path {root}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (root / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n"
            f"events {{ worker_connections 256; }}\nhttp {{ access_log off; {paths} keepalive_requests 100000000;\n"
            f"open_file_cache max=10; default_type application/ocsp-response; sendfile on; tcp_nopush on;\n"
            f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n",
            encoding="ascii",
        )
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        with running(["taskset", "-c", "0", program, "-c", f"{root}/nginx.conf", "-p", scratch, *user]):
            wait_for(port)
            return drive(f"http://127.0.0.1:{port}/file", seconds)
