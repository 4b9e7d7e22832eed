"""Certificates of ours that callers show: what never changes about one is looked up once a process, its status never.

A certificate is ours when the store holds it bit for bit; the signature over it was checked when it was made.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pki_core.model.certificates import CertificateRecord, serial_text
from pki_core.model.errors import MalformedError
from pki_core.model.issuers import IssuerRecord
from pki_core.store.unit_of_work import UnitOfWork
from pki_core.wire.shown_certificate import key_shown, serial_of

_REMEMBERED = 4096


class KnownCertificate(NamedTuple):
    """One certificate with the CAs above it."""

    record: CertificateRecord  # its state is that of the day it was looked up: ask ``serials`` instead
    path: tuple[IssuerRecord, ...]  # from its issuer to the root
    serials: tuple[tuple[int, str], ...]  # (issuer id, serial) of itself and of every CA of the path
    key: str  # as ``compromised_key`` names it


class KnownCertificates:
    """Finds certificates by their bytes."""

    def __init__(self) -> None:
        self._known: dict[bytes, KnownCertificate] = {}

    def find(self, work: UnitOfWork, certificate_der: bytes) -> KnownCertificate | None:
        """Return a certificate of ours, None for any other.

        Raises:
            MalformedError: not a certificate.
        """
        known = self._known.get(certificate_der)
        if known is not None:
            return known
        try:
            serial = serial_text(serial_of(certificate_der))
        except OverflowError as error:
            raise MalformedError("the serial number is negative") from error
        record = next((one for one in work.certificates.find(serial) if one.certificate_der == certificate_der), None)
        if record is None:
            return None
        path = _path(work.issuers.all(), record.issuer_label)
        # A CA's serial counts under its parent, that of a root under itself.
        above = [(one.parent_id or one.id, serial_text(serial_of(one.certificate_der))) for one in path]
        serials = ((path[0].id, record.serial), *above)
        known = KnownCertificate(record, tuple(path), serials, key_shown(certificate_der))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[certificate_der] = known
        return known


def _path(issuers: Sequence[IssuerRecord], label: str) -> list[IssuerRecord]:
    by_id = {one.id: one for one in issuers}
    path = [next(one for one in issuers if one.label == label)]
    while path[-1].parent_id is not None:
        path.append(by_id[path[-1].parent_id])
    return path
