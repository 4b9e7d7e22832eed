"""Fetches what other people's CAs publish about their certificates: OCSP answers (RFC 6960 A.1) and CRLs (RFC 5280).

Bytes only; what they say, and whether it is believed, is judged elsewhere. A server that failed is left alone for a
minute: a thousand certificates of a CA that is away cost one time-out.
"""

import time
from collections import OrderedDict
from threading import Lock

from pki_core.model.errors import ForbiddenAddressError, OutboundUnavailableError
from pki_core.model.outbound import OutboundRequest
from pki_core.outbound.client import OutboundClient

MOST_OCSP = 65_536  # octets
MOST_CRL = 20_000_000  # half a million revoked certificates
_LEFT_ALONE_SECONDS = 60.0
_MOST_REMEMBERED = 1000
_OK = 200


class StatusFetcher:
    """Fetches from responders and repositories."""

    def __init__(self, client: OutboundClient, left_alone_seconds: float = _LEFT_ALONE_SECONDS) -> None:
        self._client = client
        self._left_alone = left_alone_seconds
        self._failed: OrderedDict[str, float] = OrderedDict()
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
        self._refuse_failed(request.url)
        try:
            answer = self._client.call(request)
        except ForbiddenAddressError as error:
            raise OutboundUnavailableError(str(error)) from error  # it stands in a certificate: nobody to blame for it
        except OutboundUnavailableError:
            self._note_failed(request.url)
            raise
        if answer.status != _OK:
            self._note_failed(request.url)
            raise OutboundUnavailableError(f"the answer was {answer.status}")
        return answer.body

    def _refuse_failed(self, url: str) -> None:
        with self._lock:
            until = self._failed.get(url, 0.0)
        if time.monotonic() < until:
            raise OutboundUnavailableError("it failed a moment ago")

    def _note_failed(self, url: str) -> None:
        with self._lock:
            self._failed[url] = time.monotonic() + self._left_alone
            self._failed.move_to_end(url)
            while len(self._failed) > _MOST_REMEMBERED:
                self._failed.popitem(last=False)
