"""The HTTPS listener: gunicorn with our worker (RFC 7030 3.3), or, behind a proxy that ends TLS, on a Unix socket.

The master reads files and forks; it opens neither store nor token. A hang-up signal makes it read the TLS files again
and replace its workers one by one, so that all of them share one context and one set of ticket keys.
"""

import os
import ssl
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from pki_core.model.errors import SettingsError
from pki_core.runtime import open_runtime
from pki_core.settings import ServingSettings, load_settings
from webapp.app import wsgi_application
from webapp.closing import ClosesConnections
from webapp.connections import Deadlines
from webapp.listeners import HTTPS, end_with_parent
from webapp.long_answers import AnswerLimits
from webapp.tls_context import server_context
from webapp.tls_worker import DeadlineWorker

_HEAD_OCTETS = 65_536
_STOP_SECONDS = 15


class FrontApplication(BaseApplication):  # type: ignore[misc]  # gunicorn is not typed
    """What gunicorn serves, and how."""

    def __init__(self, home: Path, bind: str, *, tls: bool) -> None:
        self._home, self._bind, self._tls = home, bind, tls
        self._context: ssl.SSLContext | None = None
        super().__init__()

    def load_config(self) -> None:
        """Set everything that gunicorn's defaults do not fit; called again at every hang-up."""
        serving = load_settings(self._home).serving
        for name, value in _settings(self._bind, serving).items():
            self.cfg.set(name, value)
        self.cfg.deadlines = Deadlines(
            handshake=serving.handshake_seconds,
            head=serving.read_seconds,
            piece=serving.read_seconds,
            request=serving.request_seconds,
            head_octets=_HEAD_OCTETS,
        )
        if self._tls:
            self._load_tls()

    def _load_tls(self) -> None:
        files = self._home / "secrets" / "tls"
        try:
            self._context = server_context(files / "server.pem", files / "trust.pem")
        except SettingsError as error:
            if self._context is None:
                raise
            sys.stderr.write(f"pncpki: {error}; the old certificate stays\n")  # better old than none
        context = self._context
        self.cfg.set("certfile", str(files / "server.pem"))
        self.cfg.set("ssl_context", lambda _conf, _default: context)

    def load(self) -> Any:  # noqa: ANN401  # a WSGI application
        """Open the environment, in the worker."""
        runtime = open_runtime(self._home)
        answers = AnswerLimits(threads=runtime.settings.serving.threads)
        return ClosesConnections(wsgi_application(runtime, listener=HTTPS, answers=answers))


def _settings(bind: str, serving: ServingSettings) -> dict[str, Any]:
    return {
        "bind": [bind],
        "workers": serving.workers,
        "worker_class": DeadlineWorker,
        "threads": serving.threads,
        "worker_connections": serving.connections,
        "keepalive": serving.keep_alive_seconds,
        "backlog": 1024,
        "graceful_timeout": _STOP_SECONDS,
        "timeout": 60,  # of the worker's own loop, which never waits for a client
        "limit_request_line": 8190,
        "limit_request_fields": 64,
        "limit_request_field_size": 16_384,  # a proxy hands over a certificate in one header
        "forwarded_allow_ips": "",  # who is a proxy is decided in webapp/identity.py
        "control_socket_disable": True,  # it would be shared by all gunicorns of a user
        "loglevel": "warning",
        "umask": 0o117,  # a Unix socket: owner and group
    }


def serve_https(home: Path, bind: str, *, tls: bool) -> None:
    """Serve until a signal; ``bind`` is gunicorn's: ``fd://N`` or ``unix:PATH``."""
    end_with_parent()
    os.environ.pop("GUNICORN_CMD_ARGS", None)
    FrontApplication(home, bind, tls=tls).run()
