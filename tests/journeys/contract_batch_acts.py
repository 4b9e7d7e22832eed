"""Tables of contracts: handed in, signed, and what became of their rows."""

from dataclasses import replace

from pki_core.model.batches import BatchKind
from pki_core.services.runners import runner_token
from pki_core.services.uploads import Upload
from tests.journeys.acts import rows, write_rows

HEADER = ("emaid", "pcid", "begins", "ends")

BEGINS, ENDS = "2026-01-01T00:00:00Z", "2027-06-30"


def emaid_of(number):
    return f"DEPNC{number:09d}"


def pcid_of(number):
    return f"WPNBATCH{number:09d}"


def submit(runtime, table, profile="contract_leaf", header=HEADER, kind=BatchKind.CONTRACT, name="contracts.csv"):
    upload = replace(upload_of_contracts(runtime, table, header, name), profile_name=profile, kind=kind)
    return runtime.uploads.submit(upload)[0]


def upload_of_contracts(runtime, table, header=HEADER, name="contracts.csv"):
    path, kind = write_rows(runtime.home / name, table, header), BatchKind.CONTRACT
    return Upload(path=path, source_name=name, partner_id="demo-mo", profile_name="contract_leaf", kind=kind)


def sign(runtime, batch):
    runner = runner_token()
    while runtime.batches.sign_next_chunk(batch.id, runner) is not None:
        pass
    return runtime.batches.status(batch.id)[1]


def codes(runtime, batch):
    found = rows(runtime, f"SELECT seq, code FROM batch_verdict WHERE batch_number = {batch.number} ORDER BY seq")  # noqa: S608
    return dict(found)
