"""The signers of the provisioning service (ISO 15118-2 Annex F, CPS leaf): who may sign contract data now, and its key.

Made by ceremonies. The newest one of an algorithm below the wanted V2G root signs; older ones stay listed as long as
they are valid, because vehicles meet contract data that they signed.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.contracts import CertificateChain
from pki_core.model.cps import SIGNER_NOT_FOUND, CpsSigner, CpsSignerRecord
from pki_core.model.errors import ConflictError, KeyRejectedError, SignerUnavailableError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Level
from pki_core.model.signer import KeyAlgorithm, KeyStore, Signer
from pki_core.model.states import CertificateState
from pki_core.services.budget import SignerSize, newest_parts
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.contract_data import end_of, public_key_of


class SignerStanding(NamedTuple):
    """A signer and what has become of it."""

    signer: CpsSigner
    ends: datetime  # of its certificate, or of a CA above it that ends before
    is_in_force: bool


class CpsSigners:
    """Knows the signers of one environment."""

    def __init__(self, store: Store, key_store: Callable[[], KeyStore], clock: Clock) -> None:
        self._store = store
        self._key_store = key_store
        self._clock = clock
        self._bound: dict[str, Signer] = {}
        self._lock = Lock()

    def active(self) -> list[CpsSigner]:
        """Return the signers whose certificate and CAs are in force, the newest first."""
        return [one.signer for one in self.standings() if one.is_in_force]

    def standings(self) -> list[SignerStanding]:
        """Return how every signer stands, those out of force too, the newest first."""
        with self._store.reading() as work:
            return _standings(work, self._clock.now())

    def choose(self, algorithm: KeyAlgorithm, root_sha256: str = "") -> CpsSigner:
        """Return the signer of new contract data.

        Raises:
            ConflictError: there is none below the V2G root that was named.
            SignerUnavailableError: there is none of this algorithm at all.
        """
        for signer in self.active():
            if signer.algorithm is algorithm and root_sha256.lower() in {"", signer.root_sha256}:
                return signer
        if root_sha256:
            raise ConflictError(SIGNER_NOT_FOUND)
        raise SignerUnavailableError(f"no CPS signer with a {algorithm} key is in force; a ceremony makes the next one")

    def signs_below(self, algorithm: KeyAlgorithm, root_sha256: str) -> bool:
        """Tell whether there is a signer of this algorithm below a V2G root."""
        return any((one.algorithm, one.root_sha256) == (algorithm, root_sha256) for one in self.active())

    def key_of(self, signer: CpsSigner) -> Signer:
        """Return a signer's key.

        Raises:
            KeyRejectedError: it is not the one its certificate names.
            HsmUnavailableError: the token is away.
        """
        record = signer.record
        with self._lock:
            bound = self._bound.get(record.label)
            if bound is None:
                bound = self._key_store().bind(record.key_label)
                if bound.spki_der != public_key_of(record.certificate_der):
                    raise KeyRejectedError(f"the key {record.key_label!r} is not the one signer {record.label} has")
                self._bound[record.label] = bound
            return bound


def may_be_shown(chain: CertificateChain, fallen: frozenset[bytes], now: datetime) -> bool:
    """Tell whether vehicles would take what a provisioning service signed.

    ``fallen`` holds the certificates of our revoked signers; whether others' are is asked when their data comes in.
    """
    return chain.certificate_der not in fallen and now < end_of(chain)


def answer_parts(work: UnitOfWork, now: datetime) -> tuple[list[IssuerRecord], list[SignerSize]]:
    """Return what an answer may be made with now: the CAs that stand and have not ended, and the signers in force."""
    issuers = [one for one in work.issuers.standing() if one.not_after is not None and now < one.not_after]
    return issuers, [_size(one.signer.record) for one in _standings(work, now) if one.is_in_force]


def newest_answer_parts(work: UnitOfWork) -> tuple[list[IssuerRecord], list[SignerSize]]:
    """Return the CAs and the signer that ceremonies made last, whatever became of them."""
    return newest_parts(work.issuers.all(), [_size(one) for one in work.cps_signers.all()])


def _size(record: CpsSignerRecord) -> SignerSize:
    return SignerSize(record.issuer_id, len(record.certificate_der), record.label)


def _standings(work: UnitOfWork, now: datetime) -> list[SignerStanding]:
    records, issuers = work.cps_signers.all(), {one.id: one for one in work.issuers.all()}
    good = {one.ca_id for one in work.responders.standings() if one.state is CertificateState.GOOD}
    found = []
    for record in records:
        path = _path(issuers, record.issuer_id)
        ends = min([record.not_after, *(one.not_after or record.not_after for one in path)])
        is_good = record.state is CertificateState.GOOD and all(one.id in good and one.not_after for one in path)
        is_in_force = is_good and record.not_before <= now < ends
        found.append(SignerStanding(_signer(record, path), ends, is_in_force))
    return found


def _path(issuers: dict[int, IssuerRecord], issuer_id: int) -> list[IssuerRecord]:
    """Return the CAs above a signer, its root last."""
    path = [issuers[issuer_id]]
    while path[-1].parent_id is not None:
        path.append(issuers[path[-1].parent_id])
    return path


def _signer(record: CpsSignerRecord, path: Sequence[IssuerRecord]) -> CpsSigner:
    subs = tuple(one.certificate_der for one in path if one.level is not Level.ROOT)
    return CpsSigner(
        record=record,
        algorithm=path[0].algorithm,
        chain=CertificateChain(certificate_der=record.certificate_der, sub_certificates_der=subs),
        root_der=path[-1].certificate_der,
        root_sha256=hashlib.sha256(path[-1].certificate_der).hexdigest(),
    )
