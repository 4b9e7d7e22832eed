"""The OCSP parser: whatever comes in is read or malformed; two libraries that are not ours agree on what is read."""

from asn1crypto import ocsp as asn1_ocsp
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pki_core.model.errors import MalformedError
from pki_core.wire.ocsp_request import parse_request
from tests.builders import MemorySigner, issuer_record
from tests.ocsp_forms import certificate_id, extension, nonce, request, single

ISSUER = issuer_record(MemorySigner())
NAMES = st.sampled_from(["sha1", "sha256", "sha384", "sha512"])
SERIALS = st.integers(min_value=1, max_value=(1 << 159) - 1)
IDS = st.builds(lambda serial, name: certificate_id(ISSUER, serial, name), SERIALS, NAMES)
UNKNOWN = st.builds(
    lambda number, value: extension(f"1.2.3.{number}", value), st.integers(0, 200), st.binary(max_size=50)
)
NONCES = st.binary(min_size=1, max_size=128).map(nonce)
REQUESTS = st.builds(
    lambda ids, extra, own: request(requests=[single(one, *own) for one in ids], extensions=extra),
    st.lists(IDS, min_size=1, max_size=5),
    st.one_of(st.just([]), st.builds(lambda one, two: [one, two], NONCES, UNKNOWN), NONCES.map(lambda one: [one])),
    st.lists(UNKNOWN, max_size=1),
)
SAMPLE = request(certificate_id(ISSUER, 1234567), extensions=[nonce(b"x" * 16)])


def read(der):
    try:
        return parse_request(der, 10)
    except MalformedError:
        return None


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_malformed(octets):
    read(octets)


@settings(max_examples=500)
@given(st.data())
def test_a_request_with_anything_changed_in_it_is_read_or_malformed(data):
    der = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(der) - 1))
        act = data.draw(st.sampled_from(["set", "cut", "put"]))
        if act == "set":
            der[place] = data.draw(st.integers(0, 255))
        elif act == "cut":
            del der[place : place + data.draw(st.integers(1, 9))]
        else:
            der[place:place] = data.draw(st.binary(min_size=1, max_size=9))
        if not der:
            break
    agree(bytes(der))


@given(REQUESTS)
def test_what_is_well_formed_is_read(der):
    found = read(der)
    assert found is not None
    parsed = asn1_ocsp.OCSPRequest.load(der, strict=True)["tbs_request"]["request_list"]
    assert [one.der for one in found.certificate_ids] == [one["req_cert"].dump() for one in parsed]
    assert [int(one.serial, 16) for one in found.certificate_ids] == [
        one["req_cert"]["serial_number"].native for one in parsed
    ]
    agree(der)


@given(st.integers(-(1 << 200), 1 << 200))
@example(0)
@example(-1)
@example(1 << 159)
def test_any_serial_is_read(serial):
    text = read(request(certificate_id(ISSUER, serial))).certificate_ids[0].serial
    assert text == "" if not 0 <= serial < 1 << 159 else int(text, 16) == serial


def agree(der):
    """What we read, both libraries read as the same; they may read more."""
    found = read(der)
    if found is None:
        return
    mine = found.certificate_ids
    theirs = asn1_ocsp.OCSPRequest.load(der, strict=True)["tbs_request"]["request_list"]
    assert [one.der for one in mine] == [one["req_cert"].contents and one["req_cert"].dump() for one in theirs]
    if len(mine) > 1 or not mine[0].hash_algorithm:
        return
    try:
        other = ocsp.load_der_ocsp_request(der)
        name = other.hash_algorithm.name
    except (ValueError, UnsupportedAlgorithm):  # what it finds wrong lies in parts we step over
        return
    assert name == mine[0].hash_algorithm
    assert (other.issuer_name_hash, other.issuer_key_hash) == (mine[0].issuer_name_hash, mine[0].issuer_key_hash)
    if mine[0].serial:
        assert other.serial_number == int(mine[0].serial, 16)
    assert other.public_bytes(Encoding.DER) == der
