"""Which CA a CertID means (RFC 6960 4.1.1), how it stands, and which delegated responder may answer for it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from threading import Lock
from time import monotonic

from pki_core.model.errors import NotAuthorizedError, ResponderUnavailableError, StoreUnavailableError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.ocsp import HASH_ALGORITHMS, CaStanding, CertificateId, ResponderRecord
from pki_core.model.states import CertificateState
from pki_core.store.unit_of_work import Store
from pki_core.wire.public_key import key_bits_of

RELOAD_SECONDS = 30.0  # new CAs and responders of other processes are seen by then
_RELOAD_FOR_UNKNOWN_SECONDS = 1.0  # a CA nobody has heard of yet is looked for, but not for each request
_MARGIN_SECONDS = 600  # a responder stops this long before its certificate ends


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredCa:
    """One CA whose certificates can be asked about."""

    record: IssuerRecord
    is_trusted: bool  # neither it nor a CA above it is revoked or on hold
    responders: tuple[ResponderRecord, ...]  # the latest first

    def responder(self, now: int) -> ResponderRecord:
        """Return who signs now.

        Raises:
            NotAuthorizedError: the CA expired, is revoked, or never had a responder: nobody may answer for it.
            ResponderUnavailableError: it had one, but none that may sign now.
        """
        is_over = self.record.not_after is None or self.record.not_after.timestamp() <= now
        if is_over or not self.is_trusted or not self.responders:
            raise NotAuthorizedError(f"nobody answers for {self.record.label}")
        for responder in self.responders:
            is_due = responder.not_before <= now < responder.not_after - _MARGIN_SECONDS
            if is_due and responder.state is CertificateState.GOOD:
                return responder
        raise ResponderUnavailableError(f"no responder of {self.record.label} may sign now")

    def vouches_for(self, response_der: bytes) -> bool:
        """Tell whether a response carries the certificate of a responder that is not revoked."""
        good = (one for one in self.responders if one.state is CertificateState.GOOD)
        return any(one.certificate_der in response_der for one in good)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Every CA as of one look at the store."""

    cas: tuple[AnsweredCa, ...]
    by_hash: Mapping[tuple[str, bytes, bytes], AnsweredCa]
    ca_serials: frozenset[tuple[int, str]]  # (issuer, serial) of CA certificates
    responder_serials: frozenset[tuple[int, str]]

    def find(self, one: CertificateId) -> AnsweredCa | None:
        """Return the CA a CertID means; name and key must both be its own."""
        return self.by_hash.get((one.hash_algorithm, one.issuer_name_hash, one.issuer_key_hash))

    def is_pillar(self, certificate: tuple[int, str]) -> bool:
        """Tell whether answers for others hang on a certificate: that of a CA or of a responder."""
        return certificate in self.ca_serials or certificate in self.responder_serials


class OcspDirectory:
    """Keeps a directory and looks again when it is old."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._directory: Directory | None = None
        self._loaded_at = -inf
        self._generation = object()  # another one each time it is forgotten

    def current(self, at_most_old: float = RELOAD_SECONDS) -> Directory:
        """Return the directory; an older one when the store is away, which is StoreUnavailableError without any."""
        directory = self._directory
        if directory is not None and monotonic() - self._loaded_at < at_most_old:
            return directory
        with self._lock:
            if self._directory is not None and monotonic() - self._loaded_at < at_most_old:
                return self._directory
            generation = self._generation
            try:
                self._directory = self._load()
            except StoreUnavailableError:
                if self._directory is None:
                    raise
            self._loaded_at = monotonic()
            if self._generation is not generation:  # what was told meanwhile may be missing in what was read
                self._loaded_at = -inf
            return self._directory

    def forget(self) -> None:
        """Look again at the next question, because a CA or responder changed."""
        self._generation = object()  # first: who is reading now compares it after setting the time
        self._loaded_at = -inf

    def find(self, certificate_ids: Sequence[CertificateId]) -> AnsweredCa:
        """Return the one CA all CertIDs mean.

        Raises:
            NotAuthorizedError: none, or several: one responder answers for one CA.
        """
        directory = self.current()
        if directory.find(certificate_ids[0]) is None:
            directory = self.current(_RELOAD_FOR_UNKNOWN_SECONDS)
        found = directory.find(certificate_ids[0])
        if found is None or any(directory.find(one) is not found for one in certificate_ids[1:]):
            raise NotAuthorizedError("the certificates are not those of one CA of this environment")
        return found

    def _load(self) -> Directory:
        with self._store.reading() as work:
            records = {record.id: record for record in work.issuers.all() if record.certificate_der}
            standings = {standing.ca_id: standing for standing in work.responders.standings()}
            responders = work.responders.all()
        cas = tuple(
            AnsweredCa(
                record=record,
                is_trusted=_is_trusted(record, records, standings),
                responders=tuple(one for one in responders if one.issuer_id == record.id),
            )
            for record in records.values()
        )
        return Directory(
            cas=cas,
            by_hash={key: ca for ca in cas for key in _hashes(ca.record)},
            ca_serials=frozenset((one.issuer_id, one.serial) for one in standings.values()),
            responder_serials=frozenset((one.issuer_id, one.serial) for one in responders),
        )


def _is_trusted(record: IssuerRecord, records: Mapping[int, IssuerRecord], standings: Mapping[int, CaStanding]) -> bool:
    """Tell whether a CA and all above it are good."""
    while True:
        standing = standings.get(record.id)
        if standing is None or standing.state is not CertificateState.GOOD:
            return False
        if record.parent_id is None:
            return True
        if record.parent_id not in records:
            return False
        record = records[record.parent_id]


def _hashes(record: IssuerRecord) -> list[tuple[str, bytes, bytes]]:
    """Return how a CertID names a CA: hashes of its name and of its key bits, by each algorithm."""
    bits = key_bits_of(record.spki_der)
    return [
        (
            algorithm,
            hashlib.new(algorithm, record.subject_der, usedforsecurity=False).digest(),
            hashlib.new(algorithm, bits, usedforsecurity=False).digest(),
        )
        for algorithm in HASH_ALGORITHMS
    ]
