"""The audit log verified: every chain computed anew, every checkpoint's signature and link checked, every anchor found.

What cannot even be read is a fault among the others, and the rest is judged all the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pki_core.model.audit import LOWEST_ID, START, Checkpoint, Head, extend
from pki_core.model.errors import KeyRejectedError
from pki_core.model.signer import KeyStore, Signer
from pki_core.services.audit_anchor import Anchor
from pki_core.store.unit_of_work import Store, UnitOfWork
from pki_core.wire.certificate import signature_is_valid
from pki_core.wire.public_key import load_public_key

PIECE = 10_000  # rows, and checkpoints, read at a time
_NEVER_SEALED = (
    "there is no checkpoint: the log was never sealed (then: pncpki audit seal), or all of them were taken away"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verification found; without faults everything up to the last checkpoint is as it was sealed.

    Unsealed rows are in no chain yet: nobody can tell whether they were changed.
    """

    checkpoints: int
    sealed_rows: int
    unsealed_rows: int
    faults: tuple[str, ...]


@dataclass(slots=True)
class _Walk:
    """Where a verification stands."""

    before: Checkpoint | None = None
    is_torn: bool = False  # the checkpoint before this one cannot be read
    heads: dict[str, Head] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seen: dict[int, str] = field(default_factory=dict)  # number -> hash, "" of what cannot be read


class AuditVerification:
    """Verifies."""

    def __init__(self, store: Store, key_store: Callable[[], KeyStore], anchor: Anchor) -> None:
        self._store = store
        self._key_store = key_store
        self._anchor = anchor
        self._signers: dict[str, Signer | None] = {}

    def run(self, collected: Anchor | None = None) -> Verified:
        """Judge the whole log; ``collected`` are lines that were kept elsewhere.

        Raises:
            UnavailableError: store or token are away.
            SettingsError: the file of an anchor cannot be opened.
        """
        walk = _Walk()
        before, damage = self._anchor.read()
        with self._store.reading() as work:
            self._walk(work, walk)
            unsealed = work.audit.count_after(walk.before.last_id if walk.before else 0)
            if not walk.seen and work.issuers.all():
                walk.faults.append(_NEVER_SEALED)
            if count := work.audit.certificates_untold():
                walk.faults.append(f"{count} certificates have no audit row of their issuing")
        walk.faults += damage + _compare(walk.seen, before, self._anchor.read()[0])
        if collected is not None:
            kept, damage = collected.read()
            walk.faults += damage + _compare(walk.seen, kept, None)
        return Verified(
            checkpoints=walk.before.number if walk.before else 0,
            sealed_rows=sum(head.rows for head in walk.heads.values()),
            unsealed_rows=unsealed,
            faults=tuple(walk.faults),
        )

    def _walk(self, work: UnitOfWork, walk: _Walk) -> None:
        number: int | None = None
        while page := work.audit.checkpoints(number, PIECE):
            for number, checkpoint in page:  # the next page begins behind the last of this one
                if checkpoint is None:
                    walk.faults.append(f"checkpoint {number} cannot be read")
                    walk.is_torn, walk.seen[number] = True, ""
                    continue
                walk.seen[number] = checkpoint.sha256.hex()
                walk.faults += self._check_seal(checkpoint, walk)
                first = walk.before.last_id if walk.before else LOWEST_ID
                heads = extended(work, walk.heads, first, checkpoint.last_id)
                walk.faults += _differences(heads, checkpoint, first)
                walk.heads, walk.before = dict(checkpoint.heads), checkpoint  # one damage is told once
                walk.is_torn = False

    def _check_seal(self, checkpoint: Checkpoint, walk: _Walk) -> list[str]:
        faults, before = [], walk.before
        expected = (before.number + 1, before.sha256) if before else (1, START)
        if (checkpoint.number, checkpoint.previous_sha256) != expected and not walk.is_torn:
            faults.append(f"checkpoint {checkpoint.number} does not follow the one before it")
        if before and checkpoint.last_id <= before.last_id:
            faults.append(f"checkpoint {checkpoint.number} covers no rows behind the one before it")
        signer = self._signer(checkpoint.key_label)
        if signer is None:
            faults.append(f"checkpoint {checkpoint.number} names the key {checkpoint.key_label!r}, which is not there")
        elif not is_signed_by(checkpoint, signer):
            faults.append(f"checkpoint {checkpoint.number} has no valid signature")
        return faults

    def _signer(self, label: str) -> Signer | None:
        if label not in self._signers:
            try:
                self._signers[label] = self._key_store().bind(label)
            except KeyRejectedError:
                self._signers[label] = None
        return self._signers[label]


def _compare(seen: Mapping[int, str], was_there: Mapping[int, str], is_there: Mapping[int, str] | None) -> list[str]:
    """Hold checkpoints against the anchor as it was before and after they were read: a sealer may be at work."""
    faults = [f"checkpoint {number} was anchored and is gone" for number in sorted(was_there.keys() - seen.keys())]
    for number, digest in sorted(seen.items()):
        noted = (is_there or was_there).get(number)
        if noted is None and is_there is not None:
            faults.append(f"checkpoint {number} has no line in the anchor")
        elif noted is not None and digest and noted != digest:
            faults.append(f"checkpoint {number} is not the one that was anchored")
    return faults


def extended(work: UnitOfWork, heads: dict[str, Head], after_id: int, last_id: int) -> dict[str, Head]:
    """Return the heads of all streams after the rows between two ids."""
    for piece in work.audit.rows(after_id, last_id, PIECE):
        heads = extend(heads, piece)
    return heads


def is_signed_by(checkpoint: Checkpoint, signer: Signer) -> bool:
    """Tell whether a checkpoint's signature is a key's."""
    algorithm, key = load_public_key(signer.spki_der)
    return signature_is_valid(key, algorithm, checkpoint.signed_bytes, checkpoint.signature)


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
