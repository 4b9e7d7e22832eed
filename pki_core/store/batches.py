"""Batches: the upload, its items and its verdicts. Items never change; a verdict is inserted once."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, update

from pki_core.model.batches import BatchCounts, BatchItem, BatchKind, BatchRecord, BatchResult, Verdict
from pki_core.model.errors import NotFoundError
from pki_core.model.states import BatchState, check_batch_transition
from pki_core.store import batch_tables, tables
from pki_core.store.bulk import insert_rows
from pki_core.store.engine import is_postgres
from pki_core.store.times import from_seconds, to_seconds

_ITEM_COLUMNS = ("batch_number", "seq", "row_id", "csr_der", "expected_identifier")
_VERDICT_COLUMNS = ("batch_number", "seq", "certificate_id", "code", "message", "common_name")


class BatchGateway:
    """Rows of ``batch``, ``batch_item`` and ``batch_verdict``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find_source(self, partner_id: str, profile_name: str, source_sha256: str) -> BatchRecord | None:
        """Return the batch this file became before, if it did."""
        batch = batch_tables.batch.c
        return self._first(
            _select_batch().where(
                batch.partner_id == partner_id,
                batch.profile_name == profile_name,
                batch.source_sha256 == source_sha256,
            )
        )

    def add(self, **columns: object) -> int:
        """Add a batch that is being loaded; return its number."""
        statement = insert(batch_tables.batch).values(**columns).returning(batch_tables.batch.c.number)
        return int(self._connection.execute(statement).scalar_one())

    def restart_loading(self, batch: BatchRecord, runner: str) -> bool:
        """Empty a batch whose loader died, for a new loader; False when somebody else was quicker."""
        taken = self._connection.execute(
            update(batch_tables.batch).where(*self._loading_by(batch.number, batch.runner)).values(runner=runner)
        ).rowcount
        if taken == 1:
            self._empty(batch.number)
        return taken == 1

    def still_loading(self, batch: BatchRecord) -> bool:
        """Tell whether a batch is still this loader's, and keep it so until the transaction ends."""
        mine = self._loading_by(batch.number, batch.runner)
        kept = update(batch_tables.batch).where(*mine).values(runner=batch.runner)
        return self._connection.execute(kept).rowcount == 1

    def discard(self, number: int, runner: str) -> bool:
        """Remove a batch that its loader never finished; False when it is no longer that loader's."""
        removed = self._connection.execute(delete(batch_tables.batch).where(*self._loading_by(number, runner))).rowcount
        if removed == 1:
            self._empty(number)
        return removed == 1

    def _empty(self, number: int) -> None:
        for table in (batch_tables.batch_item, batch_tables.batch_verdict, batch_tables.batch_chunk):
            self._connection.execute(delete(table).where(table.c.batch_number == number))

    @staticmethod
    def _loading_by(number: int, runner: str) -> tuple[ColumnElement[bool], ...]:
        batch = batch_tables.batch.c
        return batch.number == number, batch.state == BatchState.LOADING.value, batch.runner == runner

    def add_items(self, number: int, items: Sequence[tuple[int, str, bytes, str]]) -> None:
        """Insert rows of the upload as (seq, row id, CSR DER, expected identifier)."""
        insert_rows(self._connection, batch_tables.batch_item, _ITEM_COLUMNS, [(number, *item) for item in items])

    def add_verdicts(self, number: int, verdicts: Sequence[Verdict]) -> None:
        """Insert verdicts; a second verdict for a row raises ConflictError."""
        rows = [(number, *verdict) for verdict in verdicts]
        insert_rows(self._connection, batch_tables.batch_verdict, _VERDICT_COLUMNS, rows)

    def move(self, batch: BatchRecord, state: BatchState, now: datetime, total: int | None = None) -> bool:
        """Change a batch's state; False when another runner has moved it already."""
        check_batch_transition(batch.state, state)
        values: dict[str, Any] = {"state": state.value}
        if total is not None:
            values["total"] = total
        if state is BatchState.DONE:
            values["finished_at"] = to_seconds(now)
        moved = self._connection.execute(
            update(batch_tables.batch)
            .where(
                batch_tables.batch.c.number == batch.number,
                batch_tables.batch.c.state == batch.state.value,
                batch_tables.batch.c.runner == batch.runner,  # a loader that was replaced moves nothing
            )
            .values(**values)
        ).rowcount
        return moved == 1

    def change_issuer(self, number: int, issuer_id: int) -> None:
        """Have a batch signed by another issuer from now on."""
        self._connection.execute(
            update(batch_tables.batch).where(batch_tables.batch.c.number == number).values(issuer_id=issuer_id)
        )

    def get(self, batch_id: str) -> BatchRecord:
        """Return a batch by its public id; NotFoundError when there is none."""
        record = self._first(_select_batch().where(batch_tables.batch.c.id == batch_id))
        if record is None:
            raise NotFoundError(f"there is no batch {batch_id!r}")
        return record

    def in_state(self, state: BatchState, limit: int, *, without: Collection[str] = ()) -> list[BatchRecord]:
        """Return batches in a state, oldest first; none of the partners ``without``."""
        batch = batch_tables.batch.c
        wanted = (batch.state == state.value) & batch.partner_id.not_in(without)
        query = _select_batch().where(wanted).order_by(batch.number).limit(limit)
        return [_record(row) for row in self._connection.execute(query)]

    def counts(self, batch: BatchRecord) -> BatchCounts:
        """Return the progress of a batch from its chunks."""
        chunk = batch_tables.batch_chunk.c
        issued, refused = self._connection.execute(
            select(func.coalesce(func.sum(chunk.issued), 0), func.coalesce(func.sum(chunk.refused), 0)).where(
                chunk.batch_number == batch.number
            )
        ).one()
        return BatchCounts(total=batch.total, issued=int(issued), refused=int(refused))

    def open_items(self, number: int, first_seq: int, last_seq: int) -> list[BatchItem]:
        """Return the items of a chunk that have no verdict yet, in order.

        Two looks by key, not a join: of tables that have just been filled PostgreSQL has no statistics, and joined them
        row against row.
        """
        item, verdict = batch_tables.batch_item.c, batch_tables.batch_verdict.c
        judged = set(
            self._connection.scalars(
                select(verdict.seq).where(verdict.batch_number == number, verdict.seq.between(first_seq, last_seq))
            )
        )
        rows = self._connection.execute(
            select(item.seq, item.row_id, item.csr_der, item.expected_identifier)
            .where(item.batch_number == number, item.seq.between(first_seq, last_seq))
            .order_by(item.seq)
        )
        return [BatchItem(*row) for row in rows if row.seq not in judged]

    def items(self, number: int, seqs: Sequence[int]) -> list[BatchItem]:
        """Return items by their sequence numbers, a few hundred at most; whether they have a verdict is not asked."""
        item = batch_tables.batch_item.c
        query = select(item.seq, item.row_id, item.csr_der, item.expected_identifier)
        rows = self._connection.execute(query.where(item.batch_number == number, item.seq.in_(seqs)))
        return [BatchItem(*row) for row in rows]

    def results(self, number: int, piece: int) -> Iterator[list[BatchResult]]:
        """Yield every row with its verdict in pieces, in order, by keyset.

        Items and verdicts are not joined, for the reason of ``open_items``.
        """
        last = -1
        while items := self.page(number, last, piece):
            yield [result for _, _, result in items if result is not None]
            last = items[-1][0]

    def page(self, number: int, after: int, limit: int) -> list[tuple[int, str, BatchResult | None]]:
        """Return the rows behind a sequence number as (seq, row id, result), None for those without a verdict yet."""
        item = batch_tables.batch_item.c
        if is_postgres(self._connection):  # nor is anything to be read whole that has keys
            self._connection.exec_driver_sql(
                "SET LOCAL enable_hashjoin TO OFF; SET LOCAL enable_mergejoin TO OFF; SET LOCAL enable_seqscan TO OFF"
            )
        items = self._connection.execute(
            select(item.seq, item.row_id)
            .where(item.batch_number == number, item.seq > after)
            .order_by(item.seq)
            .limit(limit)
        ).all()
        if not items:
            return []
        row_ids: dict[int, str] = dict(cast("list[tuple[int, str]]", items))
        rows = self._connection.execute(_select_results(number, items[0].seq, items[-1].seq)).all()
        results = {row[0]: _result(row_ids[row[0]], row) for row in rows}
        return [(seq, row_id, results.get(seq)) for seq, row_id in row_ids.items()]

    def of_partner(self, partner_id: str, below: int | None, limit: int) -> list[BatchRecord]:
        """Return a partner's batches, newest first, from below a number on."""
        query = _select_batch().where(
            batch_tables.batch.c.partner_id == partner_id, batch_tables.batch.c.state != BatchState.LOADING.value
        )
        if below is not None:
            query = query.where(batch_tables.batch.c.number < below)
        query = query.order_by(batch_tables.batch.c.number.desc()).limit(limit)
        return [_record(row) for row in self._connection.execute(query)]

    def _first(self, query: Select[Any]) -> BatchRecord | None:
        row = self._connection.execute(query).first()
        return None if row is None else _record(row)


def _select_batch() -> Select[Any]:
    return (
        select(batch_tables.batch, tables.profile.c.hash, tables.issuer.c.label)
        .join(tables.profile, tables.profile.c.id == batch_tables.batch.c.profile_id)
        .join(tables.issuer, tables.issuer.c.id == batch_tables.batch.c.issuer_id)
    )


def _select_results(number: int, first_seq: int, last_seq: int) -> Select[Any]:
    verdict, certificate, der = batch_tables.batch_verdict, tables.certificate, tables.certificate_der
    return (
        select(
            verdict.c.seq,
            verdict.c.code,
            verdict.c.message,
            verdict.c.common_name,
            certificate.c.serial,
            certificate.c.not_after,
            der.c.der,
        )
        .join_from(verdict, certificate, certificate.c.id == verdict.c.certificate_id, isouter=True)
        .join(der, (der.c.id == certificate.c.id) & (der.c.not_after == certificate.c.not_after), isouter=True)
        .where(verdict.c.batch_number == number, verdict.c.seq.between(first_seq, last_seq))
        .order_by(verdict.c.seq)
    )


def _record(row: Row[Any]) -> BatchRecord:
    return BatchRecord(
        number=row.number,
        id=row.id,
        partner_id=row.partner_id,
        profile_id=row.profile_id,
        profile_name=row.profile_name,
        profile_hash=row.hash,
        kind=BatchKind(row.kind),
        issuer_id=row.issuer_id,
        issuer_label=row.label,
        source_name=row.source_name,
        source_sha256=row.source_sha256,
        state=BatchState(row.state),
        runner=row.runner,
        total=row.total,
        created_at=from_seconds(row.created_at),
        finished_at=None if row.finished_at is None else from_seconds(row.finished_at),
    )


def _result(row_id: str, row: Row[Any]) -> BatchResult:
    seq, code, message, common_name, serial, not_after, der = cast("tuple[Any, ...]", row)
    moment = None if not_after is None else from_seconds(not_after)
    return BatchResult(seq, row_id, code, message, common_name, serial or "", moment, der or b"")
