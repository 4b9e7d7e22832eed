"""Contract data that no vehicle or station could use is refused with words, before a key of ours is touched."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.contracts import CertificateChain
from pki_core.model.pools import Namespace, RootKind
from pki_core.wire.contract_data import answer_2, encode_message, sign_message
from tests.builders import MemorySigner, name, new_key
from tests.contract_chains import issue
from tests.journeys.contract_acts import ED448, EMAID, P256, P521, PCID
from tests.journeys.contract_rest_acts import MSG_20, SIGN, own_body, own_data
from tests.journeys.pool_acts import der as der_of
from tests.journeys.pool_acts import emaids, foreign_ca
from tests.journeys.rest_acts import CCP, b64

pytest_plugins = ["tests.journeys.rest_environments"]
USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
KEYS = {
    "P-521": lambda: new_key(P521),
    "Ed448": lambda: new_key(ED448),
    "RSA-1024": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  # what has to be refused
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "the key that is 1": lambda: ec.derive_private_key(1, ec.SECP256R1()),
}


class NoKeys:
    """A token that nobody may reach."""

    def __getattr__(self, name):
        raise AssertionError(f"the token was asked: {name}")


@pytest.fixture
def keyless(api):
    """The provisioning service has no key: what is refused was refused before it would be used."""
    api.runtime.key_store.close()
    api.runtime.contracts.signers._bound.clear()
    api.runtime.contracts.signers._key_store = NoKeys


def leaf_with(ca, *extensions, key=None):
    """A contract certificate of an operator's own with these extensions, each with whether it is critical."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(("O", "Foreign Ltd"), ("CN", EMAID)))
        .issuer_name(ca.sub2.certificate.subject)
        .public_key((key or new_key()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ca.moment - timedelta(hours=1))
        .not_valid_after(ca.moment + timedelta(days=700))
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(ca.sub2.key, hashes.SHA256()).public_bytes(Encoding.DER)


def wide_ca(api):
    """A CA of an operator whose certificates are as long as their names."""
    root = issue("w" * 64, new_key(), lifetime=timedelta(days=365 * 40))
    api.runtime.pools.roots.add(root.der, RootKind.MO, by="alice", evidence="read over the telephone")
    sub1 = issue("v" * 64, new_key(), root)
    return SimpleNamespace(sub1=sub1, sub2=issue("u" * 64, new_key(), sub1), moment=api.runtime.clock.now())


def usage(*names):
    return x509.KeyUsage(*(one in names for one in USAGES)), True


def filler(octets, *, is_critical=False):
    value = b"\x04\x82" + (octets - 4).to_bytes(2) + bytes(octets - 4)
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), value), is_critical


@pytest.mark.usefixtures("keyless")
def test_a_key_of_another_edition_or_none_of_iso_15118_is_not_signed_for(api, garage):
    ca, _, envelope = own_data(api, garage.build())
    known = ("with this dHpublickey it is", "not used in", "not one ISO", "guessed")
    for kind, make in KEYS.items():
        body = own_body(ca, ca.leaf(EMAID, make()), envelope, pcid=PCID)
        status, words = api.refused("mo", "PUT", SIGN, json=body)
        assert (status, sum(one in words for one in known)) == (400, 1), kind
    assert emaids(api.runtime) == []


@pytest.mark.usefixtures("keyless")
def test_a_certificate_for_something_else_is_not_signed_for(api, garage):
    ca, _, envelope = own_data(api, garage.build())
    for extension, words in (
        (usage("key_cert_sign", "crl_sign", "digital_signature"), "the key usage of a CA"),
        (usage("key_agreement"), "lacks digitalSignature"),
        (filler(40, is_critical=True), "critical extensions that vehicles do not know: 1.2.3.4"),
    ):
        said = api.refused("mo", "PUT", SIGN, json=own_body(ca, leaf_with(ca, extension), envelope, pcid=PCID))
        assert (said[0], words in said[1]) == (400, True), said


def test_a_certificate_as_annex_f_has_it_is_signed_for(api, garage):
    ca, _, envelope = own_data(api, garage.build())
    extensions = (
        usage("digital_signature", "content_commitment", "key_encipherment", "key_agreement"),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        filler(40),
    )
    api.good("mo", "PUT", SIGN, 201, json=own_body(ca, leaf_with(ca, *extensions), envelope))


@pytest.mark.usefixtures("keyless")
def test_a_public_key_off_its_curve_is_not_signed_for(api):
    ca = foreign_ca(api.runtime)
    for point, algorithm, namespace in (
        (b"\4" + bytes(64), P256, Namespace.ISO_2_2013.urn),
        (bytes(65), P256, Namespace.ISO_2_2013.urn),
        (b"\4" + bytes(132), P521, MSG_20),
        (bytes(56), ED448, MSG_20),  # of small order: every secret is the same
    ):
        body = own_body(ca, ca.leaf(EMAID, new_key(algorithm)), _Envelope(point), xsdMsgDefNamespace=namespace)
        said = api.refused("mo", "PUT", SIGN, json=body)
        assert said == (400, "dHpublickey is no point of its curve, or one of small order"), point


class _Envelope:
    """A wrapped key of the right length with a point that is none."""

    def __init__(self, point):
        self.dh_public_key = point
        self.encrypted_private_key = bytes({65: 48, 133: 94, 56: 84}[len(point)])


@pytest.mark.usefixtures("keyless")
def test_certificates_longer_than_an_edition_allows_are_not_signed_for(api, garage):
    ca, _, envelope = own_data(api, garage.build())
    leaf_der = leaf_with(ca, filler(500))
    words = f"contractCertificate has {len(leaf_der)} octets; this edition of ISO 15118 allows 800"
    assert api.refused("mo", "PUT", SIGN, json=own_body(ca, leaf_der, envelope)) == (400, words)
    body = own_body(ca, leaf_with(ca, filler(1300), key=new_key(P521)), _Envelope(p521_point()))
    body["xsdMsgDefNamespace"] = MSG_20
    assert "allows 1600" in api.refused("mo", "PUT", SIGN, json=body)[1]


def p521_point():
    numbers = new_key(P521).public_key().public_numbers()
    return b"\4" + numbers.x.to_bytes(66) + numbers.y.to_bytes(66)


@pytest.mark.usefixtures("keyless")
def test_an_answer_that_no_station_carries_is_not_signed_and_the_sum_is_told(api, garage):
    _, _, envelope = own_data(api, garage.build())
    wide = wide_ca(api)
    leaf_der = leaf_with(wide, filler(340))
    said = api.refused("mo", "PUT", SIGN, json=own_body(wide, leaf_der, envelope))
    assert said[0] == 400
    assert f"(contractCertificate {len(leaf_der)}, contractSubCa2Certificate " in said[1]
    assert "at most 5600 characters, not 5" in said[1]


@pytest.mark.parametrize(
    ("octets", "words"), [(340, "at most 5600 characters, not 5"), (500, "contractCertificate has")]
)
def test_data_of_other_services_that_no_station_carries_is_not_taken_in(api, garage, octets, words):
    wide = "w" * 60
    _, _, envelope = own_data(api, garage.build())
    ca = wide_ca(api)
    root = issue(wide + "root", new_key(), lifetime=timedelta(days=365 * 40))
    api.runtime.pools.roots.add(root.der, RootKind.V2G, by="alice", evidence="read over the telephone")
    sub2 = issue(wide + "2", new_key(), issue(wide + "1", new_key(), root))
    cps = issue(wide, new_key(), sub2, "CPS", is_ca=False)
    chain = CertificateChain(
        certificate_der=leaf_with(ca, filler(octets)), sub_certificates_der=(der_of(ca.sub2), der_of(ca.sub1))
    )
    signer = MemorySigner(P256)
    signer.key = cps.key
    exi = encode_message(sign_message(answer_2(cps.chain(), chain, envelope, EMAID), signer))
    assert octets > 400 or len(b64(exi)) > 5600
    said = api.refused("cps", "PUT", CCP, json={"emaid": EMAID, "pcid": PCID, "signedContractDataXML": b64(exi)})
    assert (said[0], words in said[1]) == (400, True), said
