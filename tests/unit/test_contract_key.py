"""Contract keys: made, wrapped and opened again; Ed448 keys and the X448 keys that belong to them."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x448
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from pki_core.model.contracts import AadForm
from pki_core.model.errors import MalformedError
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.contract_envelope import associated_data, unwrap_2, unwrap_20
from pki_core.wire.contract_key import NewContractKey, identity_of, scalar_of, vehicle_key_of, x448_of
from tests.builders import NOW, name, new_key, spki
from tests.contract_chains import PCID, chains
from tests.edwards448 import PRIME, D, public_octets

P256, P521, ED448 = KeyAlgorithm.SECP256R1, KeyAlgorithm.SECP521R1, KeyAlgorithm.ED448
SKI = bytes(range(8))


def test_a_key_for_the_first_edition_is_opened_by_its_vehicle_alone():
    vehicle, key = ec.generate_private_key(ec.SECP256R1()), NewContractKey(P256)
    assert spki(unwrap_2(key.wrapped_2(vehicle.public_key()), vehicle)) == key.spki_der


def test_a_key_for_the_twenty_edition_is_opened_by_its_vehicle_alone():
    vehicle, key = ec.generate_private_key(ec.SECP521R1()), NewContractKey(P521)
    envelope = key.wrapped_20(vehicle.public_key(), AadForm.PCID_SKI_HEX, PCID, SKI)
    opened = unwrap_20(envelope, vehicle, associated_data(AadForm.PCID_SKI_HEX, PCID, SKI))
    assert spki(opened) == key.spki_der


def test_an_ed448_key_is_wrapped_as_its_scalar_for_the_vehicles_image():
    vehicle, key = ed448.Ed448PrivateKey.generate(), NewContractKey(ED448)
    envelope = key.wrapped_20(x448_of(vehicle.public_key()), AadForm.NONE, PCID, SKI)
    opened = unwrap_20(envelope, scalar_of(vehicle), b"")
    own = load_der_public_key(key.spki_der)
    assert public_octets(int.from_bytes(opened.private_bytes_raw(), "little")) == own.public_bytes_raw()


def test_the_map_of_a_public_key_is_the_public_key_of_the_scalar():
    for _ in range(20):
        key = ed448.Ed448PrivateKey.generate()
        assert x448_of(key.public_key()).public_bytes_raw() == scalar_of(key).public_key().public_bytes_raw()


@pytest.mark.parametrize("algorithm", [P256, P521, ED448])
def test_a_vehicles_certificate_tells_who_it_is_and_what_to_agree_with(algorithm):
    oem = chains(algorithm).oem
    assert identity_of(oem.der) == (PCID, algorithm, spki(oem.key))
    agreed = vehicle_key_of(oem.der)
    assert isinstance(agreed, x448.X448PublicKey if algorithm is ED448 else ec.EllipticCurvePublicKey)


def test_an_x448_key_in_the_certificate_goes_before_the_image():
    other = x448.X448PrivateKey.generate().public_key()
    made = certificate_of(ed448.Ed448PrivateKey.generate().public_key(), other)
    assert vehicle_key_of(made).public_bytes_raw() == other.public_bytes_raw()


def certificate_of(key, alternative=None):
    """A vehicle's certificate, with an X448 key beside its own where one is given."""
    subject = name(("CN", PCID))
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key)
    builder = builder.serial_number(5).not_valid_before(NOW).not_valid_after(NOW.replace(year=NOW.year + 1))
    if alternative is not None:
        der = alternative.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.72"), der)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ed448.Ed448PrivateKey.generate(), None).public_bytes(Encoding.DER)


@pytest.mark.parametrize("u", [0, 1, PRIME - 1, PRIME, PRIME + 1])
def test_an_x448_key_with_which_no_secret_is_agreed_is_refused(u):
    small = x448.X448PublicKey.from_public_bytes(u.to_bytes(56, "little"))
    with pytest.raises(ValueError, match="shared key"):
        x448.X448PrivateKey.generate().exchange(small)
    with pytest.raises(MalformedError, match="small order"):
        vehicle_key_of(certificate_of(new_key(ED448).public_key(), small))


@pytest.mark.parametrize("y", [0, 1, PRIME - 1, PRIME, PRIME + 1])
def test_an_ed448_key_of_small_order_is_refused_and_has_no_image(y):
    small = ed448.Ed448PublicKey.from_public_bytes(y.to_bytes(57, "little"))
    with pytest.raises(MalformedError, match="can be guessed"):
        vehicle_key_of(certificate_of(small))
    with pytest.raises(MalformedError, match="small order"):
        x448_of(small)


def test_an_ed448_key_off_its_curve_is_refused():
    on_curve, refused = 0, 0
    for y in range(2, 22):
        key = ed448.Ed448PublicKey.from_public_bytes(y.to_bytes(57, "little"))
        x_squared = (y * y - 1) * pow(D * y * y - 1, -1, PRIME) % PRIME
        root = pow(x_squared, (PRIME + 1) // 4, PRIME)  # the prime is 3 modulo 4
        if root * root % PRIME == x_squared:
            on_curve += bool(vehicle_key_of(certificate_of(key)))
            continue
        with pytest.raises(MalformedError, match="no point of its curve"):
            vehicle_key_of(certificate_of(key))
        refused += 1
    assert min(on_curve, refused) > 0


def test_a_key_whose_private_half_everybody_knows_is_refused():
    with pytest.raises(MalformedError, match="can be guessed"):
        vehicle_key_of(certificate_of(ec.derive_private_key(2, ec.SECP256R1()).public_key()))


@pytest.mark.parametrize("reader", [vehicle_key_of, identity_of])
def test_what_is_no_certificate_is_refused(reader):
    with pytest.raises(MalformedError):
        reader(b"nonsense")
    assert new_key()
