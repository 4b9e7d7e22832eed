"""The plain HTTP listener: granian serves OCSP, CRLs and CA certificates (RFC 6960 A.1, RFC 5280 4.2.1.13)."""

import os
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from pki_core.settings import load_settings
from webapp.listeners import HOME_VARIABLE, PLAIN, end_with_parent

_BUFFER_OCTETS = 65_536  # head of a request, and what is read ahead of a body
_BODY_OCTETS = 65_536
_STOP_SECONDS = 15


def application() -> Any:  # noqa: ANN401  # an RSGI application
    """Open the environment, in the worker."""
    from pki_core.runtime import open_runtime  # noqa: PLC0415  # the parent of the workers needs none of it
    from webapp.app import wsgi_application  # noqa: PLC0415
    from webapp.plain_front import PlainFront, PlainLimits  # noqa: PLC0415

    end_with_parent()
    runtime = open_runtime(Path(os.environ[HOME_VARIABLE]))
    limits = PlainLimits(
        body_octets=_BODY_OCTETS,
        body_seconds=runtime.settings.serving.read_seconds,
        threads=runtime.settings.serving.plain_threads,
    )
    return PlainFront(wsgi_application(runtime, listener=PLAIN), runtime.ocsp, limits)


def serve_plain(home: Path, address: str, port: int) -> None:
    """Serve until a signal."""
    end_with_parent()
    os.environ[HOME_VARIABLE] = str(home)
    serving = load_settings(home).serving
    Granian(
        target="webapp.serve_plain:application",
        factory=True,
        address=address,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=serving.read_seconds * 1000, max_buffer_size=_BUFFER_OCTETS, keep_alive=True
        ),
        websockets=False,
        workers=serving.plain_workers,
        workers_kill_timeout=_STOP_SECONDS,
        log_level=LogLevels.warning,
    ).serve()
