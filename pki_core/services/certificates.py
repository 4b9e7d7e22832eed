"""Certificates and issuers, looked up: for operators, scripts and result bundles."""

from pki_core.model.certificates import CertificateRecord, parse_serial
from pki_core.model.errors import NotFoundError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Level
from pki_core.store.unit_of_work import Store


class Certificates:
    """Read access to what was issued."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def show(self, serial: str) -> CertificateRecord:
        """Return a certificate by serial number, in any common spelling; NotFoundError when there is none."""
        stored = parse_serial(serial)
        with self._store.reading() as work:
            found = work.certificates.find(stored)
        if not found:
            raise NotFoundError(f"there is no certificate with serial {stored}")
        return found[0]

    def issuers(self) -> list[IssuerRecord]:
        """Return every CA, roots first."""
        with self._store.reading() as work:
            return work.issuers.all()

    def chain(self, issuer_label: str) -> list[IssuerRecord]:
        """Return the CAs from an issuer up to below its root: what goes behind a leaf in a PEM chain."""
        by_id = {record.id: record for record in self.issuers()}
        record = next((one for one in by_id.values() if one.label == issuer_label), None)
        if record is None:
            raise NotFoundError(f"there is no issuer {issuer_label!r}")
        chain = []
        while record.level is not Level.ROOT and record.parent_id is not None:
            chain.append(record)
            record = by_id[record.parent_id]
        return chain
