"""Rows of an operator's table of contracts (emaid, pcid, begins, ends; ISO 8601 times): cells become orders, and JSON.

The order is kept as JSON beside its row, where the rows of other batches keep their request.
"""

import json
from datetime import UTC, date, datetime, time
from typing import Final

from pki_core.model.contract_orders import LONGEST_RENEWAL, ContractOrder
from pki_core.model.errors import InvariantError
from pki_core.wire.batch_rows import ROW_ID, BatchRow, Problem, RowBuilder, plain_text

EMAID: Final = "emaid"
PCID: Final = "pcid"
BEGINS: Final = "begins"
ENDS: Final = "ends"
RENEW_DAYS: Final = "renew_days"
_MAX_MOMENT: Final = 40  # characters; ISO 8601 with a zone takes 25


class ContractRows(RowBuilder):
    """Rows of contracts; without ``row_id`` a row is called by its EMAID."""

    required = (EMAID, PCID, BEGINS, ENDS)
    optional = (RENEW_DAYS, ROW_ID)
    numbers = frozenset({ROW_ID, RENEW_DAYS})
    moments = frozenset({BEGINS, ENDS})

    def _row(self, number: int, *cells: object) -> BatchRow:
        emaid, pcid, begins, ends, days, row_id = cells
        names = [plain_text(emaid), plain_text(pcid)]
        id_text = plain_text(row_id) or names[0]
        moments, renew_days = [moment_of(begins), moment_of(ends)], _days(days)
        problem = self._id_problem(number, id_text)
        for column, text in zip((EMAID, PCID), names, strict=True):
            problem = problem or _name_problem(column, text, self._limits.max_identifier_length)
        for column, moment in zip((BEGINS, ENDS), moments, strict=True):
            if moment is None:
                problem = problem or (f"row.{column}_invalid", f"the column '{column}' is no time or date of ISO 8601")
        if renew_days is None:
            problem = problem or ("row.renew_days_invalid", f"'{RENEW_DAYS}' is no number of 0 to {LONGEST_RENEWAL}")
        if problem is not None or moments[0] is None or moments[1] is None:
            return self._refused(id_text or "", names[0] or "", problem)
        order = ContractOrder(id_text or "", names[0] or "", names[1] or "", moments[0], moments[1], renew_days or 0)
        return BatchRow(
            row_id=order.reference, csr_der=order_json(order), expected_identifier=order.emaid, problem=None
        )


def order_json(order: ContractOrder) -> bytes:
    """Return an order as it is kept."""
    document = {
        EMAID: order.emaid,
        PCID: order.pcid,
        BEGINS: order.begins.isoformat(),
        ENDS: order.ends.isoformat(),
        RENEW_DAYS: order.renew_days,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def parse_order(reference: str, kept: bytes) -> ContractOrder:
    """Return an order that was kept; InvariantError when it is none."""
    try:
        found = json.loads(kept)
        return ContractOrder(
            reference=reference,
            emaid=str(found[EMAID]),
            pcid=str(found[PCID]),
            begins=datetime.fromisoformat(found[BEGINS]),
            ends=datetime.fromisoformat(found[ENDS]),
            renew_days=int(found[RENEW_DAYS]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InvariantError("a row of a batch of contracts holds no order") from error


def moment_of(cell: object) -> datetime | None:
    """Return a time in UTC, cut to seconds: ISO 8601 text, a date (its first moment), a cell of a sheet; else None."""
    if isinstance(cell, str):
        text = cell.strip()
        if not text.isascii() or len(text) > _MAX_MOMENT:
            return None
        try:
            cell = datetime.fromisoformat(text)
        except ValueError:
            return None
    elif isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime.combine(cell, time())
    if not isinstance(cell, datetime):
        return None
    try:
        moment = cell.replace(tzinfo=UTC) if cell.tzinfo is None else cell.astimezone(UTC)
        return datetime.fromtimestamp(int(moment.timestamp()), UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _name_problem(column: str, text: str | None, longest: int) -> Problem | None:
    if not text:
        return (f"row.{column}_missing", f"the column '{column}' holds no text")
    if len(text) > longest or not text.isascii() or not text.isprintable():
        return (f"row.{column}_invalid", f"the column '{column}' is no identifier")
    return None


def _days(cell: object) -> int | None:
    text = plain_text(cell)
    if text == "":
        return 0
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > len(str(LONGEST_RENEWAL)):
        return None
    return int(text) if int(text) <= LONGEST_RENEWAL else None
