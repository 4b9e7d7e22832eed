"""Status of other people's certificates: asked by OCSP where the certificate names a responder, else by its CRL.

What was told is kept as long as its CA says, an hour at most; an unknown is never kept. CRLs are kept parsed, the one
that was used longest ago goes first.
"""

from collections import OrderedDict
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from threading import Lock

from pki_core.model.clock import Clock
from pki_core.model.errors import MalformedError, OutboundUnavailableError, StatusUntellableError
from pki_core.model.foreign_status import StatusReport
from pki_core.model.pools import ForeignStatus
from pki_core.outbound.status import StatusFetcher
from pki_core.outbound.turns import Turns
from pki_core.wire.foreign_status import (
    ForeignCertificate,
    ForeignCrl,
    look_up,
    ocsp_request_der,
    read_crl,
    read_foreign,
    read_ocsp,
)

_KEPT = timedelta(hours=1)
_MOST_SOURCES = 2  # of each kind that are tried
_MOST_REPORTS = 20_000
_MOST_CRL_OCTETS = 64_000_000  # of all that are kept
_MOST_CERTIFICATE = 65_536


class ForeignStatuses:
    """Asks other people's CAs."""

    def __init__(self, fetcher: StatusFetcher, clock: Clock, turns: Turns) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._turns = turns
        self._reports: OrderedDict[tuple[bytes, int], tuple[datetime, StatusReport]] = OrderedDict()
        self._crls: OrderedDict[tuple[str, bytes], tuple[datetime, ForeignCrl]] = OrderedDict()
        self._lock = Lock()

    def asked_by(self, partner_id: str) -> AbstractContextManager[None]:
        """Count what is asked within as one request of a partner's: it gets a turn and a time, or OverloadedError."""
        return self._turns.asked_by(partner_id)

    def status_of(self, certificate_der: bytes, issuer_der: bytes) -> ForeignStatus:
        """Return how a certificate stands: what its CA says, which may be that it does not know it.

        Raises:
            OutboundUnavailableError: nobody tells now.
            StatusUntellableError: these cannot be asked about, now or later.
            OverloadedError: too much is being asked for the partner who asks, or for all.
        """
        try:
            report = self.look(certificate_der, issuer_der)
        except MalformedError as error:
            raise StatusUntellableError(f"nobody can be asked about this certificate: {error}") from error
        if report.is_untellable:
            raise StatusUntellableError("this certificate names no responder and no CRL that may be asked")
        if not report.source:
            raise OutboundUnavailableError(f"nobody tells the status of this certificate: {report.reason}")
        return report.standing

    def look(self, certificate_der: bytes, issuer_der: bytes) -> StatusReport:
        """Return what can be found out about a certificate; unknown with a reason when nobody tells.

        Raises:
            MalformedError: these are no certificates, or the second did not issue the first.
        """
        if max(len(certificate_der), len(issuer_der)) > _MOST_CERTIFICATE:
            raise MalformedError("no certificate is that long")
        asked = read_foreign(certificate_der, issuer_der)
        key, now = (asked.issuer_key_hash + asked.issuer_name_hash, asked.serial), self._clock.now()
        with self._lock:
            until, kept = self._reports.get(key, (now, None))
        if kept is not None and now < until:
            return kept
        report = self._ask(asked, now)
        if report.standing is not ForeignStatus.UNKNOWN and report.good_until is not None:
            with self._lock:
                self._reports[key] = (min(report.good_until, now + _KEPT), report)
                self._reports.move_to_end(key)
                while len(self._reports) > _MOST_REPORTS:
                    self._reports.popitem(last=False)
        return report

    def _ask(self, asked: ForeignCertificate, now: datetime) -> StatusReport:
        problems, unknown, is_untellable = [], None, True
        for url in asked.sources.ocsp_urls[:_MOST_SOURCES]:
            try:
                report = read_ocsp(self._fetcher.ocsp(url, ocsp_request_der(asked)), asked, url, now)
            except (MalformedError, OutboundUnavailableError) as error:
                problems.append(f"OCSP: {error}")
                is_untellable = is_untellable and isinstance(error, StatusUntellableError)
                continue
            if report.standing is not ForeignStatus.UNKNOWN:
                return report
            unknown = report
        for url in asked.sources.crl_urls[:_MOST_SOURCES]:
            try:
                return look_up(self._crl(url, asked, now), asked)
            except (MalformedError, OutboundUnavailableError) as error:
                problems.append(f"CRL: {error}")
                is_untellable = is_untellable and isinstance(error, StatusUntellableError)
        reason = "; ".join(problems) or "the certificate names neither a responder nor a CRL"
        return unknown or StatusReport(
            standing=ForeignStatus.UNKNOWN,
            source="",
            this_update=None,
            good_until=None,
            is_told_nowhere=not (asked.sources.ocsp_urls or asked.sources.crl_urls),
            is_untellable=is_untellable,
            reason=reason,
        )

    def _crl(self, url: str, asked: ForeignCertificate, now: datetime) -> ForeignCrl:
        key = (url, asked.issuer_name_hash + asked.issuer_key_hash)
        with self._lock:
            until, kept = self._crls.get(key, (now, None))
            if kept is not None and now < until:
                self._crls.move_to_end(key)
                return kept
        crl = read_crl(self._fetcher.crl(url), asked.issuer, url, now)
        with self._lock:
            self._crls[key] = (min(crl.next_update, now + _KEPT), crl)
            self._crls.move_to_end(key)
            while len(self._crls) > 1 and sum(one.octets for _, one in self._crls.values()) > _MOST_CRL_OCTETS:
                self._crls.popitem(last=False)
        return crl
