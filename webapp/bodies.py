"""Request bodies, declared or chunked (RFC 9112 7.1), and never more of one than its limit."""

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from pki_core.model.errors import LimitExceededError


def read_body(incoming: Request, limit: int) -> bytes:
    """Return the body of a request; LimitExceededError when it has more than ``limit`` octets."""
    incoming.max_content_length = limit + 1  # werkzeug cuts a chunked body off there without a word
    try:
        body = incoming.get_data(cache=False)
    except RequestEntityTooLarge as error:
        raise LimitExceededError(f"a request has at most {limit} octets") from error
    if len(body) > limit:
        raise LimitExceededError(f"a request has at most {limit} octets")
    return body
