"""The audit log sealed and verified: signed checkpoints over chains of hashes, anchored in a file outside the store.

What a checkpoint covers cannot be edited, deleted, reordered or added to unnoticed; what the anchor names cannot be cut
off the end. Rows younger than the last checkpoint are covered by the next one.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pki_core.model.audit import START, Checkpoint, Head, extend
from pki_core.model.clock import Clock
from pki_core.model.errors import InvariantError, KeyRejectedError, SettingsError, SignatureInvalidError
from pki_core.model.signer import KeyAlgorithm, KeyStore, Signer
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.public_key import load_public_key

KEY_LABEL = "audit"
_LOWEST_ID = -(1 << 62)  # ids start at 1, but who slips rows in may choose
_PIECE = 10_000  # rows, and checkpoints, read at a time

_log = logging.getLogger("pncpki.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What a run of the sealer did; ``number`` is the newest checkpoint, 0 when there is none."""

    number: int
    last_id: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verification found; without faults everything up to the last checkpoint is as it was sealed."""

    checkpoints: int
    sealed_rows: int
    unsealed_rows: int
    faults: tuple[str, ...]


class AuditLog:
    """Seals and verifies the audit log of one environment."""

    def __init__(self, store: Store, key_store: Callable[[], KeyStore], clock: Clock, anchor: Path) -> None:
        self._store = store
        self._key_store = key_store
        self._clock = clock
        self._anchor = anchor

    def seal(self) -> Sealed:
        """Put every row written so far under a checkpoint. Running it twice is harmless.

        Raises:
            InvariantError: the newest checkpoint in the store is older than one that was anchored, or not the same.
            ConflictError: another sealer was quicker; nothing is lost.
        """
        with self._store.transaction() as work:
            before = work.audit.last_checkpoint()
            last_id = work.audit.settled_id()
        self._refuse_lost_checkpoints(before)
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
        if not _is_signed_by(checkpoint, signer):
            raise SignatureInvalidError(f"key {signer.label!r} returned a signature that does not verify")
        with self._store.transaction() as work:
            work.audit.add_checkpoint(checkpoint)
        self._write_anchor(checkpoint)
        return Sealed(number=checkpoint.number, last_id=last_id, rows=rows)

    def verify(self) -> Verified:
        """Recompute every chain and check every signature, link and anchor."""
        faults: list[str] = []
        anchored = self._anchored()
        signers: dict[str, Signer] = {}
        before: Checkpoint | None = None
        heads: dict[str, Head] = {}
        with self._store.reading() as work:
            while page := work.audit.checkpoints(before.number if before else 0, _PIECE):
                for checkpoint in page:
                    faults += self._check_seal(checkpoint, before, signers)
                    if anchored.pop(checkpoint.number, checkpoint.sha256.hex()) != checkpoint.sha256.hex():
                        faults.append(f"checkpoint {checkpoint.number} is not the one that was anchored")
                    first = before.last_id if before else _LOWEST_ID
                    heads = _extended(work, heads, first, checkpoint.last_id)
                    faults += _differences(heads, checkpoint, first)
                    heads, before = dict(checkpoint.heads), checkpoint  # one damage is told once
            unsealed = work.audit.count_after(before.last_id if before else 0)
        faults += [f"checkpoint {number} was anchored and is gone" for number in sorted(anchored)]
        return Verified(
            checkpoints=before.number if before else 0,
            sealed_rows=sum(head.rows for head in heads.values()),
            unsealed_rows=unsealed,
            faults=tuple(faults),
        )

    def _chain(self, before: Checkpoint | None, last_id: int) -> tuple[dict[str, Head], int]:
        heads = dict(before.heads) if before else {}
        old = sum(head.rows for head in heads.values())
        with self._store.reading() as work:
            heads = _extended(work, heads, before.last_id if before else _LOWEST_ID, last_id)
        return heads, sum(head.rows for head in heads.values()) - old

    def _signer(self, *, fresh: bool) -> Signer:
        """Return the key that signs checkpoints; it is made for the first one and never again."""
        try:
            return self._key_store().bind(KEY_LABEL)
        except KeyRejectedError:
            if not fresh:
                raise
        return self._key_store().generate(KEY_LABEL, KeyAlgorithm.SECP256R1)

    def _check_seal(self, checkpoint: Checkpoint, before: Checkpoint | None, signers: dict[str, Signer]) -> list[str]:
        faults = []
        expected = (before.number + 1, before.sha256) if before else (1, START)
        if (checkpoint.number, checkpoint.previous_sha256) != expected:
            faults.append(f"checkpoint {checkpoint.number} does not follow the one before it")
        if before and checkpoint.last_id <= before.last_id:
            faults.append(f"checkpoint {checkpoint.number} covers no rows behind the one before it")
        if checkpoint.key_label not in signers:
            signers[checkpoint.key_label] = self._key_store().bind(checkpoint.key_label)
        if not _is_signed_by(checkpoint, signers[checkpoint.key_label]):
            faults.append(f"checkpoint {checkpoint.number} has no valid signature")
        return faults

    def _refuse_lost_checkpoints(self, before: Checkpoint | None) -> None:
        """Never build on a store from which checkpoints were cut: the anchor would be covered up."""
        anchored = self._anchored()
        newest = max(anchored, default=0)
        if newest > (before.number if before else 0) or (
            before and anchored.get(before.number, before.sha256.hex()) != before.sha256.hex()
        ):
            raise InvariantError(f"the audit log does not hold the checkpoint {newest} that was anchored: verify it")
        if before and newest < before.number:
            self._write_anchor(before)  # a power cut came between the store and the file

    def _anchored(self) -> dict[int, str]:
        try:
            lines = self._anchor.read_text(encoding="ascii").splitlines()
            entries = [json.loads(line) for line in lines if line]
            return {int(entry["number"]): str(entry["sha256"]) for entry in entries}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{self._anchor} cannot be read: {type(error).__name__}") from error

    def _write_anchor(self, checkpoint: Checkpoint) -> None:
        self._anchor.parent.mkdir(mode=0o700, exist_ok=True)
        entry = {
            "number": checkpoint.number,
            "last_id": checkpoint.last_id,
            "sealed_at": checkpoint.sealed_at.isoformat(),
            "sha256": checkpoint.sha256.hex(),
        }
        line = json.dumps(entry)
        with self._anchor.open("a", encoding="ascii") as file:
            file.write(line + "\n")
        _log.info("audit checkpoint %s", line)  # whoever collects logs elsewhere has a second anchor


def _extended(work: UnitOfWork, heads: dict[str, Head], after_id: int, last_id: int) -> dict[str, Head]:
    for piece in work.audit.rows(after_id, last_id, _PIECE):
        heads = extend(heads, piece)
    return heads


def _differences(found: dict[str, Head], checkpoint: Checkpoint, after_id: int) -> list[str]:
    where = f"between the rows {max(after_id, 0) + 1} and {checkpoint.last_id} (checkpoint {checkpoint.number})"
    faults = []
    for stream in sorted(found.keys() | checkpoint.heads.keys()):
        is_there, sealed = found.get(stream, Head(0, START)), checkpoint.heads.get(stream, Head(0, START))
        if is_there.rows != sealed.rows:
            faults.append(f"stream {stream!r} has {is_there.rows} rows and not {sealed.rows}, {where}")
        elif is_there.hash != sealed.hash:
            faults.append(f"stream {stream!r} was changed {where}")
    return faults


def _is_signed_by(checkpoint: Checkpoint, signer: Signer) -> bool:
    algorithm, key = load_public_key(signer.spki_der)
    return signature_is_valid(key, algorithm, checkpoint.signed_bytes, checkpoint.signature)
