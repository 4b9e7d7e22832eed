"""Ends a connection when the application says ``Connection: close`` (RFC 9112 9.6).

gunicorn drops that header, as WSGI allows; a linked EST enrolment depends on it (RFC 9266 4.1: one binding, one
authentication), and after a body that was refused for its size nothing sensible can follow. Nor does anything after a
long body: what is left of one is not waited for. Nor after one that cannot be read: where it ends nobody knows.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.http import errors as http_errors
from gunicorn.http.wsgi import Response
from werkzeug.exceptions import BadRequest

from webapp.whole_requests import MOST_AWAITED

_log = logging.getLogger("pncpki.web")


class _ReadableBody:
    """A body whose chunks and trailer (RFC 9112 7.1) are refused in the words of the route that reads them."""

    def __init__(self, body: Any, close: Callable[[], None]) -> None:  # noqa: ANN401  # gunicorn's, not typed
        self._body = body
        self._close = close

    def read(self, size: int | None = None) -> bytes:
        """Return the next octets; BadRequest when they cannot be read."""
        return self._whole(self._body.read, size)

    def readline(self, size: int | None = None) -> bytes:
        """Return the next line; BadRequest when it cannot be read."""
        return self._whole(self._body.readline, size)

    def _whole(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        try:
            return read(size)
        except (http_errors.ParseException, http_errors.NoMoreData) as error:
            self._close()
            _log.info("the body of a request could not be read: %s", type(error).__name__)
            raise BadRequest from error


class ClosesConnections:
    """Outermost application of the HTTPS listener."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401  # a WSGI application
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        """Hand the wish on to gunicorn's own answer, whose method ``start_response`` is."""
        answer = getattr(start_response, "__self__", None)
        length = environ.get("CONTENT_LENGTH") or ""
        if isinstance(answer, Response) and length.isdecimal() and int(length[:20]) > MOST_AWAITED:
            answer.force_close()
        if isinstance(answer, Response):
            environ["wsgi.input"] = _ReadableBody(environ["wsgi.input"], answer.force_close)

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:  # noqa: ANN401
            if isinstance(answer, Response) and ("connection", "close") in {
                (name.lower(), value.lower()) for name, value in headers
            }:
                answer.force_close()
            return start_response(status, headers, error)

        served: Iterable[bytes] = self._app(environ, start)
        return served
