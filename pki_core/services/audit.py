"""The audit log sealed and verified: signed checkpoints over chains of hashes, anchored in a file outside the store.

What a checkpoint covers cannot be edited, deleted, reordered or added to unnoticed; what the anchor names cannot be cut
off the end. Rows younger than the last checkpoint are covered by the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pki_core.model.audit import LOWEST_ID, START, Checkpoint, Head
from pki_core.model.clock import Clock
from pki_core.model.errors import InvariantError, KeyRejectedError, SettingsError, SignatureInvalidError
from pki_core.model.signer import KeyAlgorithm, KeyStore, Signer
from pki_core.services.audit_anchor import Anchor
from pki_core.services.audit_verification import AuditVerification, Verified, extended, is_signed_by
from pki_core.store.unit_of_work import Store

KEY_LABEL = "audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What a run of the sealer did; ``number`` is the newest checkpoint, 0 when there is none."""

    number: int
    last_id: int
    rows: int


class AuditLog:
    """Seals and verifies the audit log of one environment."""

    def __init__(self, store: Store, key_store: Callable[[], KeyStore], clock: Clock, anchor: Path) -> None:
        self._store = store
        self._key_store = key_store
        self._clock = clock
        self._anchor = Anchor(anchor)

    def seal(self) -> Sealed:
        """Put every row written so far under a checkpoint. Running it twice is harmless.

        Raises:
            InvariantError: the newest checkpoint in the store is older than one that was anchored, not the same, or
                cannot be read.
            SettingsError: the anchor's file is damaged.
            ConflictError: another sealer was quicker; nothing is lost.
        """
        with self._store.transaction() as work:
            before = work.audit.last_checkpoint()
            last_id = work.audit.settled_id()
        self._check_anchor(before)
        sealed_to = before.last_id if before else 0
        if last_id <= sealed_to:
            return Sealed(number=before.number if before else 0, last_id=sealed_to, rows=0)
        heads, rows = self._chain(before, last_id)
        signer = self._signer(fresh=before is None)
        planned = Checkpoint(
            number=before.number + 1 if before else 1,
            last_id=last_id,
            heads=heads,
            sealed_at=self._clock.now(),
            previous_sha256=before.sha256 if before else START,
            key_label=signer.label,
        )
        (signature,) = signer.sign([planned.signed_bytes])
        checkpoint = replace(planned, signature=signature)
        if not is_signed_by(checkpoint, signer):
            raise SignatureInvalidError(f"key {signer.label!r} returned a signature that does not verify")
        with self._store.transaction() as work:
            work.audit.add_checkpoint(checkpoint)
        self._anchor.write(checkpoint)
        return Sealed(number=checkpoint.number, last_id=last_id, rows=rows)

    def verify(self, collected: Path | None = None) -> Verified:
        """Recompute every chain and check every signature, link and anchor.

        ``collected`` is a file of the lines that a log collector kept of the anchors: what was cut off the store, and
        off the anchor beside it, is missed there. Errors as ``AuditVerification.run``.
        """
        verification = AuditVerification(self._store, self._key_store, self._anchor)
        return verification.run(Anchor(collected) if collected else None)

    def _chain(self, before: Checkpoint | None, last_id: int) -> tuple[dict[str, Head], int]:
        heads = dict(before.heads) if before else {}
        old = sum(head.rows for head in heads.values())
        with self._store.reading() as work:
            heads = extended(work, heads, before.last_id if before else LOWEST_ID, last_id)
        return heads, sum(head.rows for head in heads.values()) - old

    def _signer(self, *, fresh: bool) -> Signer:
        """Return the key that signs checkpoints; it is made for the first one and never again."""
        try:
            return self._key_store().bind(KEY_LABEL)
        except KeyRejectedError:
            if not fresh:
                raise
        return self._key_store().generate(KEY_LABEL, KeyAlgorithm.SECP256R1)

    def _check_anchor(self, before: Checkpoint | None) -> None:
        """Finish what a power cut left; never build on a store from which checkpoints were cut, and cover that up."""
        if before:
            self._anchor.mend(before)  # a power cut came while the line was written
        anchored = self._anchored()
        newest = max(anchored, default=0)
        if newest > (before.number if before else 0) or (
            before and anchored.get(before.number, before.sha256.hex()) != before.sha256.hex()
        ):
            raise InvariantError(f"the audit log does not hold the checkpoint {newest} that was anchored: verify it")
        if before and newest < before.number:
            self._anchor.write(before)  # a power cut came between the store and the file

    def _anchored(self) -> dict[int, str]:
        anchored, faults = self._anchor.read()
        if faults:
            raise SettingsError(f"the anchor of the audit log is damaged: {faults[0]}")
        return anchored
