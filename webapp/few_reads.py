"""What reads the database for anybody who asks has few places on the plain listener, so that OCSP always has threads.

A database that hangs, its connections open and nothing answered, keeps every request that reads it; all threads would
wait there, and answers that OCSP has in memory with them. Beyond the few: 503 and Retry-After (RFC 9110 15.6.4), at
once. OCSP limits its own look-ups (``OcspPolicy.most_looking``), the long answers have places of their own.
"""

from collections.abc import Iterable
from threading import BoundedSemaphore
from typing import Any, Final

from webapp.listeners import WsgiApp, is_below
from webapp.long_answers import come_again

_SHARE_OF_READERS, _SHARE_OF_HEALTH = 4, 32  # one thread in so many
_READERS: Final = ("/crl", "/aia", "/pki/roots")
_HEALTH: Final = ("/readyz", "/metrics")  # each apart: a load balancer must hear of this process, whatever others read
_LATER: Final = b"Too many requests of this kind are under way; ask again.\n"


class FewReads:
    """A WSGI application of whose requests that read the database only some are under way."""

    def __init__(self, app: WsgiApp, threads: int) -> None:
        self._app = app
        self._readers = BoundedSemaphore(max(threads // _SHARE_OF_READERS, 1))
        self._health = {path: BoundedSemaphore(max(threads // _SHARE_OF_HEALTH, 1)) for path in _HEALTH}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Answer when there is a place; what is read for the answer later on, a long answer's place is for."""
        places = self._places(environ.get("PATH_INFO", ""))
        if places is None:
            return self._app(environ, start_response)
        if not places.acquire(blocking=False):
            return come_again(environ, start_response, _LATER)
        try:
            return self._app(environ, start_response)
        finally:
            places.release()

    def _places(self, path: str) -> BoundedSemaphore | None:
        if is_below(_READERS, path):
            return self._readers
        return self._health["/" + path.split("/")[1]] if is_below(_HEALTH, path) else None
