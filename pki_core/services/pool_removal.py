"""Removal from the pools with everything that hangs on it, in the caller's transaction: all of it or nothing.

Contract certificates of ours are revoked first; when one cannot be, its data stays. Whoever wrote a contract or owns a
vehicle is told by events.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pki_core.model.clock import Clock
from pki_core.model.pools import Event, EventType, PoolRoot, ProvisioningKey, Removal, RemovedContract
from pki_core.model.revocations import Reason
from pki_core.services.pool_events import DELETED, STREAM, told_both, told_providers
from pki_core.services.revoke import Revocations
from pki_core.store.audit import AuditEntry
from pki_core.store.unit_of_work import UnitOfWork

_REASON = {Removal.KEY_REPLACED: Reason.SUPERSEDED}
_ROOT_EVENTS = {Removal.EXPIRED: EventType.ROOT_EXPIRED, Removal.REVOKED: EventType.ROOT_REVOKED}


class Removed(NamedTuple):
    """How much went."""

    provisioning: int = 0
    contracts: int = 0
    revoked: int = 0


class PoolRemoval:
    """Removes rows of the pools."""

    def __init__(self, clock: Clock, revocations: Revocations) -> None:
        self._clock = clock
        self._revocations = revocations

    def provisioning(
        self,
        work: UnitOfWork,
        keys: Sequence[ProvisioningKey],
        why: Removal,
        actor: str,
        *,
        factory_reset: bool = False,
    ) -> Removed:
        """Remove provisioning certificates that ``work`` has locked, and the contracts that hang on them."""
        if not keys:
            return Removed()
        now = self._clock.now()
        contracts, gone = self._encrypted_for(work, keys, why, actor)
        count = work.provisioning_pool.remove(keys)
        event = EventType.PROVISIONING_RESET if factory_reset else EventType.PROVISIONING_DELETED
        work.outbox.append(now, told_providers(contracts, event))
        detail = " factory reset" if factory_reset else ""
        work.audit.append(
            STREAM,
            now,
            [
                AuditEntry(actor, "pool.pcp_removed", detail=f"{key.pcid} {key.algorithm}: {why}{detail}")
                for key in keys
            ],
        )
        return Removed(count, gone.contracts, gone.revoked)

    def below_replaced_keys(self, work: UnitOfWork, keys: Sequence[ProvisioningKey], actor: str) -> Removed:
        """Remove the contracts of vehicles whose key was replaced: what is encrypted for the old one is of no use."""
        contracts, gone = self._encrypted_for(work, keys, Removal.KEY_REPLACED, actor)
        work.outbox.append(self._clock.now(), told_providers(contracts, EventType.PROVISIONING_UPDATED))
        return gone

    def _encrypted_for(
        self, work: UnitOfWork, keys: Sequence[ProvisioningKey], why: Removal, actor: str
    ) -> tuple[list[RemovedContract], Removed]:
        """Remove the contracts of keys, which are returned, and revoke what else is encrypted for these."""
        contracts = work.contract_pool.lock_of_keys(keys)
        gone = self.contracts(work, contracts, why, actor)
        former = work.former_contracts.take_of_keys(keys)
        return contracts, Removed(0, gone.contracts, gone.revoked + self._revoke(work, former, why, actor))

    def _revoke(self, work: UnitOfWork, certificate_ids: Sequence[int], why: Removal, actor: str) -> int:
        reason = _REASON.get(why, Reason.CESSATION_OF_OPERATION)
        return self._revocations.revoke_leafs_within(work, certificate_ids, reason, actor=actor)

    def contracts(
        self,
        work: UnitOfWork,
        contracts: Sequence[RemovedContract],
        why: Removal,
        actor: str,
        *,
        revoke: bool = True,
    ) -> Removed:
        """Remove contracts that ``work`` has locked; certificates of ours in force are revoked before, former ones too.

        Raises:
            InvariantError, UnavailableError: one could not be revoked; the transaction must not commit.
        """
        if not contracts:
            return Removed()
        now = self._clock.now()
        ours = [one.certificate_id for one in contracts if one.certificate_id is not None]
        ours += work.former_contracts.take([one.emaid for one in contracts])
        revoked = self._revoke(work, ours, why, actor) if revoke else 0
        count = work.contract_pool.remove([one.emaid for one in contracts])
        told = [told_both(DELETED, one.emaid, one.pcid, one.namespace) for one in contracts]
        work.outbox.append(now, [event for pair in told for event in pair])
        entries = [AuditEntry(actor, "pool.ccp_removed", detail=f"{one.emaid} {one.pcid}: {why}") for one in contracts]
        work.audit.append(STREAM, now, entries)
        return Removed(0, count, revoked)

    def root(self, work: UnitOfWork, root: PoolRoot, why: Removal, actor: str) -> bool:
        """Remove a root; nothing hangs on it: what to do with leafs is for people to decide."""
        now = self._clock.now()
        if not work.root_pool.remove(root.id):
            return False
        if root.is_active:
            event = _ROOT_EVENTS.get(why, EventType.ROOT_REVOKED)
            work.outbox.append(now, [Event(event, "", root_id=root.id)])
        work.audit.append(STREAM, now, [AuditEntry(actor, "pool.rcp_removed", detail=f"{root.sha256}: {why}")])
        return True
