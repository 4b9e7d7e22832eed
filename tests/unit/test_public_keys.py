"""Public keys: three kinds in their one usual encoding; weak and malformed ones are refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki_core.model.errors import CsrRejectedError
from pki_core.model.signer import KeyAlgorithm
from pki_core.services.enroll import prove_possession
from pki_core.wire.csr import parse_csr
from pki_core.wire.public_key import load_public_key, refuse_weak_key
from tests.builders import (
    BIT_STRING,
    INTEGER,
    OCTET_STRING,
    elements_of,
    new_key,
    profile,
    raw_csr,
    request,
    sequence,
    some_key,
    spki,
    tlv,
)

EC_KEY = bytes.fromhex("06072a8648ce3d0201")
P256 = bytes.fromhex("06082a8648ce3d030107")
ED448_PRIME = 2**448 - 2**224 - 1


def refusal(work, *arguments):
    with pytest.raises(CsrRejectedError) as caught:
        work(*arguments)
    assert caught.value.code == "csr.rejected"
    assert str(caught.value).endswith(".")  # one plain sentence
    return caught.value.reason


def ec_spki(point, parameters=P256):
    return sequence(sequence(EC_KEY, parameters), tlv(BIT_STRING, b"\0" + point))


def ed448_spki(y, sign_bit=0):
    point = y.to_bytes(56, "little") + bytes((sign_bit,))
    return sequence(sequence(bytes.fromhex("06032b6571")), tlv(BIT_STRING, b"\0" + point))


def point_of(key, form):
    return key.public_key().public_bytes(Encoding.X962, form)


KEY = some_key()
NUMBERS = KEY.public_key().public_numbers()
COORDINATES = point_of(KEY, PublicFormat.UncompressedPoint)[1:]
EXPLICIT_P256 = sequence(  # SEC 1 C.2: SpecifiedECDomain of P-256 itself
    tlv(INTEGER, b"\x01"),
    sequence(
        bytes.fromhex("06072a8648ce3d0101"),
        tlv(INTEGER, b"\0" + (2**256 - 2**224 + 2**192 + 2**96 - 1).to_bytes(32, "big")),
    ),
    sequence(
        tlv(OCTET_STRING, (2**256 - 2**224 + 2**192 + 2**96 - 4).to_bytes(32, "big")),
        tlv(OCTET_STRING, bytes.fromhex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b")),
        tlv(BIT_STRING, b"\0" + bytes.fromhex("c49d360886e704936a6678e1139d26b7819f7e90")),
    ),
    tlv(
        OCTET_STRING,
        bytes.fromhex(
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        ),
    ),
    tlv(INTEGER, b"\0" + bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")),
    tlv(INTEGER, b"\x01"),
)
BAD_POINTS = {
    "off the curve": ec_spki(b"\x04" + COORDINATES[:-1] + bytes((COORDINATES[-1] ^ 1,))),
    "at infinity": ec_spki(b"\0"),
    "at zero": ec_spki(b"\x04" + bytes(64)),
    "beyond the field": ec_spki(b"\x04" + b"\xff" * 64),
    "cut off": ec_spki(b"\x04" + COORDINATES[:-1]),
    "empty": ec_spki(b""),
    "compressed": ec_spki(point_of(KEY, PublicFormat.CompressedPoint)),
    "hybrid": ec_spki(bytes((6 + NUMBERS.y % 2,)) + COORDINATES),
    "under explicit parameters": ec_spki(b"\x04" + COORDINATES, EXPLICIT_P256),
    "without parameters": ec_spki(b"\x04" + COORDINATES, b""),
    "in a SEQUENCE with more behind it": spki(KEY) + b"\0",
    "of Ed448 in 56 octets": sequence(sequence(bytes.fromhex("06032b6571")), tlv(BIT_STRING, bytes(57))),
}


@pytest.mark.parametrize("spki_der", BAD_POINTS.values(), ids=BAD_POINTS)
def test_only_a_point_in_its_one_usual_encoding_is_a_key(spki_der):
    assert refusal(load_public_key, spki_der) == "key.invalid"


OTHER_KEYS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "X448": x448.X448PrivateKey.generate,
}


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_keys_of_other_kinds_are_refused(kind):
    assert refusal(load_public_key, spki(OTHER_KEYS[kind]())) == "key.type_not_allowed"


@pytest.mark.parametrize("kind", ["RSA", "P-384"])
def test_a_request_for_a_key_of_another_kind_is_refused_by_its_kind(kind):
    parsed = request(key=OTHER_KEYS[kind]())
    assert refusal(prove_possession, parsed, profile()) == "key.type_not_allowed"


@pytest.mark.parametrize(
    ("algorithm", "profile_name"),
    [
        (KeyAlgorithm.SECP521R1, "contract_leaf"),
        (KeyAlgorithm.ED448, "contract_leaf"),
        (KeyAlgorithm.SECP256R1, "contract_leaf_20"),
        (KeyAlgorithm.ED448, "contract_leaf_20"),
        (KeyAlgorithm.SECP521R1, "contract_leaf_20_ed448"),
    ],
)
def test_a_key_of_another_edition_is_refused(algorithm, profile_name):
    parsed = request(key=some_key(algorithm))
    assert refusal(prove_possession, parsed, profile(profile_name)) == "key.type_not_allowed"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP521R1()], ids=["P-256", "P-521"])
@pytest.mark.parametrize("scalar", [1, 2, 7, 32])
def test_a_private_key_anybody_can_guess_is_weak(curve, scalar):
    key = ec.derive_private_key(scalar, curve)
    algorithm, _ = load_public_key(spki(key))
    assert refusal(refuse_weak_key, algorithm, spki(key)) == "key.weak"


ORDERS = {  # FIPS 186-4 D.1.2.3 and D.1.2.5
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp521r1": (1 << 521) - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
}


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP521R1()], ids=["P-256", "P-521"])
@pytest.mark.parametrize("scalar", [1, 32])
def test_the_negative_of_a_private_key_anybody_can_guess_is_weak(curve, scalar):
    key = ec.derive_private_key(ORDERS[curve.name] - scalar, curve)
    algorithm, _ = load_public_key(spki(key))
    assert refusal(refuse_weak_key, algorithm, spki(key)) == "key.weak"


@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.parametrize(
    "y", [0, 1, ED448_PRIME - 1, ED448_PRIME, ED448_PRIME + 1], ids=["0", "1", "-1", "0 + p", "1 + p"]
)
def test_an_ed448_point_of_small_order_is_refused(y, sign_bit):
    # such a key verifies signatures that nobody's private key made
    assert refusal(refuse_weak_key, KeyAlgorithm.ED448, ed448_spki(y, sign_bit)) == "key.weak"


def test_a_forged_proof_under_a_point_of_small_order_is_refused():
    body = elements_of(raw_csr(spki=ed448_spki(0)))[0]
    forged = bytes(57 + 57)  # R = the point itself, S = 0
    csr_der = sequence(body, bytes.fromhex("300506032b6571"), tlv(BIT_STRING, b"\0" + forged))
    parsed = parse_csr("row-1", csr_der)
    assert refusal(prove_possession, parsed, profile("contract_leaf_20_ed448")) == "key.weak"


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_random_key_is_not_weak(algorithm):
    refuse_weak_key(algorithm, spki(new_key(algorithm)))
