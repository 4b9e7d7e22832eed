"""CRLs as DER: entries, frames, reading back, lints; each rule has a list that breaks it (cases of RFC 5280 5)."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pki_core.issuance.crl_lint import crl_findings, plan_findings
from pki_core.issuance.public_crl_lint import refuse_crl_findings
from pki_core.model.errors import InvariantError, LintError, MalformedError
from pki_core.model.revocations import Reason
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.crl_guards import entries_of
from pki_core.wire.certificate_facts import read_facts
from pki_core.wire.crl import CrlPlan, digest_signature_is_valid, entry_der, outer_frame, tbs_frame
from pki_core.wire.crl_read import decode_crl
from pki_core.wire.crl_scan import entries_in, is_continued, missing_serials, scan_entries
from tests.builders import NOW, MemorySigner, issuer_record, sequence, tlv

SIGNER = MemorySigner()
RECORD = issuer_record(SIGNER)
PLAN = CrlPlan(
    issuer_der=RECORD.subject_der,
    key_identifier=RECORD.key_identifier,
    algorithm=RECORD.algorithm,
    number=7,
    this_update=NOW,
    next_update=NOW + timedelta(days=2),
)
SHARD_URL = "http://crl.test/mo-sub2-07.crl"
DELTA_URL = "http://crl.test/mo-sub2-07-delta.crl"
PLANS = {
    "full": PLAN,
    "with a delta": replace(PLAN, freshest_url=DELTA_URL),
    "shard": replace(PLAN, shard_url=SHARD_URL),
    "delta": replace(PLAN, base_number=5),
    "delta of a shard": replace(PLAN, base_number=5, shard_url=SHARD_URL),
}


def reader_of(octets):
    return lambda at, count: octets[at : at + count]


def serial(number):
    return f"{0x01 << 136 | number:036x}"


def entry(number=1, at=NOW, reason=Reason.KEY_COMPROMISE):
    return entry_der(serial(number), at, reason)


def made(plan=PLAN, *entries, signer=SIGNER):
    octets = b"".join(entries)
    head, tail = tbs_frame(plan, len(octets))
    tbs = head + octets + tail
    before, behind = outer_frame(plan.algorithm, len(tbs), signer.sign([tbs])[0])
    return before + tbs + behind


def judged(der, plan=PLAN):
    """Findings of the strict lint."""
    decoded = decode_crl(reader_of(der), len(der))
    return crl_findings(decoded, scan_entries(*entries_of(reader_of(der), decoded)), plan)


def scanned(*entries):
    octets = b"".join(entries)
    return scan_entries(reader_of(octets), len(octets))


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("count", [0, 1, 2, 9, 300])
def test_every_kind_of_list_is_read_by_another_library_and_pleases_both_linters(plan, count):
    der = made(plan, *(entry(number, reason=Reason(number % 6)) for number in range(count)))
    crl = x509.load_der_x509_crl(der)
    assert crl.is_signature_valid(SIGNER.key.public_key())
    assert [one.serial_number for one in crl] == [int(serial(number), 16) for number in range(count)]
    assert judged(der, plan) == []
    assert plan_findings(decode_crl(reader_of(der), len(der)), plan) == []
    refuse_crl_findings(der)


def test_l01_a_list_of_nothing_has_no_field_for_entries():
    der = made()
    assert decode_crl(reader_of(der), len(der)).entries is None
    empty = made(PLAN, b"\x30\x00")  # an entry field with an empty entry is not one of ours
    with pytest.raises(MalformedError):
        judged(empty)


def test_l01_an_empty_field_for_entries_is_found():
    der = made()
    decoded = decode_crl(reader_of(der), len(der))
    assert crl_findings(replace(decoded, entries=(0, 0)), scanned(), PLAN) == ["crl.empty_list"]


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_l02_version_and_algorithms_are_those_of_the_key(algorithm):
    signer = MemorySigner(algorithm)
    plan = replace(PLAN, algorithm=algorithm)
    der = made(plan, entry(), signer=signer)
    decoded = decode_crl(reader_of(der), len(der))
    assert x509.load_der_x509_crl(der).is_signature_valid(signer.key.public_key())
    assert (decoded.version, judged(der, plan)) == (1, [])
    assert decoded.inner_algorithm_der == decoded.outer_algorithm_der


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 0}, "crl.version"),
        ({"inner_algorithm_der": bytes.fromhex("300c06082a8648ce3d0403020500")}, "crl.algorithms"),
        ({"outer_algorithm_der": bytes.fromhex("300a06082a8648ce3d040303")}, "crl.algorithms"),
        ({"this_update": (0x18, NOW)}, "crl.time_form"),
        ({"next_update": (0x17, NOW.replace(year=2051))}, "crl.time_form"),
        ({"next_update": (0x17, NOW)}, "crl.next_update"),
        ({"key_identifier": None}, "crl.authority_key_identifier"),
        ({"number": None}, "crl.number"),
        ({"number": 0}, "crl.number"),
        ({"number": -1}, "crl.number"),
        ({"number": 1 << 159}, "crl.number"),
        ({"critical": frozenset({"2.5.29.20"})}, "crl.criticality"),
        ({"critical": frozenset({"2.5.29.35"})}, "crl.criticality"),
        ({"base_number": 3}, "crl.criticality"),
        ({"distribution_point": {"distribution_point": ["http://a"]}}, "crl.criticality"),
        ({"distribution_point": {"distribution_point": ["http://a", "http://b"]}}, "crl.distribution_point"),
        (
            {"distribution_point": {"distribution_point": ["http://a"], "only_contains_user_certs": True}},
            "crl.distribution_point",
        ),
        ({"base_number": 3, "freshest_urls": ("http://a",)}, "crl.freshest_in_delta"),
        ({"base_number": 8}, "crl.base_number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_frame_is_found(changes, code):
    der = made()
    decoded = decode_crl(reader_of(der), len(der))
    assert code in crl_findings(replace(decoded, **changes), scanned(), PLAN)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"issuer_der": b"\x30\x00"}, "crl.other_issuer"),
        ({"key_identifier": b"8" * 8}, "crl.other_authority_key_identifier"),
        ({"shard_url": SHARD_URL}, "crl.other_issuing_distribution_point"),
        ({"number": 8}, "crl.other_number"),
        ({"base_number": 6}, "crl.other_base_number"),
        ({"freshest_url": DELTA_URL}, "crl.other_freshest_crl"),
        ({"this_update": NOW - timedelta(seconds=1)}, "crl.other_times"),
        ({"next_update": NOW + timedelta(days=3)}, "crl.other_times"),
    ],
)
def test_what_is_not_as_planned_is_found(changes, code):
    der = made()
    assert plan_findings(decode_crl(reader_of(der), len(der)), replace(PLAN, **changes)) == [code]


def test_l04_times_from_2050_on_are_generalized_times():
    moment = datetime(2050, 1, 1, tzinfo=UTC)
    plan = replace(PLAN, this_update=moment, next_update=moment + timedelta(days=1))
    der = made(plan, entry(1, NOW), entry(2, moment))
    assert b"\x18\x0f20500101000000Z" in der
    assert judged(der, plan) == []
    early = entry(1, NOW).replace(b"\x17\x0d260301120000Z", b"\x18\x0f20260301120000Z")
    early = bytes((early[0], early[1] + 2)) + early[2:]
    assert judged(made(PLAN, early)) == ["crl.entry_time_form"]


def test_l07_unspecified_is_left_out_and_removal_stands_in_deltas_only():
    assert b"\x55\x1d\x15" not in entry(reason=Reason.UNSPECIFIED)
    removal = entry(reason=Reason.REMOVE_FROM_CRL)
    assert judged(made(PLAN, removal)) == ["crl.removal"]
    assert judged(made(PLANS["delta"], removal), PLANS["delta"]) == []
    for unused in (0, 7, 11):
        with pytest.raises(MalformedError):
            scanned(entry()[:-1] + bytes((unused,)))


def test_l08_what_was_revoked_after_the_list_is_found():
    assert judged(made(PLAN, entry(1), entry(2, NOW + timedelta(seconds=1)), entry(3))) == ["crl.revoked_later"]
    assert judged(made(PLAN, entry(1, NOW))) == []
    never = entry(1).replace(b"260301120000Z", b"261331120000Z")
    assert "crl.revoked_later" in judged(made(PLAN, never))


@pytest.mark.parametrize("apart", [1, 5000])
def test_l09_a_serial_that_stands_twice_is_found(apart):
    entries = [entry(number) for number in range(apart)]
    assert judged(made(PLAN, *entries)) == []
    again = entry(0, NOW - timedelta(days=1), Reason.UNSPECIFIED)  # with another time and no reason
    assert judged(made(PLAN, *entries, again)) == ["crl.duplicate"]


@given(st.lists(st.tuples(st.integers(1, 2**159 - 1), st.integers(0, 10), st.integers(0, 10**9)), max_size=30))
def test_entries_are_read_back_as_they_were_written(rows):
    entries = []
    for number, reason, seconds in rows:
        moment = NOW + timedelta(seconds=seconds)
        text = number.to_bytes((number.bit_length() + 7) // 8, "big").hex()
        entries.append(entry_der(text, moment, Reason(reason) if reason != 7 else Reason.UNSPECIFIED))
    octets = b"".join(entries)
    assert list(entries_in(reader_of(octets), len(octets))) == entries
    scan = scanned(*entries)
    assert scan.count == len(entries)
    assert scan.has_doubles == (len({row[0] for row in rows}) < len(rows))
    assert set(missing_serials(reader_of(octets), len(octets), scanned())) == {
        content[4 : 4 + content[3]] for content in entries
    }


@given(st.binary(max_size=300), st.integers(0, 200))
def test_what_is_no_list_of_entries_is_said_so(octets, at):
    entries = b"".join(entry(number) for number in range(4))
    spoiled = entries[:at] + octets + entries[at:]
    try:
        scan = scan_entries(reader_of(spoiled), len(spoiled))
    except MalformedError:
        return
    assert b"".join(entries_in(reader_of(spoiled), len(spoiled))) == spoiled
    assert scan.count >= 4


@given(st.binary(max_size=400))
def test_what_is_no_crl_is_said_so(octets):
    with pytest.raises(MalformedError):
        decode_crl(reader_of(octets), len(octets))


def test_every_cut_and_every_addition_is_seen():
    der = made(PLANS["shard"], entry(1), entry(2))
    for end in range(len(der)):
        with pytest.raises(MalformedError):
            decode_crl(reader_of(der[:end]), end)
    with pytest.raises(MalformedError):
        decode_crl(reader_of(der + b"\0"), len(der) + 1)


def test_an_extension_twice_unknown_or_not_in_der_is_no_list_of_ours():
    der = made()
    number = bytes.fromhex("300a0603551d140403020107")
    for other in (
        number + number,
        number.replace(b"\x55\x1d\x14", b"\x55\x1d\x15"),
        number.replace(b"\x02\x01\x07", b"\x02\x02\x07"),
    ):
        changed = der.replace(number, other)
        with pytest.raises(MalformedError):
            decode_crl(reader_of(changed), len(changed))


def test_long_lists_are_read_in_blocks_without_a_seam():
    entries = [entry(number, reason=Reason(number % 4)) for number in range(6000)]
    octets = b"".join(entries)
    scan = scan_entries(reader_of(octets), len(octets))
    assert (scan.count, scan.has_doubles, scan.reasons) == (6000, False, {1, 2, 3})
    tail = octets[scan.last_block :]
    assert octets.endswith(b"".join(entries_in(reader_of(tail), len(tail))))
    assert list(entries_in(reader_of(octets), len(octets))) == entries


def test_a_list_that_goes_on_and_one_that_lost_entries_are_told_apart():
    entries = [entry(number) for number in range(4000)]
    before, longer = b"".join(entries), b"".join([*entries, entry(9999)])
    shorter = b"".join(entries[:10] + entries[12:])
    assert is_continued((reader_of(before), len(before)), (reader_of(longer), len(longer)))
    assert not is_continued((reader_of(before), len(before)), (reader_of(shorter), len(shorter)))
    other = longer[:-60] + b"\0" + longer[-59:]
    assert not is_continued((reader_of(longer), len(longer)), (reader_of(other), len(other)))
    assert not list(missing_serials(reader_of(before), len(before), scanned(longer)))
    lost = [one.hex() for one in missing_serials(reader_of(before), len(before), scanned(shorter))]
    assert lost == [serial(10), serial(11)]


def test_a_signature_over_a_hash_is_verified_and_a_changed_one_is_not():
    digest = hashlib.sha256(b"message").digest()
    (signature,) = SIGNER.sign([b"message"])
    key = SIGNER.key.public_key()
    assert digest_signature_is_valid(key, KeyAlgorithm.SECP256R1, digest, signature)
    assert not digest_signature_is_valid(key, KeyAlgorithm.SECP256R1, bytes(32), signature)
    with pytest.raises(InvariantError):
        digest_signature_is_valid(MemorySigner(KeyAlgorithm.ED448).key.public_key(), KeyAlgorithm.ED448, digest, b"")


def test_the_public_linter_stops_what_it_does_not_like():
    backwards = replace(PLAN, next_update=NOW - timedelta(days=1))
    with pytest.raises(LintError, match="pkilint"):
        refuse_crl_findings(made(backwards))


def test_facts_of_what_is_no_certificate_are_refused():
    for octets in (b"", b"\x30\x00", made(), sequence(tlv(2, b"\1"))):
        with pytest.raises(MalformedError):
            read_facts(octets)
