"""The two listeners: what each of them serves, and how their processes end when the one that started them is gone."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

HTTPS: Final = "https"
PLAIN: Final = "plain"
HOME_VARIABLE: Final = "PNCPKI_HOME"
IS_PLAIN: Final = "pncpki.is_plain"  # in the WSGI environment: the request came in by the plain listener
DOCUMENTS: Final = ("/openapi.json", "/docs")

# RFC 5280 4.2.1.13, 4.2.2.1, RFC 6960 A.1: what readers of certificates fetch. Everything else is behind TLS.
_PUBLIC = ("/ocsp", "/crl", "/aia", "/pki", "/healthz", "/readyz", "/metrics", *DOCUMENTS)
# Status is asked for over plain HTTP and belongs there: a flood of it, or of slow readers, leaves EST alone.
_PLAIN_ONLY = ("/ocsp", "/crl")
_NOT_FOUND = b"There is nothing here.\n"
_PR_SET_PDEATHSIG = 1


class PublicOnly:
    """The plain listener: paths of requests and partners do not exist there."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401  # a WSGI application
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Serve what is public, 404 for the rest (RFC 9110 15.5.5)."""
        if is_public(environ.get("PATH_INFO", "")):
            environ[IS_PLAIN] = True
            answer: Iterable[bytes] = self._app(environ, start_response)
            return answer
        return _nothing_here(environ, start_response)


class PartnersOnly:
    """The HTTPS listener: everything but the status of certificates."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401  # a WSGI application
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Serve what is no status, 404 for that."""
        if is_below(_PLAIN_ONLY, environ.get("PATH_INFO", "")):
            return _nothing_here(environ, start_response)
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


def is_public(path: str) -> bool:
    """Tell whether a path is served without TLS."""
    return is_below(_PUBLIC, path)


def is_below(prefixes: Iterable[str], path: str) -> bool:
    """Tell whether a path is one of these, or below one."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


def _nothing_here(environ: dict[str, Any], start_response: Any) -> list[bytes]:  # noqa: ANN401
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_NOT_FOUND)))]
    start_response("404 Not Found", headers)
    return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else _NOT_FOUND]


def end_with_parent() -> None:
    """Have the kernel end this process when its parent is gone, however it went; elsewhere than on Linux do nothing."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it went in between
        os.kill(os.getpid(), signal.SIGTERM)
