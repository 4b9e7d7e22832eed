"""Ends a connection when the application says ``Connection: close`` (RFC 9112 9.6).

gunicorn drops that header, as WSGI allows; a linked EST enrolment depends on it (RFC 9266 4.1: one binding, one
authentication), and after a body that was refused for its size nothing sensible can follow. Nor does anything after a
long body: what is left of one is not waited for.
"""

from collections.abc import Iterable
from typing import Any

from gunicorn.http.wsgi import Response

from webapp.whole_requests import MOST_AWAITED


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

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:  # noqa: ANN401
            if isinstance(answer, Response) and ("connection", "close") in {
                (name.lower(), value.lower()) for name, value in headers
            }:
                answer.force_close()
            return start_response(status, headers, error)

        served: Iterable[bytes] = self._app(environ, start)
        return served
