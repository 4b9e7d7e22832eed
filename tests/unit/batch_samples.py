"""What the tests of batch files share: a request that needs no key, in any spelling, and readers with usual limits."""

import base64
import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.batch_file import BatchLimits, BatchRow, read_batch
from pki_core.wire.pem import certificate_pem

HEAD = "row_id,csr,identifier\n"
LIMITS = {
    "max_octets": 10_000_000,
    "max_rows": 50_000,
    "max_archive_octets": 10_000_000,
    "max_archive_ratio": 100,
    "max_archive_entries": 50_000,
}


def limits(**changed):
    return BatchLimits(**{**LIMITS, **changed})


def der(number):
    return b"\x30\x82\x01\x00" + number.to_bytes(4, "big") * 64


def pem(number):
    return certificate_pem(der(number)).replace("CERTIFICATE", "CERTIFICATE REQUEST")


def b64(number):
    return base64.b64encode(der(number)).decode()


def row(row_id, number, identifier=""):
    return BatchRow(row_id=row_id, csr_der=der(number), expected_identifier=identifier, problem=None)


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **changed):
    return [found for piece in read_batch(path, limits(**changed)) for found in piece]


def refusal(path, error=MalformedError, **changed):
    with pytest.raises(error) as caught:
        read(path, **changed)
    return str(caught.value)


def csv_text(rows, header=("row_id", "csr", "identifier"), delimiter=",", quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def as_parquet(path, rows):
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, names=["row_id", "csr", "identifier"]), path)
