"""OCSP rows: status of serials, responses signed ahead, the feed of revocations, the time of the last signature."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, select, text, update

from pki_core.model.ocsp import StatusChange, StatusRecord, StoredAnswer
from pki_core.model.states import CertificateState
from pki_core.store import tables
from pki_core.store.bulk import insert_rows, is_one_of

_RESPONSE_COLUMNS = ("issuer_id", "serial", "hash_algorithm", "this_update", "next_update", "response_der")
_SIGNED = "ocsp.signed"
_KNOWN = (CertificateState.GOOD.value, CertificateState.REVOKED.value, CertificateState.HOLD.value)

_status = tables.certificate_status
_response = tables.ocsp_response


class OcspGateway:
    """Reads ``certificate_status`` and ``revocation``; rows of ``ocsp_response``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self, issuer_id: int, serials: Sequence[str], *, lock: bool = False) -> dict[str, StatusRecord]:
        """Return what is known of serials under their issuer; drawn ones without a certificate are among them.

        With ``lock`` nobody changes them before this transaction ends.
        """
        statement = _select_status().where(_status.c.issuer_id == issuer_id, self._is_among(serials))
        if lock:
            statement = statement.order_by(_status.c.serial).with_for_update(read=True)
        return {row.serial: _record(row) for row in self._connection.execute(statement)}

    def page(self, issuer_id: int, after: str, now: int, limit: int) -> list[StatusRecord]:
        """Return unexpired certificates of an issuer whose serial comes after another, in order."""
        rows = self._connection.execute(
            _select_status()
            .where(
                _status.c.issuer_id == issuer_id,
                _status.c.serial > after,
                _status.c.status.in_(_KNOWN),
                _status.c.not_after > now,
            )
            .order_by(_status.c.serial)
            .limit(limit)
        )
        return [_record(row) for row in rows]

    def stored(self, issuer_id: int, serial: str, hash_algorithm: str) -> tuple[StoredAnswer, StatusRecord] | None:
        """Return the response signed ahead for a certificate and the status it tells, None when there is none."""
        is_its_own = (_status.c.issuer_id == _response.c.issuer_id) & (_status.c.serial == _response.c.serial)
        row = self._connection.execute(
            _select_status()
            .add_columns(_response.c.this_update, _response.c.next_update, _response.c.response_der)
            .join(_response, is_its_own)
            .where(
                _response.c.issuer_id == issuer_id,
                _response.c.serial == serial,
                _response.c.hash_algorithm == hash_algorithm,
            )
        ).first()
        if row is None:
            return None
        der = bytes(row.response_der)
        return StoredAnswer(row.serial, hash_algorithm, row.this_update, row.next_update, der), _record(row)

    def stored_times(self, issuer_id: int, serials: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
        """Return (this_update, next_update) of what is stored, by (serial, hash algorithm)."""
        rows = self._connection.execute(
            select(_response.c.serial, _response.c.hash_algorithm, _response.c.this_update, _response.c.next_update)
            .where(_response.c.issuer_id == issuer_id)
            .where(is_one_of(self._connection, _response.c.serial, serials))
        )
        return {(row.serial, row.hash_algorithm): (row.this_update, row.next_update) for row in rows}

    def store(self, issuer_id: int, answers: Sequence[StoredAnswer]) -> None:
        """Put responses in the place of those for the same certificates and hash algorithms."""
        for algorithm in sorted({answer.hash_algorithm for answer in answers}):
            serials = [answer.serial for answer in answers if answer.hash_algorithm == algorithm]
            self._connection.execute(
                delete(_response).where(
                    _response.c.issuer_id == issuer_id,
                    _response.c.hash_algorithm == algorithm,
                    is_one_of(self._connection, _response.c.serial, serials),
                )
            )
        insert_rows(self._connection, _response, _RESPONSE_COLUMNS, [(issuer_id, *answer) for answer in answers])

    def drop(self, issuer_id: int, serial: str) -> int:
        """Forget what was signed ahead for a certificate; returns how many responses.

        Call it after its row in ``certificate_status`` was changed, in the same transaction: from the change on, no
        response that says otherwise can be stored. When the certificate is a CA's or a responder's own, everything
        signed for that CA goes too.
        """
        own = (_response.c.issuer_id == issuer_id) & (_response.c.serial == serial)
        dropped = self._connection.execute(delete(_response).where(own)).rowcount
        certificate_id = self._connection.scalar(
            select(_status.c.certificate_id).where(_status.c.issuer_id == issuer_id, _status.c.serial == serial)
        )
        responder, issuer = tables.responder, tables.issuer
        answers_for = (
            select(responder.c.issuer_id)
            .where(responder.c.certificate_id == certificate_id)
            .union_all(select(issuer.c.id).where(issuer.c.certificate_id == certificate_id))
        )
        for ca_id in self._connection.scalars(answers_for).all():
            dropped += self._connection.execute(delete(_response).where(_response.c.issuer_id == ca_id)).rowcount
        return dropped

    def drop_leafs(self, issuer_id: int, serials: Sequence[str]) -> int:
        """Forget what was signed ahead for leafs, as ``drop`` does for one; nothing was signed for them as a CA."""
        are = is_one_of(self._connection, _response.c.serial, serials)
        return self._connection.execute(delete(_response).where(_response.c.issuer_id == issuer_id, are)).rowcount

    def drop_expired(self, now: int) -> int:
        """Forget responses past their next update; returns how many."""
        return self._connection.execute(delete(_response).where(_response.c.next_update <= now)).rowcount

    def oldest_this_update(self) -> int | None:
        """Return when the oldest stored response was signed, None when nothing is stored."""
        oldest: int | None = self._connection.scalar(select(func.min(_response.c.this_update)))
        return oldest

    def oldest(self) -> tuple[int, int] | None:
        """Return (this_update, next_update) of the oldest stored response, None when nothing is stored."""
        query = select(_response.c.this_update, _response.c.next_update).order_by(_response.c.this_update).limit(1)
        row = self._connection.execute(query).first()
        return None if row is None else (row.this_update, row.next_update)

    def worn_out(self, now: int) -> tuple[int, int] | None:
        """Return (this_update, next_update) of a response past three quarters of its life, None when there is none.

        What is stored for expired certificates is not signed again and does not count.
        """
        is_its_own = (_status.c.issuer_id == _response.c.issuer_id) & (_status.c.serial == _response.c.serial)
        row = self._connection.execute(
            select(_response.c.this_update, _response.c.next_update)
            .join(_status, is_its_own)
            .where(
                (now - _response.c.this_update) * 4 > (_response.c.next_update - _response.c.this_update) * 3,
                _status.c.not_after > now,
            )
            .limit(1)
        ).first()
        return None if row is None else (row.this_update, row.next_update)

    def changed_since(self, moment: int, limit: int) -> list[StatusChange]:
        """Return the feed from a moment on, at most ``limit`` lines."""
        feed = tables.revocation
        rows = self._connection.execute(
            select(
                feed.c.number,
                feed.c.issuer_id,
                feed.c.serial,
                feed.c.changed_at,
                feed.c.status,
                feed.c.released_at,
            )
            .where(feed.c.changed_at >= moment)
            .limit(limit)
        )
        return [StatusChange(*row) for row in rows]

    def last_signed(self) -> int:
        """Return the latest time any process signed a response for, 0 when none did."""
        return self._connection.scalar(select(tables.mark.c.at).where(tables.mark.c.name == _SIGNED)) or 0

    def note_signed(self, at: int) -> None:
        """Remember that a response was signed for a time; an earlier one changes nothing."""
        # Two processes may be the first at once; the same clause on both databases.
        self._connection.execute(
            text("INSERT INTO mark (name, at) VALUES (:name, :at) ON CONFLICT (name) DO NOTHING"),
            {"name": _SIGNED, "at": at},
        )
        mark = tables.mark
        self._connection.execute(update(mark).where(mark.c.name == _SIGNED, mark.c.at < at).values(at=at))

    def _is_among(self, serials: Sequence[str]) -> ColumnElement[bool]:
        if len(serials) == 1:
            return _status.c.serial == serials[0]
        return is_one_of(self._connection, _status.c.serial, serials)


def _select_status() -> Select[Any]:
    return select(_status.c.serial, _status.c.status, _status.c.not_after, _status.c.revoked_at, _status.c.reason)


def _record(row: Row[Any]) -> StatusRecord:
    return StatusRecord(row.serial, CertificateState(row.status), row.not_after, row.revoked_at, row.reason)
