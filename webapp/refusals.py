"""What a request that cannot be read is answered (RFC 9110 15): one line of plain text, and the connection ends."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from gunicorn.http import errors

from webapp.errors import RETRY_AFTER_SECONDS
from webapp.host_field import is_host_field

_TOO_LONG: Final = {errors.LimitRequestLine: 414, errors.LimitRequestHeaders: 431}
_OTHERS: Final = {errors.UnsupportedTransferCoding: 501, errors.ExpectationFailed: 417}
_OURS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)


def check_head(version: tuple[int, int], headers: Sequence[tuple[str, str]]) -> None:
    """Raise what gunicorn's parser leaves out (RFC 9112 3.2, 6.1): a wrong Host, codings that nobody here undoes."""
    hosts = [value for name, value in headers if name == "HOST"]
    if len(hosts) > 1 or not all(is_host_field(value) for value in hosts) or (version >= (1, 1) and not hosts):
        raise errors.InvalidHeader("HOST")
    for name, value in headers:
        if name == "TRANSFER-ENCODING" and value.strip(" \t").lower() != "chunked":
            raise errors.UnsupportedTransferCoding(value)


def refusal_of(error: BaseException) -> tuple[int, str]:
    """Return status and text for what gunicorn found in a request; 500 for everything that is no fault of it."""
    if isinstance(error, _OURS) or not isinstance(error, errors.ParseException):
        return 500, "internal: the fault is ours and has been noted"
    status = next((number for kind, number in {**_TOO_LONG, **_OTHERS}.items() if isinstance(error, kind)), 400)
    if status == HTTPStatus.BAD_REQUEST:
        return status, "The request could not be read."
    return status, HTTPStatus(status).phrase


def refusal_text(status: int, message: str) -> bytes:
    """Return the whole answer (RFC 9112 4)."""
    body = message.encode("ascii") + b"\n"
    later = f"Retry-After: {RETRY_AFTER_SECONDS}\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{later}Connection: close\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body
