"""EXI under any input: a typed message or MalformedError, and what is read is written back bit by bit."""

import base64
import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pki_core.model.errors import MalformedError
from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import decode_message, encode_message, signed_parts
from pki_core.wire.exi_bits import BitReader
from tests.contract_messages import messages_2, messages_20

patient = settings(deadline=None)
VECTORS = Path(__file__).parents[1] / "vectors"
GOLDEN_2 = json.loads((VECTORS / "contract_data_2.json").read_text(encoding="utf-8"))
GOLDEN_20 = json.loads((VECTORS / "contract_data_20.json").read_text(encoding="utf-8"))
KNOWN = [
    (Edition.ISO_2, base64.b64decode(GOLDEN_2["req_exi_b64"])),
    (Edition.ISO_2, base64.b64decode(GOLDEN_2["res_exi_b64"])),
    (Edition.ISO_20, base64.b64decode(GOLDEN_20["res_exi_b64"])),
]
# The first bits of each kind of message, so that random octets get beyond the header.
STARTS = [(Edition.ISO_2, "8098"), (Edition.ISO_2, "80980200"), (Edition.ISO_20, "801c"), (Edition.ISO_20, "8020")]


class ReferredToAStringError(Exception):
    """The stream names a string that was there before."""


@pytest.fixture
def without_string_references(monkeypatch):
    def refuse(*_arguments):
        raise ReferredToAStringError

    monkeypatch.setattr(BitReader, "_earlier", refuse)


def read_or_refuse(edition, exi):
    """A message that reads the same when it was written again, or None."""
    try:
        message = decode_message(edition, exi)
    except MalformedError:
        return None
    assert decode_message(edition, encode_message(message)) == message
    return message


def must_be_the_only_form(edition, exi):
    """What is read without references to strings is written back bit by bit: no message has two forms."""
    try:
        message = decode_message(edition, exi)
    except (MalformedError, ReferredToAStringError):
        return
    assert encode_message(message) == exi


@patient
@given(st.sampled_from(list(Edition)), st.binary(max_size=300))
@example(Edition.ISO_2, b"")
@example(Edition.ISO_2, b"\x80")
@example(Edition.ISO_20, b"\xff" * 300)
def test_any_octets_are_a_message_or_malformed(edition, octets):
    read_or_refuse(edition, octets)


@patient
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_any_octets_behind_a_good_start_are_a_message_or_malformed(start, octets):
    read_or_refuse(start[0], bytes.fromhex(start[1]) + octets)


@patient
@given(st.sampled_from(KNOWN), st.data())
def test_a_message_with_bits_changed_is_another_message_or_malformed(known, data):
    edition, exi = known
    value = int.from_bytes(exi)
    for _ in range(data.draw(st.integers(1, 3))):
        value ^= 1 << data.draw(st.integers(0, 8 * len(exi) - 1))
    read_or_refuse(edition, value.to_bytes(len(exi)))


@patient
@given(st.sampled_from(KNOWN), st.data())
def test_a_message_with_octets_cut_out_or_put_in_is_another_or_malformed(known, data):
    edition, exi = known
    start = data.draw(st.integers(0, len(exi)))
    end = data.draw(st.integers(start, len(exi)))
    read_or_refuse(edition, exi[:start] + data.draw(st.binary(max_size=8)) + exi[end:])


@pytest.mark.usefixtures("without_string_references")
@pytest.mark.parametrize(("edition", "exi"), KNOWN, ids=["request-2", "response-2", "response-20"])
def test_no_single_bit_can_be_changed_unnoticed(edition, exi):
    """Each of the first bits, and a sample of the rest, changed alone: another message, or none."""
    original, value = decode_message(edition, exi), int.from_bytes(exi)
    bits = 8 * len(exi)
    for place in (*range(500), *range(500, bits, 61), *range(bits - 40, bits)):
        changed = (value ^ 1 << bits - 1 - place).to_bytes(len(exi))
        must_be_the_only_form(edition, changed)
        try:
            assert decode_message(edition, changed) != original
        except (MalformedError, ReferredToAStringError):
            continue


@patient
@given(messages_2)
def test_any_message_of_edition_2_is_read_back(message):
    exi = encode_message(message)
    assert decode_message(Edition.ISO_2, exi) == message
    assert len(exi) <= 16 * 1024


@patient
@given(messages_20)
def test_any_message_of_edition_20_is_read_back(message):
    assert decode_message(Edition.ISO_20, encode_message(message)) == message


@patient
@given(messages_2 | messages_20)
def test_what_is_signed_tells_messages_apart_or_has_no_ids(message):
    try:
        parts = signed_parts(message)
    except MalformedError:
        return
    assert all(part[0] == 0x80 for part in parts.values())


@patient
@given(st.sampled_from(STARTS), st.integers(0, 255), st.integers(1, 40))
def test_reading_takes_no_longer_than_the_octets_allow(start, octet, count):
    """The costliest streams known: long runs of one octet, up to the limit on a message."""
    exi = (bytes.fromhex(start[1]) + bytes((octet,)) * (count * 400))[: 16 * 1024]
    began = time.thread_time()
    read_or_refuse(start[0], exi)
    assert time.thread_time() - began < 0.5


@pytest.mark.soak
@settings(deadline=None, max_examples=200_000)
@given(st.sampled_from(KNOWN), st.data())
def test_a_long_run_of_changed_messages(known, data):
    edition, exi = known
    value = int.from_bytes(exi)
    for _ in range(data.draw(st.integers(1, 12))):
        value ^= data.draw(st.integers(1, 255)) << data.draw(st.integers(0, 8 * len(exi) - 8))
    read_or_refuse(edition, value.to_bytes(len(exi)))
