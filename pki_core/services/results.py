"""Results: writes the bundle of a batch, as a stream: two tables, a ZIP of chains, a manifest with hashes."""

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pki_core.model.batches import BatchCounts, BatchResult
from pki_core.model.errors import ConflictError, RowsOpenError
from pki_core.services.certificates import Certificates
from pki_core.store.unit_of_work import Store
from pki_core.wire.batch_result import ResultRow, ResultWriter, Verdict, bundled_batch
from pki_core.wire.pem import certificate_pem

_PIECE = 2000


class Results:
    """Writes result bundles."""

    def __init__(self, store: Store, certificates: Certificates) -> None:
        self._store = store
        self._certificates = certificates

    def write(self, batch_id: str, directory: Path) -> BatchCounts:
        """Write the bundle of a finished batch into a directory; returns its counts.

        Raises:
            RowsOpenError: rows are still without a verdict.
            ConflictError: the directory holds another batch's bundle.
            FileUnusableError: the directory cannot be written.
            UnavailableError: its disk is full, or fails.
        """
        with self._store.reading() as work:
            batch = work.batches.get(batch_id)
            counts = work.batches.counts(batch)
        if counts.pending:
            raise RowsOpenError(f"{counts.pending} rows of this batch have no verdict yet")
        if (other := bundled_batch(directory)) not in {"", batch.id}:
            raise ConflictError(f"{directory} holds the bundle of batch {other}; choose another directory")
        chain = self._certificates.chain(batch.issuer_label)
        chain_pem = "".join(certificate_pem(record.certificate_der) for record in chain)
        described: dict[str, str | int] = {
            "batch_id": batch.id,
            "partner": batch.partner_id,
            "profile": batch.profile_name,
            "profile_sha256": batch.profile_hash,
            "issuer": batch.issuer_label,
            "source_name": batch.source_name,
            "source_sha256": batch.source_sha256,
            "total": counts.total,
            "issued": counts.issued,
            "refused": counts.refused,
        }
        with ResultWriter(directory, chain_pem, described) as writer, self._store.reading() as work:
            for piece in work.batches.results(batch.number, _PIECE):
                writer.write([_row(result) for result in piece])
        return counts


def _row(result: BatchResult) -> ResultRow:
    _, row_id, code, message, common_name, serial, not_after, certificate_der = result
    end = "" if not_after is None else _text(not_after)
    verdict: Verdict = "issued" if certificate_der else "refused"
    return ResultRow(row_id, verdict, code, message, common_name, serial, end, certificate_der)


@lru_cache(maxsize=64)
def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
