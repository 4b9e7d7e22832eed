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
from tests.edwards448 import public_octets

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
    key, other = ed448.Ed448PrivateKey.generate(), x448.X448PrivateKey.generate()
    der = other.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    alternative = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.72"), der)
    subject = name(("CN", PCID))
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(5).not_valid_before(NOW).not_valid_after(NOW.replace(year=NOW.year + 1))
    made = builder.add_extension(alternative, critical=False).sign(key, None).public_bytes(Encoding.DER)
    assert vehicle_key_of(made).public_bytes_raw() == other.public_key().public_bytes_raw()


@pytest.mark.parametrize("reader", [vehicle_key_of, identity_of])
def test_what_is_no_certificate_is_refused(reader):
    with pytest.raises(MalformedError):
        reader(b"nonsense")
    assert new_key()
