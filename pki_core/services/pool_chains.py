"""The checks before a certificate enters a pool: validity, status and path, in this order (OPCP, provisioning pool).

The shell model (RFC 5280 6.1): every certificate from leaf to root must be valid now. Anchors are the active roots of
the RCP and our own; the status of ours is in the store, other people's CAs are asked.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Protocol

from pki_core.model.clock import Clock
from pki_core.model.errors import ConflictError, MalformedError, StatusUntellableError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.pools import (
    STATUS_MAX_AGE,
    Chain,
    ContractRow,
    ForeignStatus,
    ProvisioningRow,
    RootKind,
    StatusSource,
)
from pki_core.model.profiles import Level
from pki_core.model.states import CertificateState
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.pool_certificate import PoolCertificate, read_certificate

_V2G = "v2g"
_OWN_KINDS = frozenset({RootKind.V2G, RootKind.MO, RootKind.OEM})  # the branches below a V2G root of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedChain:
    """A leaf that passed, with what is stored of it."""

    leaf: PoolCertificate
    above: tuple[PoolCertificate, ...]  # its issuer first
    root_sha256: str
    valid_to: datetime  # the earliest end, root included
    certificate_id: int | None  # issued by us
    is_own: bool  # the CAs above are ours

    def store(self, work: UnitOfWork, now: datetime) -> int:
        """Store the CA certificates when they are new; return the chain's number."""
        ends = min(self.valid_to, *[one.not_after for one in self.above])
        certificates = [one.der for one in self.above]
        return work.chains.ensure(certificates, self.root_sha256, ends, now=None if self.is_own else now)


@dataclass(frozen=True, slots=True)
class _Anchor:
    certificate: PoolCertificate
    sha256: str


class _Told(Protocol):
    """A row of a pool, in whatever shape."""

    @property
    def is_own(self) -> bool:
        """Whether we issued it."""
        ...

    @property
    def checked_at(self) -> datetime:
        """When its CA told that it is good."""
        ...


class ChainChecks:
    """Holds a chain against validity, status and the roots."""

    def __init__(self, store: Store, clock: Clock, source: StatusSource) -> None:
        self._store = store
        self._clock = clock
        self._source = source
        self._roots: dict[str, bytes] = {}  # by their hash, so that none is ever out of date
        self._own_ends: dict[str, datetime] = {}  # of our own roots, by their hash

    def check(self, leaf: PoolCertificate, above: Sequence[PoolCertificate], kinds: Sequence[RootKind]) -> CheckedChain:
        """Check a leaf and the CA certificates above it, its issuer first, without the root.

        Raises:
            ConflictError: one of them has ended, is not signed by the next, is revoked or names nobody who could be
                asked, or the path does not lead to a root of these kinds.
            UnavailableError: their CA does not tell their status now.
        """
        now = self._clock.now()
        certificates = (leaf, *above)
        with self._store.reading() as work:
            anchors = _anchors(work, kinds)
            own = {one.der: own_certificate(work, one) for one in certificates}
        anchor = next((one for one in anchors if certificates[-1].is_signed_by(one.certificate)), None)
        path = certificates if anchor is None else (*certificates, anchor.certificate)
        for one in path:
            if not one.not_before <= now < one.not_after:
                raise ConflictError(f"The certificate of {one.common_name!r} is not valid now.")
        _check_signatures(certificates)  # nobody is asked about what its CA has never signed
        self._check_status(path, own, len(certificates))
        if anchor is None:
            raise ConflictError("The certificate chain does not lead to a root of the Root Certificate Pool.")
        _check_path(path)
        found = own[leaf.der]
        return CheckedChain(
            leaf=leaf,
            above=tuple(above),
            root_sha256=anchor.sha256,
            valid_to=min(one.not_after for one in path),
            certificate_id=None if found is None else found[1],
            is_own=all(own[one.der] is not None for one in above),
        )

    def _told(self, one: PoolCertificate, issuer: PoolCertificate) -> ForeignStatus:
        try:
            return self._source.status_of(one.der, issuer.der)
        except StatusUntellableError as error:
            raise ConflictError(
                f"The status of {one.common_name!r} cannot be asked: its certificate has to name a public responder or "
                "CRL, by http or https and without credentials."
            ) from error

    def status_of(self, certificate_der: bytes, issuer_der: bytes) -> ForeignStatus:
        """Return the status of somebody else's certificate; UnavailableError when nobody tells."""
        return self._source.status_of(certificate_der, issuer_der)

    def is_told(self, one: _Told) -> bool:
        """Tell whether nobody has to be asked about a row of a pool: it is ours, or was good within a day."""
        return one.is_own or self._clock.now() - one.checked_at <= STATUS_MAX_AGE

    def is_good_today(self, row: ProvisioningRow | ContractRow) -> bool:
        """Tell whether another CA called a row's certificate good within a day; it is asked when that is longer ago.

        Raises:
            UnavailableError: it does not tell.
        """
        if self.is_told(row):
            return True
        with self._store.reading() as work:
            issuer_der = work.chains.get(row.chain_id).certificates[0]
        if self.status_of(row.leaf_der, issuer_der) is not ForeignStatus.GOOD:
            return False
        with self._store.transaction() as work:
            if isinstance(row, ContractRow):
                work.contract_pool.checked([row.emaid], self._clock.now())
            else:
                work.provisioning_pool.checked([row.key], self._clock.now())
        return True

    def leads_to_root(self, work: UnitOfWork, chain: Chain, kinds: Sequence[RootKind]) -> bool:
        """Tell whether a stored chain's root still stands, and of a chain of ours every CA."""
        if chain.is_own:
            return not work.issuers.is_any_fallen(chain.certificates)
        now = self._clock.now()
        if work.root_pool.stands(chain.root_sha256, kinds, now):
            return True
        if chain.root_sha256 not in self._own_ends:
            self._own_ends |= _own_roots(work)
        return now < self._own_ends.get(chain.root_sha256, now)

    def root_of(self, work: UnitOfWork, chain: Chain) -> bytes:
        """Return the root certificate of a stored chain, b"" when nobody has it any more."""
        known = self._roots.get(chain.root_sha256)
        if known is not None:
            return known
        for der in _root_certificates(work, RootKind):
            if hashlib.sha256(der).hexdigest() == chain.root_sha256:
                self._roots[chain.root_sha256] = der
                return der
        return b""

    def _check_status(
        self,
        path: Sequence[PoolCertificate],
        own: dict[bytes, tuple[CertificateState, int] | None],
        delivered: int,
    ) -> None:
        for position, one in enumerate(path[:delivered]):
            found = own[one.der]
            if found is not None:
                is_good = found[0] is CertificateState.GOOD
            elif position + 1 < len(path):
                status = self._told(one, path[position + 1])
                if status is ForeignStatus.UNKNOWN:
                    raise ConflictError(f"The CA of {one.common_name!r} does not know this certificate.")
                is_good = status is ForeignStatus.GOOD
            else:
                continue  # without an anchor nobody can be asked, and the path fails next
            if not is_good:
                raise ConflictError(f"The certificate of {one.common_name!r} is revoked.")


def read_chain(leaf_der: bytes, subs: Sequence[tuple[str, bytes]], leaf_name: str) -> tuple[PoolCertificate, ...]:
    """Read a leaf and the CA certificates above it, given with the names of their fields.

    Raises:
        MalformedError: says which of them is no certificate.
    """
    certificates = []
    for name, der in ((leaf_name, leaf_der), *subs):
        try:
            certificates.append(read_certificate(der))
        except MalformedError as error:
            raise MalformedError(f"Invalid certificate format on {name}") from error
    return tuple(certificates)


def _is_anchor(issuer: IssuerRecord) -> bool:
    """Tell whether it is a V2G root of ours; the root of our TLS, say, stands above nothing that vehicles know."""
    return issuer.level is Level.ROOT and issuer.branch == _V2G


def _own_roots(work: UnitOfWork) -> dict[str, datetime]:
    """Return when each of our roots ends, by its hash. They stay for ever; new ones come by ceremony."""
    return {
        hashlib.sha256(one.certificate_der).hexdigest(): one.not_after
        for one in work.issuers.all()
        if _is_anchor(one) and one.not_after is not None
    }


def _anchors(work: UnitOfWork, kinds: Iterable[RootKind]) -> list[_Anchor]:
    return [_Anchor(read_certificate(der), hashlib.sha256(der).hexdigest()) for der in _root_certificates(work, kinds)]


def _root_certificates(work: UnitOfWork, kinds: Iterable[RootKind]) -> list[bytes]:
    """Return the active roots of the RCP of some kinds, and those of our own that stand above one of them."""
    wanted = frozenset(kinds)
    ders = [root.certificate_der for root in work.root_pool.active(*wanted)]
    if wanted & _OWN_KINDS:
        ders += [one.certificate_der for one in work.issuers.all() if _is_anchor(one) and one.certificate_der]
    return list(dict.fromkeys(ders))


def own_certificate(work: UnitOfWork, certificate: PoolCertificate) -> tuple[CertificateState, int] | None:
    """Return state and number of a certificate that is ours, bit for bit."""
    for record in work.certificates.find(certificate.serial):
        if record.certificate_der == certificate.der:
            return record.state, work.certificates.number_of(record.issuer_label, record.serial)
    return None


def _check_signatures(path: Sequence[PoolCertificate]) -> None:
    for one, issuer in pairwise(path):
        if not one.is_signed_by(issuer):
            raise ConflictError(f"The certificate of {one.common_name!r} is not signed by {issuer.common_name!r}.")


def _check_path(path: Sequence[PoolCertificate]) -> None:
    """RFC 5280 6.1.4: what stands above the leaf is a CA that may stand that far above."""
    for below, issuer in enumerate(path[1:]):
        if not issuer.may_sign_certificates:
            raise ConflictError(f"The certificate of {issuer.common_name!r} is not that of a CA.")
        if issuer.path_length is not None and issuer.path_length < below:
            raise ConflictError(f"There are more CAs below {issuer.common_name!r} than it allows.")
