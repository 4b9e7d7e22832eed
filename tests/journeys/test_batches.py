"""Batches: every row of an upload ends with one verdict, by the profile version and issuer its batch is pinned to."""

import csv
from contextlib import closing

import pytest
from cryptography import x509
from sqlalchemy import text

from flows import sample_batch
from flows.sample_batch import sample_rows, write_sample
from pki_core.model.errors import ConflictError, InvariantError, NotFoundError, PartnerSuspendedError
from pki_core.model.states import BatchState
from pki_core.runtime.wiring import open_runtime
from pki_core.services.batches import MAX_ATTEMPTS
from pki_core.services.runners import runner_token
from tests.journeys.acts import artefact, edit, hold, in_base64, rows, sub2, upload_of, uploads_with, write_rows

pytest_plugins = ["tests.journeys.environments"]

BAD_ROWS = {
    "not decodable": "row.csr_not_decodable",
    "not a request": "csr.malformed",
    "empty": "row.csr_missing",
    "bad signature": "csr.bad_signature",
    "RSA key": "key.type_not_allowed",
    "wrong curve": "key.type_not_allowed",
    "weak key": "key.weak",
    "point off the curve": "key.invalid",
    "not an EMAID": "identifier.invalid",
    "another operator's EMAID": "identifier.outside_prefixes",
    "no common name": "identifier.missing",
    "same request again": "row.duplicate_csr",
    "other identifier expected": "identifier.unexpected",
    "organization too long": "subject.too_long",
}


def sign_all(runtime, batch):
    runner = runner_token()
    while runtime.batches.sign_next_chunk(batch.id, runner) is not None:
        pass
    return runtime.batches.status(batch.id)


def submit(runtime, path, chunk_rows=10, **upload):
    return uploads_with(runtime, chunk_rows).submit(upload_of(path, **upload))[0]


def sample(path, count, bad=0):
    write_sample(path, count, bad)
    return path


def results(runtime, batch):
    with runtime.store.reading() as work:
        return [row for piece in work.batches.results(batch.number, 7) for row in piece]


def certificates(runtime, batch):
    return [x509.load_der_x509_certificate(row.certificate_der) for row in results(runtime, batch) if row.serial]


def kinds_of(certificate):
    return {extension.oid.dotted_string for extension in certificate.extensions}


CRL, POLICIES = "2.5.29.31", "2.5.29.32"


# --- a batch from its first row to its last


def test_every_row_ends_with_one_verdict(any_environment, tmp_path):
    batch = submit(any_environment, sample(tmp_path / "batch.csv", 42, bad=14))
    done, counts = sign_all(any_environment, batch)
    assert done.state is BatchState.DONE
    assert done.finished_at is not None
    assert (counts.total, counts.issued, counts.refused, counts.pending) == (42, 28, 14, 0)
    found = results(any_environment, batch)
    assert [row.seq for row in found] == list(range(42))
    assert [row.row_id for row in found] == [f"contract-{number:06d}" for number in range(1, 43)]
    refused = [row.code for row in found if row.code != "issued"]
    assert refused == list(BAD_ROWS.values())
    assert all(row.message.endswith(".") or row.code.startswith("row.") for row in found if row.code != "issued")
    assert all((row.serial != "") is (row.code == "issued") is (row.certificate_der != b"") for row in found)


def test_batches_of_a_suspended_partner_wait_for_as_long_as_he_is_and_lose_no_row(any_environment, tmp_path):
    runtime = any_environment
    batch = submit(runtime, sample(tmp_path / "batch.csv", 12), chunk_rows=6)
    queued, begun = runtime.maintenance.queued, runner_token()
    runtime.batches.sign_next_chunk(batch.id, begun)
    runtime.partners.suspend("demo-mo", by="ada")
    later = submit(runtime, sample(tmp_path / "later.csv", 3))
    for _ in range(MAX_ATTEMPTS + 2):
        with pytest.raises(PartnerSuspendedError, match="partner demo-mo is suspended"):
            runtime.batches.sign_next_chunk(batch.id, begun)
    assert runtime.batches.status(batch.id)[1].pending == 6
    assert (queued(), runtime.maintenance.sweep_stuck().resumable) == ([], ())
    runtime.partners.resume("demo-mo", by="ada")
    assert (queued(), runtime.maintenance.sweep_stuck().resumable) == ([later.id], (batch.id,))
    assert [sign_all(runtime, one)[1].issued for one in (batch, later)] == [12, 3]


def test_the_sample_has_every_kind_of_bad_row():
    assert list(sample_batch._BAD_ROWS) == list(BAD_ROWS)


def test_every_certificate_of_a_batch_is_good(any_environment, tmp_path):
    batch = submit(any_environment, sample(tmp_path / "batch.csv", 25))
    sign_all(any_environment, batch)
    issuer = x509.load_der_x509_certificate(artefact(any_environment, "mo-sub2"))
    names, serials = set(), set()
    for certificate in certificates(any_environment, batch):
        certificate.verify_directly_issued_by(issuer)
        names.add(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
        serials.add(certificate.serial_number)
    assert names == {emaid for _, _, emaid in sample_rows(25)}
    assert len(serials) == 25
    stored = rows(any_environment, "SELECT partner_id, count(*) FROM certificate WHERE partner_id != '' GROUP BY 1")
    assert stored == [("demo-mo", 25)]
    assert rows(any_environment, "SELECT count(*) FROM reservation") == [(0,)]


def test_progress_is_told_chunk_by_chunk(any_environment, tmp_path):
    batch = submit(any_environment, sample(tmp_path / "batch.csv", 25, bad=1))
    runner = runner_token()
    told = []
    while (report := any_environment.batches.sign_next_chunk(batch.id, runner)) is not None:
        status, counts = any_environment.batches.status(batch.id)
        told.append(
            (report.rows, report.issued, counts.issued, counts.pending, any_environment.batches.open_chunks(batch.id))
        )
        assert status.state in {BatchState.RUNNING, BatchState.DONE}
    assert told == [(10, 10, 10, 14, 2), (10, 10, 20, 4, 1), (4, 4, 24, 0, 0)]
    assert any_environment.batches.status(batch.id)[0].state is BatchState.DONE


def test_signing_a_signed_batch_changes_nothing(any_environment, tmp_path):
    batch = submit(any_environment, sample(tmp_path / "batch.csv", 12))
    before = sign_all(any_environment, batch), results(any_environment, batch)
    assert (sign_all(any_environment, batch), results(any_environment, batch)) == before
    assert rows(any_environment, "SELECT count(*) FROM audit WHERE action = 'batch.done'") == [(1,)]


def test_a_batch_of_nothing_but_bad_rows_is_done_without_a_certificate(any_environment, tmp_path):
    path = write_rows(tmp_path / "bad.csv", [("a", "", ""), ("b", "noise", ""), ("c", in_base64(b"\x30\x00"), "")])
    batch = submit(any_environment, path)
    done, counts = sign_all(any_environment, batch)
    assert (done.state, counts.issued, counts.refused) == (BatchState.DONE, 0, 3)
    assert rows(any_environment, "SELECT count(*) FROM certificate WHERE partner_id != ''") == [(0,)]


@pytest.mark.parametrize(
    ("partner", "profile", "common_name", "issuer"),
    [
        ("demo-cpo", "evse_leaf", "DE*PNC*E12345*1", "cpo-sub2"),
        ("demo-oem", "oem_provisioning_leaf", "WPNABCDEFGHJKLMN1", "oem-sub2"),
    ],
)
def test_other_branches_sign_their_own_leafs(environment, tmp_path, partner, profile, common_name, issuer):
    table = [("1", in_base64(sample_batch.sample_csr(common_name)), "")]
    batch = submit(environment, write_rows(tmp_path / "rows.csv", table), partner=partner, profile=profile)
    assert sign_all(environment, batch)[1].issued == 1
    (certificate,) = certificates(environment, batch)
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(artefact(environment, issuer)))
    assert certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == common_name


# --- what is not signed


def test_an_unknown_batch_is_not_found(untouched):
    for ask in (untouched.batches.get, untouched.batches.status, untouched.batches.open_chunks):
        with pytest.raises(NotFoundError, match="there is no batch 'b-1'"):
            ask("b-1")
    with pytest.raises(NotFoundError):
        untouched.batches.sign_next_chunk("b-1", runner_token())


def test_a_batch_that_is_still_loading_is_not_signed(environment, tmp_path):
    batch = submit(environment, sample(tmp_path / "batch.csv", 5))
    with environment.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE batch SET state = 'loading'"))
    with pytest.raises(ConflictError, match="still being loaded"):
        environment.batches.sign_next_chunk(batch.id, runner_token())


def test_a_partner_that_lost_its_prefix_gets_nothing_more(environment, tmp_path):
    batch = submit(environment, sample(tmp_path / "batch.csv", 20))
    environment.batches.sign_next_chunk(batch.id, runner_token())
    with environment.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE partner_scope SET value = 'FRXYZ' WHERE kind = 'provider'"))
    assert sign_all(environment, batch)[1].issued == 10
    assert {row.code for row in results(environment, batch)[10:]} == {"identifier.outside_prefixes"}


# --- a batch is pinned to the profile version and the issuer it was submitted under


def turn_on(home, switch):
    edit(home, r"\Z", f'\n[certificates]\nswitches = ["{switch}"]\n')


def test_a_switch_turned_on_later_changes_no_batch_that_was_submitted_before(any_home, tmp_path):
    with closing(open_runtime(any_home)) as runtime:
        before = submit(runtime, sample(tmp_path / "before.csv", 15))
        runtime.batches.sign_next_chunk(before.id, runner_token())
        pinned = runtime.profiles["contract_leaf"].hash
    if "[certificates]" in (any_home / "pncpki.toml").read_text():
        edit(any_home, r"^\[certificates\]$", '[certificates]\nswitches = ["full_extensions"]')
    else:
        turn_on(any_home, "full_extensions")
    with closing(open_runtime(any_home)) as runtime:
        changed = runtime.profiles["contract_leaf"]
        assert changed.hash != pinned
        sign_all(runtime, before)
        write_sample(tmp_path / "after.csv", 5, bad=0, first=500)
        after = submit(runtime, tmp_path / "after.csv")
        sign_all(runtime, after)
        for batch, digest, extras in ((before, pinned, set()), (after, changed.hash, {CRL, POLICIES})):
            assert runtime.batches.get(batch.id).profile_hash == digest
            made = certificates(runtime, batch)
            assert made
            for certificate in made:
                assert kinds_of(certificate) & {CRL, POLICIES} == extras
                assert runtime.certificates.show(f"{certificate.serial_number:036x}").profile_hash == digest


def test_a_newer_issuer_changes_no_batch_that_was_submitted_before(environment, tmp_path):
    before = submit(environment, sample(tmp_path / "before.csv", 3))
    hold(environment, sub2())
    sign_all(environment, before)
    old, new = (
        x509.load_der_x509_certificate(artefact(environment, label)).subject for label in ("mo-sub2", "mo-sub2-b")
    )
    assert {certificate.issuer for certificate in certificates(environment, before)} == {old} != {new}


def test_a_pinned_profile_that_was_tampered_with_signs_nothing(environment, tmp_path):
    batch = submit(environment, sample(tmp_path / "batch.csv", 3))
    with environment.store.transaction() as work:
        work.audit._connection.execute(text("UPDATE profile SET document = replace(document, '730', '9999')"))
    with pytest.raises(InvariantError, match="contract_leaf was changed in the database"):
        environment.batches.sign_next_chunk(batch.id, runner_token())
    assert certificates(environment, batch) == []


# --- the bundle


def test_a_bundle_tells_what_the_store_knows(environment, tmp_path):
    batch = submit(environment, sample(tmp_path / "batch.csv", 30, bad=3))
    with pytest.raises(ConflictError, match=r"\d+ rows of this batch have no verdict yet"):
        environment.results.write(batch.id, tmp_path / "early")
    sign_all(environment, batch)
    counts = environment.results.write(batch.id, tmp_path / "bundle")
    assert (counts.issued, counts.refused) == (27, 3)
    (table,) = (tmp_path / "bundle").glob("*.csv")
    with table.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    known = results(environment, batch)
    assert [(row["row_id"], row["code"], row["serial"]) for row in written] == [
        (row.row_id, row.code, row.serial) for row in known
    ]
    assert {row["verdict"] for row in written} == {"issued", "refused"}
