"""Chunks: slices of a batch, shared among runners by leases and ``SKIP LOCKED``."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, insert, or_, select, update

from pki_core.model.batches import Chunk
from pki_core.model.errors import LeaseExpiredError, LeaseLostError
from pki_core.model.states import ChunkState
from pki_core.store import batch_tables
from pki_core.store.times import to_seconds

_CHUNK = batch_tables.batch_chunk.c
# One failure says nothing of a chunk; what fails again and again holds up no other, and takes turns with its like.
_PATIENCE = case((_CHUNK.attempts > 1, _CHUNK.attempts), else_=0)


class ChunkGateway:
    """Rows of ``batch_chunk``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, number: int, slices: Sequence[tuple[int, int, int]]) -> None:
        """Add open chunks as (first seq, last seq, rows refused at upload)."""
        rows = [
            {
                "batch_number": number,
                "first_seq": first,
                "last_seq": last,
                "state": ChunkState.OPEN.value,
                "runner": "",
                "lease_until": 0,
                "attempts": 0,
                "issued": 0,
                "refused": refused,
            }
            for first, last, refused in slices
        ]
        if rows:
            self._connection.execute(insert(batch_tables.batch_chunk), rows)

    def claim(self, number: int, runner: str, now: datetime, lease_until: datetime) -> tuple[Chunk, str] | None:
        """Take the first open chunk, or one whose lease ran out; those that failed twice come last. None without any.

        Returns the chunk as it is now and the runner it was taken from ("" when it was open).
        """
        free = or_(
            _CHUNK.state == ChunkState.OPEN.value,
            and_(_CHUNK.state == ChunkState.CLAIMED.value, _CHUNK.lease_until <= to_seconds(now)),
        )
        row = self._connection.execute(
            select(batch_tables.batch_chunk)
            .where(_CHUNK.batch_number == number, free)
            .order_by(_PATIENCE, _CHUNK.first_seq)
            .limit(1)
            .with_for_update(skip_locked=True)  # SQLite has one writer and leaves the clause out
        ).first()
        if row is None:
            return None
        self._connection.execute(
            update(batch_tables.batch_chunk)
            .where(_CHUNK.batch_number == number, _CHUNK.first_seq == row.first_seq)
            .values(
                state=ChunkState.CLAIMED.value,
                runner=runner,
                lease_until=to_seconds(lease_until),
                attempts=row.attempts + 1,
                reservation=None,
            )
        )
        taken_from = row.runner if row.state == ChunkState.CLAIMED.value else ""
        return _chunk(row, runner=runner, attempts=row.attempts + 1), taken_from

    def attach(self, chunk: Chunk, reservation: int | None) -> None:
        """Note the reservation a chunk's runner works under; LeaseLostError when the chunk is no longer its own."""
        self._change(chunk, reservation=reservation)

    def renew(self, chunk: Chunk, now: datetime, lease_until: datetime) -> None:
        """Hold a chunk on under a lease that has not run out; LeaseLostError when it is no longer this runner's."""
        self._change(chunk, _CHUNK.lease_until > to_seconds(now), lease_until=to_seconds(lease_until))

    def finish(self, chunk: Chunk, now: datetime, issued: int, refused: int) -> None:
        """Mark a chunk done and add to its counts; LeaseLostError when it is no longer this runner's."""
        self._change(
            chunk,
            _CHUNK.lease_until > to_seconds(now),
            state=ChunkState.DONE.value,
            reservation=None,
            issued=_CHUNK.issued + issued,
            refused=_CHUNK.refused + refused,
        )

    def release(self, chunk: Chunk, *, count_attempt: bool) -> None:
        """Give a chunk back unfinished; nothing happens when it was taken over meanwhile.

        Its reservation stays noted, if it has one: whoever claims the chunk next voids it.
        """
        attempts = chunk.attempts if count_attempt else chunk.attempts - 1
        self._connection.execute(
            update(batch_tables.batch_chunk)
            .where(*self._mine(chunk))
            .values(state=ChunkState.OPEN.value, runner="", lease_until=0, attempts=attempts)
        )

    def split(self, chunk: Chunk, slices: Sequence[tuple[int, int, int]]) -> None:
        """Replace a chunk that failed too often by smaller open ones: (first, last, rows refused before)."""
        first = slices[0]
        self._change(
            chunk,
            last_seq=first[1],
            state=ChunkState.OPEN.value,
            runner="",
            lease_until=0,
            attempts=0,
            refused=first[2],
        )
        self.add(chunk.batch_number, slices[1:])

    def expire_lease(self, number: int, runner: str) -> int:
        """End the leases of a runner known to be dead, so that its chunks can be taken at once."""
        return self._connection.execute(
            update(batch_tables.batch_chunk)
            .where(_CHUNK.batch_number == number, _CHUNK.state == ChunkState.CLAIMED.value, _CHUNK.runner == runner)
            .values(lease_until=0)
        ).rowcount

    def runners(self, number: int, now: datetime) -> list[str]:
        """Return who holds chunks of a batch under a lease that has not run out."""
        return list(
            self._connection.scalars(
                select(_CHUNK.runner)
                .where(
                    _CHUNK.batch_number == number,
                    _CHUNK.state == ChunkState.CLAIMED.value,
                    _CHUNK.lease_until > to_seconds(now),
                )
                .distinct()
            )
        )

    def unfinished(self, number: int) -> int:
        """Return how many chunks of a batch are not done."""
        return (
            self._connection.scalar(
                select(func.count()).where(_CHUNK.batch_number == number, _CHUNK.state != ChunkState.DONE.value)
            )
            or 0
        )

    def _mine(self, chunk: Chunk) -> tuple[ColumnElement[bool], ...]:
        return (
            _CHUNK.batch_number == chunk.batch_number,
            _CHUNK.first_seq == chunk.first_seq,
            _CHUNK.state == ChunkState.CLAIMED.value,
            _CHUNK.runner == chunk.runner,
        )

    def _change(self, chunk: Chunk, *conditions: ColumnElement[bool], **values: object) -> None:
        changed = self._connection.execute(
            update(batch_tables.batch_chunk).where(*self._mine(chunk), *conditions).values(**values)
        ).rowcount
        if changed == 1:
            return
        if self._connection.scalar(select(_CHUNK.first_seq).where(*self._mine(chunk))) is not None:
            raise LeaseExpiredError(
                f"the lease of the chunk at row {chunk.first_seq} ran out before it was signed; nobody else took it. "
                "Where the token is slow, a larger issuance.lease_seconds or smaller issuance.chunk_rows helps"
            )
        raise LeaseLostError(f"the chunk at row {chunk.first_seq} was taken over by another runner")


def _chunk(row: Row[Any], *, runner: str, attempts: int) -> Chunk:
    return Chunk(
        batch_number=row.batch_number,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        runner=runner,
        reservation=row.reservation,
        attempts=attempts,
        issued=row.issued,
        refused=row.refused,
    )
