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
_PORT_VARIABLE = "PNCPKI_PLAIN_PORT"
_BODY_OCTETS = 65_536
_STOP_SECONDS = 15


def application() -> Any:  # noqa: ANN401  # a WSGI application
    """Open the environment, in the worker."""
    from pki_core.runtime import open_runtime  # noqa: PLC0415  # the parent of the workers needs none of it
    from webapp.app import wsgi_application  # noqa: PLC0415
    from webapp.long_answers import AnswerLimits  # noqa: PLC0415
    from webapp.plain_front import BodyGuard, BodyLimits  # noqa: PLC0415
    from webapp.slow_readers import SlowReaders  # noqa: PLC0415

    end_with_parent()
    runtime = open_runtime(Path(os.environ[HOME_VARIABLE]))
    serving = runtime.settings.serving
    port = int(os.environ[_PORT_VARIABLE])
    readers = SlowReaders(port, serving.read_seconds)
    answers = AnswerLimits(threads=serving.plain_threads, seconds=serving.request_seconds, told=readers.watch)
    limits = BodyLimits(octets=_BODY_OCTETS, seconds=serving.read_seconds, threads=serving.plain_threads)
    return BodyGuard(wsgi_application(runtime, listener=PLAIN, answers=answers), limits, port)


def serve_plain(home: Path, address: str, port: int) -> None:
    """Serve until a signal."""
    end_with_parent()
    os.environ |= {HOME_VARIABLE: str(home), _PORT_VARIABLE: str(port)}
    serving = load_settings(home).serving
    Granian(
        target="webapp.serve_plain:application",
        factory=True,
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=serving.read_seconds * 1000, max_buffer_size=_BUFFER_OCTETS, keep_alive=True
        ),
        websockets=False,
        workers=serving.plain_workers,
        blocking_threads=serving.plain_threads,
        workers_kill_timeout=_STOP_SECONDS,
        respawn_failed_workers=True,
        log_level=LogLevels.error,  # one of its warnings is about the number of threads
    ).serve()
