"""Certificates of ours on their way into the PCP: the row is written with the certificate, or neither is."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.errors import InvariantError
from pki_core.model.issuers import IssuerRecord
from pki_core.model.pools import Namespace
from pki_core.model.profiles import Level, Profile
from pki_core.model.requests import Issued, IssueRequest, Outcome
from pki_core.services.pool_events import STREAM
from pki_core.services.pool_removal import PoolRemoval
from pki_core.store.audit import AuditEntry
from pki_core.store.provisioning_pool import IssuedRow
from pki_core.store.times import from_seconds, to_seconds
from pki_core.store.unit_of_work import Store, UnitOfWork

PCP = "pcp"


class PoolEntry:
    """The rows of one call of ``Enrollment.issue``."""

    def __init__(
        self,
        chain: tuple[int, int],
        profile: Profile,
        algorithm: str,
        requests: Sequence[IssueRequest],
        now: int,
    ) -> None:
        self._chain_id, self._chain_ends = chain
        self._namespace = Namespace.of_edition(profile.edition).value
        self._algorithm = algorithm
        self._requests = requests
        self._now = now

    def write(self, work: UnitOfWork, outcomes: Sequence[Outcome], removal: PoolRemoval, actor: str) -> None:
        """Put what was issued into the PCP; of a PCID that stands twice in a list, the last one counts.

        Contracts for a key that was replaced go in the same transaction, those of ours revoked.
        """
        rows = {}
        for request, outcome in zip(self._requests, outcomes, strict=True):
            if isinstance(outcome, Issued):
                pcid = outcome.common_name.upper()
                rows[pcid] = IssuedRow(
                    pcid,
                    self._algorithm,
                    outcome.common_name,
                    self._namespace,
                    self._chain_id,
                    outcome.certificate_id,
                    hashlib.sha256(request.spki_der).digest(),
                    min(to_seconds(outcome.not_after), self._chain_ends),
                    self._now,
                    self._now,
                )
        replaced = work.provisioning_pool.add_issued(list(rows.values()))
        if replaced:
            removal.below_replaced_keys(work, replaced, actor)
            entries = [AuditEntry(actor, "pool.pcp_replaced", detail=f"{key.pcid} {key.algorithm}") for key in replaced]
            work.audit.append(STREAM, from_seconds(self._now), entries)


class IssuedToPool:
    """Writes what is issued into the PCP."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._chains = OwnChains(store)

    def entry(self, issuer: IssuerRecord, profile: Profile, requests: Sequence[IssueRequest]) -> PoolEntry:
        """Return what writes the rows; called before the transaction that does."""
        chain = self._chains.of(issuer)
        return PoolEntry(
            (chain.id, chain.ends), profile, issuer.algorithm.value, requests, to_seconds(self._clock.now())
        )


class OwnChain(NamedTuple):
    """The CAs above leafs of ours, as the pools keep them."""

    id: int
    ends: int
    certificates: tuple[bytes, ...]  # from the leafs' issuer upwards, without the root


class OwnChains:
    """Knows the chains of our own issuers; a chain never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chains: dict[int, OwnChain] = {}

    def of(self, issuer: IssuerRecord) -> OwnChain:
        """Return the chain of an issuer, stored when it is new."""
        chain = self._chains.get(issuer.id)
        if chain is None:
            chain = self._chains[issuer.id] = self._store_chain(issuer)
        return chain

    def _store_chain(self, issuer: IssuerRecord) -> OwnChain:
        with self._store.transaction() as work:
            by_id = {record.id: record for record in work.issuers.all()}
            path = [issuer]
            while path[-1].parent_id is not None:
                path.append(by_id[path[-1].parent_id])
            ends = min(record.not_after for record in path if record.not_after is not None)
            certificates = tuple(record.certificate_der for record in path if record.level is not Level.ROOT)
            if not certificates:
                raise InvariantError(f"issuer {issuer.label!r} is a root: no leaf of it belongs into a pool")
            root = hashlib.sha256(path[-1].certificate_der).hexdigest()
            return OwnChain(work.chains.ensure(certificates, root, ends, now=None), to_seconds(ends), certificates)
