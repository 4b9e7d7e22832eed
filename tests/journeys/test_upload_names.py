"""Names in an upload: each belongs to the first row that may have it, however it is written."""

import base64

import pytest

from flows.sample_batch import sample_csr, sample_emaid, sample_rows
from pki_core.services.runners import runner_token
from tests.builders import SET, new_key, raw_csr, sequence, tlv
from tests.journeys.acts import in_base64, rows, upload_of, verdicts, write_rows

pytest_plugins = ["tests.journeys.environments"]


def test_an_emaid_with_and_without_its_check_digit_is_the_same_identifier(environment, tmp_path):
    table = [
        ("with", in_base64(sample_csr(sample_emaid(1))), ""),
        ("without", in_base64(sample_csr(sample_emaid(1)[:-1])), ""),
    ]
    batch, _ = environment.uploads.submit(upload_of(write_rows(tmp_path / "rows.csv", table)))
    assert verdicts(environment, batch)["without"][0] == "row.duplicate_identifier"


def test_a_name_belongs_to_the_first_row_that_proves_its_key(any_environment, tmp_path):
    bad, good, late = sample_rows(3)
    der = bytearray(sample_csr(good[2]))
    der[-1] ^= 1
    table = [
        (bad[0], base64.b64encode(bytes(der)).decode(), ""),
        (good[0], good[1], ""),
        (late[0], base64.b64encode(sample_csr(good[2])).decode(), ""),
    ]
    batch, _ = any_environment.uploads.submit(upload_of(write_rows(tmp_path / "rows.csv", table)))
    found = verdicts(any_environment, batch)
    assert {row_id: code for row_id, (code, _) in found.items()} == {
        bad[0]: "csr.bad_signature",
        late[0]: "row.duplicate_identifier",
    }
    assert "Row 2" in found[late[0]][1]


COMMON_NAME, SERIAL_NUMBER, ORGANIZATION, COUNTRY = "0603550403", "0603550405", "060355040a", "0603550406"
PRINTABLE, UTF8, BMP, UNIVERSAL = 0x13, 0x0C, 0x1E, 0x1C
OTHER_EMAID = "DEPNCC00000002"


def part(oid, tag, octets):
    return tlv(SET, sequence(bytes.fromhex(oid), tlv(tag, octets)))


def csr_named(*parts):
    return in_base64(raw_csr(new_key(), subject=sequence(*parts)))


def csr_of(emaid, *before, tag=PRINTABLE):
    codec = {BMP: "utf-16-be", UNIVERSAL: "utf-32-be"}.get(tag, "ascii")
    return csr_named(*before, part(COMMON_NAME, tag, emaid.encode(codec)))


def codes_of(runtime, tmp_path, table):
    """Row number -> code of the verdicts of an upload; the rest is signed, and all of it issued."""
    named = [(f"row-{number}" if row_id is None else row_id, *row) for number, (row_id, *row) in enumerate(table)]
    batch, _ = runtime.uploads.submit(upload_of(write_rows(tmp_path / "rows.csv", named)))
    found = dict(rows(runtime, "SELECT seq, code FROM batch_verdict ORDER BY seq"))
    runner = runner_token()
    while runtime.batches.sign_next_chunk(batch.id, runner) is not None:
        pass
    assert runtime.batches.status(batch.id)[1].issued == len(table) - len(found)
    return found


def test_names_in_wide_characters_are_told_apart(environment, tmp_path):
    table = [(None, csr_of(f"DEPNCC0000000{n}", tag=tag), "") for n, tag in enumerate((BMP, UNIVERSAL, BMP, UNIVERSAL))]
    assert codes_of(environment, tmp_path, table) == {}


@pytest.mark.parametrize(
    "hidden",
    [
        csr_of(OTHER_EMAID, tag=BMP),
        csr_of(OTHER_EMAID, tag=UNIVERSAL),
        csr_of(OTHER_EMAID, part(SERIAL_NUMBER, 0x04, bytes.fromhex(COMMON_NAME) + b"\x0c\x03abc")),
        csr_of(OTHER_EMAID, part(SERIAL_NUMBER, 0x04, bytes.fromhex(COMMON_NAME))),
        csr_of("de-pnc-c00000002", tag=UTF8),
    ],
    ids=["two octets a letter", "four octets a letter", "behind a false name", "behind a false start", "with dashes"],
)
def test_a_name_is_found_again_however_it_is_written(environment, tmp_path, hidden):
    table = [(None, hidden, ""), (None, csr_of(OTHER_EMAID), ""), (None, hidden, "")]
    assert codes_of(environment, tmp_path, table) == {1: "row.duplicate_identifier", 2: "row.duplicate_csr"}


GOOD = csr_of(OTHER_EMAID)
BAD_FIRST_ROWS = {
    "another identifier expected": ((None, csr_of(OTHER_EMAID), "DEPNCC00000009"), "identifier.unexpected"),
    "the same request, another identifier expected": ((None, GOOD, "DEPNCC00000009"), "identifier.unexpected"),
    "too long": ((None, csr_of(OTHER_EMAID + "ZZZZ"), ""), "identifier.invalid"),
    "country": ((None, csr_of(OTHER_EMAID, part(COUNTRY, PRINTABLE, b"D1")), ""), "subject.country_invalid"),
    "organization": ((None, csr_of(OTHER_EMAID, part(ORGANIZATION, UTF8, b"x" * 65)), ""), "subject.too_long"),
    "row id": (("row-0", csr_of(OTHER_EMAID), ""), "row.duplicate_id"),
}


@pytest.mark.parametrize(("bad", "code"), BAD_FIRST_ROWS.values(), ids=BAD_FIRST_ROWS)
def test_a_row_that_is_refused_keeps_no_name_from_the_next(environment, tmp_path, bad, code):
    table = [(None, csr_of("DEPNCC00000001"), ""), bad, (None, GOOD, OTHER_EMAID), (None, GOOD, "")]
    assert codes_of(environment, tmp_path, table) == {1: code, 3: "row.duplicate_csr"}
