"""Renewal information: when should the holder of a certificate come back (draft-ietf-lamps-est-renewal-info)?"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pki_core.model.certificates import serial_text
from pki_core.model.clock import Clock
from pki_core.model.errors import NotFoundError
from pki_core.model.limits import SERIAL_OCTETS
from pki_core.model.states import CertificateState
from pki_core.store.unit_of_work import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalWindow:
    """From when to when a renewal is suggested."""

    start: datetime
    end: datetime


class RenewalInfo:
    """Suggests when to renew."""

    def __init__(self, store: Store, clock: Clock, window_days: int) -> None:
        self._store = store
        self._clock = clock
        self._window = timedelta(days=window_days)

    def window(self, authority_key_identifier: bytes, serial: bytes) -> RenewalWindow:
        """Return the window of a certificate; it lies in the past for one that is revoked.

        Raises:
            NotFoundError: there is no such certificate.
        """
        if not 0 < len(serial) <= SERIAL_OCTETS + 1:
            raise NotFoundError("there is no such certificate")
        with self._store.reading() as work:
            found = work.certificates.find(serial_text(int.from_bytes(serial, "big")))
            issuers = {one.label: one.key_identifier for one in work.issuers.all()} if found else {}
        for record in found:
            if issuers[record.issuer_label] == authority_key_identifier:
                if record.state is not CertificateState.GOOD:
                    now = self._clock.now()
                    return RenewalWindow(start=now - timedelta(days=1), end=now)
                # Short-lived certificates: the last third, as ACME clients do.
                ahead = min(self._window, (record.not_after - record.not_before) / 3)
                start = (record.not_after - ahead).replace(microsecond=0)
                return RenewalWindow(start=start, end=(start + ahead / 2).replace(microsecond=0))
        raise NotFoundError("there is no such certificate")
