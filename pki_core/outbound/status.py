"""Fetches what other people's CAs publish about their certificates: OCSP answers (RFC 6960 A.1) and CRLs (RFC 5280).

Bytes only; what they say, and whether it is believed, is judged elsewhere. A server that does not answer is left alone
for a minute, whatever its URLs: a thousand certificates of a CA that is away cost one time-out. One that answers with
something else is left alone at that URL. Each asker has a memory of his own: the URLs are his to choose, and what he
makes fail must not keep others from a server that is well.
"""

import time
from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from urllib.parse import urlsplit

from pki_core.model.errors import ForbiddenAddressError, OutboundUnavailableError, StatusUntellableError
from pki_core.model.outbound import OutboundRequest
from pki_core.outbound.client import OutboundClient
from pki_core.outbound.turns import Turns

MOST_OCSP = 65_536  # octets
MOST_CRL = 20_000_000  # half a million revoked certificates
_LEFT_ALONE_SECONDS = 60.0
_MOST_REMEMBERED = 1000
_OK = 200


class StatusFetcher:
    """Fetches from responders and repositories."""

    def __init__(self, client: OutboundClient, turns: Turns, left_alone_seconds: float = _LEFT_ALONE_SECONDS) -> None:
        self._client = client
        self._turns = turns
        self._left_alone = left_alone_seconds
        self._failed: OrderedDict[tuple[str, str], float] = OrderedDict()  # asker, server or URL -> until when
        self._lock = Lock()

    def ocsp(self, url: str, request_der: bytes) -> bytes:
        """Return a responder's answer; OutboundUnavailableError when there is none."""
        headers = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}
        return self._fetch(
            OutboundRequest(url=url, method="POST", body=request_der, headers=headers, max_octets=MOST_OCSP)
        )

    def crl(self, url: str) -> bytes:
        """Return a CRL; OutboundUnavailableError when there is none, or it is too long."""
        return self._fetch(OutboundRequest(url=url, headers={"Accept": "application/pkix-crl"}, max_octets=MOST_CRL))

    def _fetch(self, request: OutboundRequest) -> bytes:
        server = _server_of(request.url)
        self._refuse_failed(request.url, server)
        seconds = self._turns.seconds_for_call()
        begun = time.monotonic()
        try:
            answer = self._client.call(replace(request, seconds=seconds))
        except ForbiddenAddressError as error:
            raise StatusUntellableError(str(error)) from error  # it stands in a certificate: nobody to blame for it
        except OutboundUnavailableError:
            # Time that somebody else has used up says nothing about this server.
            if seconds is None or seconds >= self._turns.longest_call or time.monotonic() - begun < seconds:
                self._note_failed(server)
            raise
        if answer.status != _OK:
            self._note_failed(request.url)
            raise OutboundUnavailableError(f"the answer was {answer.status}")
        return answer.body

    def _refuse_failed(self, *names: str) -> None:
        asker = self._turns.asker
        with self._lock:
            until = max(self._failed.get((asker, name), 0.0) for name in names)
        if time.monotonic() < until:
            raise OutboundUnavailableError("it failed a moment ago")

    def _note_failed(self, name: str) -> None:
        """Remember a server or a URL for whoever asks now."""
        key = self._turns.asker, name
        with self._lock:
            self._failed[key] = time.monotonic() + self._left_alone
            self._failed.move_to_end(key)
            while len(self._failed) > _MOST_REMEMBERED:
                self._failed.popitem(last=False)


def _server_of(url: str) -> str:
    """Return scheme, host and port, "" of what is no URL: a responder may be away where the CRLs beside it are not.

    Without the scheme, TLS asked of a port that speaks plain HTTP would be the fault of the plain one.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.lower()}"
