"""Both listeners as one: started together, ended together, a fallen one started again; the certificate is looked after.

This process serves nothing and opens neither store nor token. Its children do: gunicorn (HTTPS), granian (plain HTTP),
and now and then a short one that renews the server's certificate. What that changes is taken up without a restart.
"""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from pki_core.model.errors import SettingsError
from pki_core.settings import Settings, load_settings
from webapp.children import Child, Start
from webapp.listeners import HOME_VARIABLE
from webapp.metrics import METRICS_VARIABLE

_START_SECONDS = 60
_STOP_SECONDS = 20
_TICK = 0.5
_OK = 200
_EXIT_FELL = 3
_RETRY_SECONDS = 60  # when a renewal failed
_NAMES = {"https": "HTTPS listener", "plain": "plain listener"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontOptions:
    """Where to listen. Port 0 is any free one."""

    home: Path
    address: str = "127.0.0.1"
    https_port: int = 8443
    http_port: int = 8080
    proxy_socket: Path | None = None  # instead of HTTPS: a Unix socket for the proxy that ends TLS
    as_json: bool = False


class Front:
    """The two listeners of one environment."""

    def __init__(self, options: FrontOptions) -> None:
        self._options = options
        self._settings: Settings = load_settings(options.home)
        self._tls_files = options.home / "secrets" / "tls"
        self._children: dict[str, Child] = {}
        self._ending = Event()
        self._renewal: subprocess.Popen[bytes] | None = None
        self._environment = dict(os.environ)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code.

        Raises:
            SettingsError: a port is taken, or an address is not ours.
        """
        options = self._options
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self._ending.set())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes is no reason to stop
        https = None if options.proxy_socket else listen(options.address, options.https_port, "--https-port")
        plain = listen(options.address, options.http_port, "--http-port")
        with tempfile.TemporaryDirectory(prefix="pncpki-") as directory:
            self._environment |= {METRICS_VARIABLE: directory, HOME_VARIABLE: str(options.home)}
            if code := self._start_renewal().wait():
                return code  # it has said why
            try:
                return self._serve(https, plain)
            finally:
                self._stop()
                if https is not None:
                    https.close()

    def _serve(self, https: socket.socket | None, plain: socket.socket) -> int:
        address, http_port = plain.getsockname()[:2]
        plain.close()  # held until now so that a taken port is found first; granian opens it for itself
        https_port = 0
        if https is None:
            self._spawn("https", ["--socket", f"unix:{self._options.proxy_socket}"])
        else:
            https_port = https.getsockname()[1]
            # Held open here: while the listener is started again, its clients wait instead of being refused.
            self._spawn("https", ["--socket", f"fd://{https.fileno()}", "--tls"], keep=https.fileno())
        self._spawn("plain", ["--bind", str(address), "--port", str(http_port)])
        if not self._wait_until_ready(str(address), https_port, http_port):
            return 0 if self._ending.is_set() else self._fell()
        self._announce(https_port, http_port)
        return self._watch()

    def _watch(self) -> int:
        seen = self._files_seen()
        look_after = time.monotonic() + self._settings.serving.renewal_minutes * 60
        while not self._ending.wait(_TICK):
            if not all(child.look(time.monotonic()) for child in self._children.values()):
                return self._fell()
            if self._files_seen() != seen and not self._options.proxy_socket:
                seen = self._files_seen()
                self._children["https"].process.send_signal(signal.SIGHUP)
            if self._renewal is None and time.monotonic() >= look_after:
                self._renewal = self._start_renewal()
            if self._renewal is not None and (code := self._renewal.poll()) is not None:
                pause = _RETRY_SECONDS if code else self._settings.serving.renewal_minutes * 60
                look_after, self._renewal = time.monotonic() + pause, None
        return 0

    def _start_renewal(self) -> "subprocess.Popen[bytes]":
        arguments = ["--json"] if self._options.as_json else []
        return subprocess.Popen(self._command("certificate", arguments), env=self._environment)  # noqa: S603  # ours

    def _spawn(self, act: str, arguments: list[str], *, keep: int | None = None) -> None:
        command = self._command(act, arguments)
        start = Start(name=_NAMES[act], command=command, environment=self._environment, keep=keep)
        self._children[act] = Child(start)

    def _command(self, act: str, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", "webapp", act, "--home", str(self._options.home), *arguments]

    def _wait_until_ready(self, address: str, https_port: int, http_port: int) -> bool:
        end = time.monotonic() + _START_SECONDS
        waiting = [http_port, https_port] if https_port else [http_port]
        while time.monotonic() < end and not self._ending.wait(0.1):
            if not all(child.is_up() for child in self._children.values()):
                return False
            waiting = [port for port in waiting if not self._is_alive(address, port, tls=port == https_port)]
            if not waiting and (https_port or (self._options.proxy_socket and self._options.proxy_socket.exists())):
                return True
        return False

    def _is_alive(self, address: str, port: int, *, tls: bool) -> bool:
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  # compared, not bound
        connection: http.client.HTTPConnection = http.client.HTTPConnection(loopback, port, timeout=2)
        try:
            if tls:
                context = ssl.create_default_context(cafile=self._tls_files / "root.pem")
                context.check_hostname = False  # the name is checked by those who come by name
                connection = http.client.HTTPSConnection(loopback, port, timeout=2, context=context)
            connection.request("GET", "/healthz")
            return connection.getresponse().status == _OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _announce(self, https_port: int, http_port: int) -> None:
        host = f"[{self._options.address}]" if ":" in self._options.address else self._options.address
        https = f"https://{host}:{https_port}" if https_port else f"unix:{self._options.proxy_socket}"
        plain = f"http://{host}:{http_port}"
        if self._options.as_json:
            ready = {"https": https, "http": plain, "pid": os.getpid(), "ca_file": str(self._tls_files / "root.pem")}
            line = json.dumps(ready)
        else:
            line = f"{https}  EST and partners; its CA: {self._tls_files / 'root.pem'}\n{plain}  OCSP, CRLs, CAs"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def _files_seen(self) -> list[tuple[int, int]]:
        seen = []
        for name in ("server.pem", "trust.pem"):
            try:
                found = (self._tls_files / name).stat()
            except OSError:
                continue  # being replaced by hand: the next look tells
            seen.append((found.st_mtime_ns, found.st_ino))
        return seen

    def _fell(self) -> int:
        fallen = [child.name for child in self._children.values() if not child.is_up()]
        sys.stderr.write(f"pncpki: the {' and the '.join(fallen) or 'server'} did not stay up; everything is stopped\n")
        return _EXIT_FELL

    def _stop(self) -> None:
        children = [child.process for child in self._children.values()]
        children += [self._renewal] if self._renewal else []
        for child in children:
            if child.poll() is None:
                child.terminate()
        end = time.monotonic() + _STOP_SECONDS
        for child in children:
            try:
                child.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def listen(address: str, port: int, option: str) -> socket.socket:
    """Return a listening socket.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise SettingsError(f"cannot listen on {address} port {port}: {reason}; choose another with {option}") from None
    except OverflowError:
        listener.close()
        raise SettingsError(f"{option} must be 0 to 65535") from None
    listener.set_inheritable(True)
    return listener
