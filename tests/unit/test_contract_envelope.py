"""The key envelope: recorded values, lengths, leading zeros, and everything a vehicle has to refuse."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x448

from pki_core.model.contracts import AadForm, KeyEnvelope
from pki_core.model.errors import InvariantError, MalformedError, RequestError
from pki_core.wire import contract_envelope
from pki_core.wire.contract_envelope import associated_data, unwrap_2, unwrap_20, wrap_2, wrap_20

VECTORS = Path(__file__).parents[1] / "vectors"
GOLDEN_2 = json.loads((VECTORS / "contract_data_2.json").read_text(encoding="utf-8"))
GOLDEN_20 = json.loads((VECTORS / "contract_data_20.json").read_text(encoding="utf-8"))
CURVES = {"2": ec.SECP256R1(), "20": ec.SECP521R1()}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def golden_key(golden, name, curve):
    return ec.derive_private_key(int(golden["keys"][name]["private_scalar_hex"], 16), curve)


def scalar(key):
    return key.private_numbers().private_value


def fixed(monkeypatch, ephemeral, iv):
    """Let the next wrapping use this ephemeral key and this IV."""
    monkeypatch.setattr(contract_envelope.secrets, "token_bytes", lambda octets: bytes.fromhex(iv)[:octets])
    monkeypatch.setattr(contract_envelope.ec, "generate_private_key", lambda _curve: ephemeral)


def test_the_recorded_envelope_of_edition_2_is_made_and_opened(monkeypatch):
    curve = CURVES["2"]
    contract, vehicle = golden_key(GOLDEN_2, "contract", curve), golden_key(GOLDEN_2, "oem", curve)
    fixed(monkeypatch, golden_key(GOLDEN_2, "eph", curve), GOLDEN_2["iv"])
    envelope = wrap_2(contract, vehicle.public_key())
    assert envelope.dh_public_key.hex() == GOLDEN_2["dh_public"]
    assert envelope.encrypted_private_key.hex() == GOLDEN_2["enc_private_key"]
    assert scalar(unwrap_2(envelope, vehicle)) == scalar(contract)


def test_the_recorded_envelope_of_p521_is_made_and_opened(monkeypatch):
    curve, golden = CURVES["20"], GOLDEN_20["secp521r1"]
    contract, vehicle = golden_key(GOLDEN_20, "contract", curve), golden_key(GOLDEN_20, "oem", curve)
    fixed(monkeypatch, golden_key(GOLDEN_20, "eph", curve), golden["iv"])
    key_identifier = bytes.fromhex(GOLDEN_20["keys"]["contract"]["ski"])
    bound_to = associated_data(AadForm.PCID_SKI_HEX, GOLDEN_20["pcid"], key_identifier)
    assert bound_to.decode() == golden["aad"]
    envelope = wrap_20(contract, vehicle.public_key(), bound_to)
    assert envelope.dh_public_key.hex() == golden["dh_public"]
    assert envelope.encrypted_private_key.hex() == golden["enc_private_key"]
    assert scalar(unwrap_20(envelope, vehicle, bound_to)) == scalar(contract)


def test_the_recorded_envelope_of_x448_is_made_and_opened(monkeypatch):
    golden = GOLDEN_20["x448"]
    ephemeral, vehicle, contract = (
        x448.X448PrivateKey.from_private_bytes(bytes.fromhex(golden[name]))
        for name in ("eph_private", "oem_private", "plaintext_56")
    )

    monkeypatch.setattr(contract_envelope.secrets, "token_bytes", lambda _octets: bytes.fromhex(golden["iv"]))
    monkeypatch.setattr(x448.X448PrivateKey, "generate", staticmethod(lambda: ephemeral))
    envelope = wrap_20(contract, vehicle.public_key(), golden["aad"].encode())
    assert envelope.dh_public_key.hex() == golden["eph_public"]
    assert envelope.encrypted_private_key.hex() == golden["enc_private_key"]
    opened = unwrap_20(envelope, vehicle, golden["aad"].encode())
    assert opened.private_bytes_raw().hex() == golden["plaintext_56"]


@pytest.mark.parametrize("value", [1, 0xFF, 1 << 240, P256_ORDER - 1])
def test_leading_zeros_of_a_p256_key_are_kept(value):
    contract, vehicle = ec.derive_private_key(value, CURVES["2"]), ec.generate_private_key(CURVES["2"])
    envelope = wrap_2(contract, vehicle.public_key())
    assert (len(envelope.encrypted_private_key), len(envelope.dh_public_key)) == (48, 65)
    assert scalar(unwrap_2(envelope, vehicle)) == value


@pytest.mark.parametrize("value", [1, 1 << 500])
def test_leading_zeros_of_a_p521_key_are_kept(value):
    contract, vehicle = ec.derive_private_key(value, CURVES["20"]), ec.generate_private_key(CURVES["20"])
    envelope = wrap_20(contract, vehicle.public_key(), b"")
    assert (len(envelope.encrypted_private_key), len(envelope.dh_public_key)) == (94, 133)
    assert scalar(unwrap_20(envelope, vehicle, b"")) == value


def test_no_two_envelopes_share_a_key_or_an_iv():
    contract, vehicle = (ec.generate_private_key(CURVES["2"]) for _ in range(2))
    envelopes = [wrap_2(contract, vehicle.public_key()) for _ in range(20)]
    assert len({envelope.dh_public_key for envelope in envelopes}) == 20
    assert len({envelope.encrypted_private_key[:16] for envelope in envelopes}) == 20


def test_the_data_a_key_is_bound_to_has_three_readings():
    ski = bytes.fromhex("4b11b56a7dba9efa")
    assert associated_data(AadForm.PCID_SKI_HEX, "wvwTEST20260000171", ski) == b"WVWTEST202600001714B11B56A7DBA9EFA"
    assert associated_data(AadForm.PCID_SKI_RAW, "wvwTEST20260000171", ski) == b"WVWTEST20260000171" + ski
    assert associated_data(AadForm.NONE, "wvwTEST20260000171", ski) == b""


def test_any_change_to_an_envelope_of_edition_20_is_noticed():
    contract, vehicle = (ec.generate_private_key(CURVES["20"]) for _ in range(2))
    envelope = wrap_20(contract, vehicle.public_key(), b"bound")
    for place in (0, 12, 77, 78, 93):
        octets = bytearray(envelope.encrypted_private_key)
        octets[place] ^= 1
        changed = KeyEnvelope(dh_public_key=envelope.dh_public_key, encrypted_private_key=bytes(octets))
        with pytest.raises(MalformedError, match="was changed"):
            unwrap_20(changed, vehicle, b"bound")


@pytest.mark.parametrize("octets", [0, 47, 49, 94])
def test_an_envelope_of_another_length_is_malformed(octets):
    vehicle_2, vehicle_20 = ec.generate_private_key(CURVES["2"]), ec.generate_private_key(CURVES["20"])
    envelope = KeyEnvelope(dh_public_key=bytes(65), encrypted_private_key=bytes(octets))
    with pytest.raises(MalformedError):
        unwrap_2(envelope, vehicle_2)
    with pytest.raises(MalformedError):
        unwrap_20(envelope, vehicle_20, b"")


@pytest.mark.parametrize("point", [b"", b"\4", b"\4" + bytes(64), b"\2" + bytes(32), b"\0", bytes(65)])
def test_a_point_off_the_curve_is_malformed(point):
    vehicle = ec.generate_private_key(CURVES["2"])
    with pytest.raises(MalformedError, match="DH public key"):
        unwrap_2(KeyEnvelope(dh_public_key=point, encrypted_private_key=bytes(48)), vehicle)


def test_a_compressed_point_is_malformed_although_it_is_on_the_curve():
    contract, vehicle = (ec.generate_private_key(CURVES["2"]) for _ in range(2))
    envelope = wrap_2(contract, vehicle.public_key())
    compressed = bytes((2 + (envelope.dh_public_key[-1] & 1),)) + envelope.dh_public_key[1:33]
    with pytest.raises(MalformedError, match="uncompressed"):
        unwrap_2(KeyEnvelope(dh_public_key=compressed, encrypted_private_key=bytes(48)), vehicle)


def test_x448_points_of_small_order_agree_on_nothing():
    vehicle = x448.X448PrivateKey.generate()
    with pytest.raises(MalformedError):
        unwrap_20(KeyEnvelope(dh_public_key=bytes(56), encrypted_private_key=bytes(84)), vehicle, b"")
    small = x448.X448PublicKey.from_public_bytes(bytes(56))
    with pytest.raises(RequestError, match="small order"):
        wrap_20(x448.X448PrivateKey.generate(), small, b"")


@pytest.mark.parametrize("curve", [ec.SECP521R1(), ec.SECP384R1()])
def test_edition_2_knows_p256_only(curve):
    good, other = ec.generate_private_key(CURVES["2"]), ec.generate_private_key(curve)
    with pytest.raises(RequestError, match="vehicle's key is not of the curve secp256r1"):
        wrap_2(good, other.public_key())
    with pytest.raises(InvariantError, match="contract's key is not of the curve secp256r1"):
        wrap_2(other, good.public_key())


def test_edition_20_wraps_a_key_for_a_vehicle_of_its_own_kind():
    p521, p256 = ec.generate_private_key(CURVES["20"]), ec.generate_private_key(CURVES["2"])
    x, ed = x448.X448PrivateKey.generate(), ed448.Ed448PrivateKey.generate()
    with pytest.raises(RequestError, match="secp521r1"):
        wrap_20(p521, p256.public_key(), b"")
    for key, vehicle in ((p256, p521), (x, p521), (p521, x), (ed, x), (ed, p521)):
        with pytest.raises(InvariantError):
            wrap_20(key, vehicle.public_key(), b"")


def test_nothing_of_a_private_key_is_shown():
    contract, vehicle = (ec.generate_private_key(CURVES["2"]) for _ in range(2))
    secret = f"{scalar(contract):064x}"
    shown = repr(wrap_2(contract, vehicle.public_key()))
    with pytest.raises(InvariantError) as caught:
        wrap_20(contract, ec.generate_private_key(CURVES["20"]).public_key(), b"")
    assert secret not in shown + repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None
