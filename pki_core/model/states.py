"""States and their allowed transitions, as tables.

Laws: a serial that was drawn is never drawn again, whatever became of it; nothing leaves ``VOID`` or, but for a hold,
``REVOKED``; a batch row gets exactly one verdict.
"""

from enum import IntEnum, StrEnum

from pki_core.model.errors import ConflictError


class CertificateState(IntEnum):
    """Status of a serial number under its issuer."""

    RESERVED = 0  # drawn and stored with its to-be-signed bytes; no certificate is known
    GOOD = 1
    REVOKED = 2
    HOLD = 3
    VOID = 9  # burned: the reservation was taken over or given up


CERTIFICATE_TRANSITIONS = {
    CertificateState.RESERVED: frozenset({CertificateState.GOOD, CertificateState.VOID}),
    CertificateState.GOOD: frozenset({CertificateState.REVOKED, CertificateState.HOLD}),
    CertificateState.HOLD: frozenset({CertificateState.GOOD, CertificateState.REVOKED}),
    CertificateState.REVOKED: frozenset[CertificateState](),
    CertificateState.VOID: frozenset[CertificateState](),
}


class BatchState(StrEnum):
    """Life of an uploaded batch."""

    LOADING = "loading"  # its file is being read; not yet a batch for anybody
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"  # nothing of it is signed any more; its open rows are being refused
    DONE = "done"


BATCH_TRANSITIONS = {
    BatchState.LOADING: frozenset({BatchState.QUEUED}),
    BatchState.QUEUED: frozenset({BatchState.RUNNING, BatchState.CANCELLING, BatchState.DONE}),
    BatchState.RUNNING: frozenset({BatchState.CANCELLING, BatchState.DONE}),
    BatchState.CANCELLING: frozenset({BatchState.DONE}),
    BatchState.DONE: frozenset[BatchState](),
}


class ChunkState(StrEnum):
    """Life of one slice of a batch."""

    OPEN = "open"
    CLAIMED = "claimed"
    DONE = "done"


def check_batch_transition(before: BatchState, after: BatchState) -> None:
    """Raise ConflictError when a batch may not go from one state to the other."""
    if after is not before and after not in BATCH_TRANSITIONS[before]:
        raise ConflictError(f"a batch that is {before} cannot become {after}")
