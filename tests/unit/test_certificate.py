"""Certificates, octet for octet against an oracle: what cryptography's CertificateBuilder makes of the same."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from pki_core.issuance.issuer import PLACEHOLDER_SIGNATURE
from pki_core.model.errors import MalformedError
from pki_core.model.signer import KeyAlgorithm
from pki_core.wire.certificate import (
    LARGEST_SIGNATURE,
    SIGNATURE_ALGORITHM_DER,
    CertificateTemplate,
    IssuerNames,
    assemble,
    carries,
    key_identifier_of,
    name_der,
    signature_is_valid,
    signature_of,
    signed_bytes_of,
)
from pki_core.wire.certificate_text import subject_text
from tests.builders import (
    EMAID,
    NOW,
    SIGNATURE_HASH,
    content_of,
    elements_of,
    issuer_name,
    name,
    new_key,
    profile,
    sign,
    some_key,
    spki,
)

SERIAL = 0x01_FEDCBA9876543210_FEDCBA9876543210_77
ISSUER_KEY_IDENTIFIER = bytes.fromhex("4123456789abcdef")
OTHER_KEY = new_key()
TWO_YEARS = NOW, NOW + timedelta(days=730)
CONTRACT = (("C", "DE"), ("O", "Test Mobility"), ("DC", "MO"), ("CN", EMAID))

# --- what each certificate must carry, in order, written down once more by hand


def usage(*bits):
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{bit: bit in bits for bit in names.split()}), True


def basic(*, ca, path_length=None):
    return x509.BasicConstraints(ca=ca, path_length=path_length), True


def purposes(oid, *, critical):
    return x509.ExtendedKeyUsage([oid]), critical


AUTHORITY = x509.AuthorityKeyIdentifier(ISSUER_KEY_IDENTIFIER, None, None), False
OCSP = (
    x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ocsp.test/v2g")
            )
        ]
    ),
    False,
)
CRL = (
    x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.test/the-ca.crl")], None, None, None)]
    ),
    False,
)
POLICY = (
    x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.59999.7.1"), None)]),
    False,
)
POLICY_WITH_CPS = (
    x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.59999.7.1"), ["http://ca.test/cps"])]
    ),
    False,
)
NO_CHECK = x509.OCSPNoCheck(), False
SIGNS_ALL = usage("key_cert_sign", "crl_sign")

EXTENSIONS = {
    "contract_leaf": [
        basic(ca=False),
        usage("digital_signature", "content_commitment", "key_encipherment", "key_agreement"),
        AUTHORITY,
        OCSP,
    ],
    "evse_leaf": [basic(ca=False), usage("digital_signature", "key_agreement"), AUTHORITY, OCSP, CRL, POLICY],
    "oem_provisioning_leaf": [
        basic(ca=False),
        usage("digital_signature", "key_agreement"),
        AUTHORITY,
        OCSP,
        CRL,
        POLICY,
    ],
    "cps_leaf": [basic(ca=False), usage("digital_signature"), AUTHORITY, OCSP],
    "mo_sub2": [
        basic(ca=True, path_length=0),
        usage("digital_signature", "content_commitment", "key_cert_sign", "crl_sign"),
        AUTHORITY,
        OCSP,
    ],
    "mo_sub1": [basic(ca=True, path_length=1), SIGNS_ALL, AUTHORITY, OCSP],
    "cpo_sub2": [basic(ca=True, path_length=0), SIGNS_ALL, AUTHORITY, OCSP, CRL, POLICY],
    "v2g_root": [basic(ca=True), SIGNS_ALL, AUTHORITY, POLICY],
    "ocsp_responder": [
        basic(ca=False),
        usage("digital_signature"),
        AUTHORITY,
        purposes(ExtendedKeyUsageOID.OCSP_SIGNING, critical=False),
        NO_CHECK,
    ],
    "evse_leaf_20": [
        basic(ca=False),
        usage("digital_signature", "key_agreement"),
        AUTHORITY,
        purposes(ExtendedKeyUsageOID.SERVER_AUTH, critical=True),
        OCSP,
        CRL,
        POLICY,
    ],
    "contract_leaf_20_ed448": [basic(ca=False), usage("digital_signature"), AUTHORITY, OCSP, POLICY],
}


def names(algorithm, label="the-ca"):
    return IssuerNames(
        label=label,
        subject_der=issuer_name(label).public_bytes(),
        key_identifier=ISSUER_KEY_IDENTIFIER,
        algorithm=algorithm,
    )


def ours(wanted, subject=CONTRACT, key=None, validity=TWO_YEARS, algorithm=None):
    algorithm = algorithm or wanted.key_algorithms[0]
    key = key or some_key(algorithm)
    return CertificateTemplate(wanted, names(algorithm)).tbs(SERIAL, subject, spki(key), validity)


def oracle(extensions, algorithm, subject=CONTRACT, key=None, validity=TWO_YEARS, *, serial=SERIAL):
    """The to-be-signed bytes by CertificateBuilder; the subject key identifier stands behind basic constraints."""
    key = key or some_key(algorithm)
    builder = (
        x509.CertificateBuilder(issuer_name("the-ca"), name(*subject), key.public_key(), serial)
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )
    bits = content_of(elements_of(spki(key))[1])[1:]
    digest = hashlib.sha1(bits, usedforsecurity=False).digest()
    own = x509.SubjectKeyIdentifier(bytes((0x40 | digest[-8] & 0x0F,)) + digest[-7:])  # RFC 5280 4.2.1.2 (2)
    for extension, critical in [extensions[0], (own, False), *extensions[1:]]:
        builder = builder.add_extension(extension, critical)
    return builder.sign(some_key(algorithm), SIGNATURE_HASH.get(algorithm)).tbs_certificate_bytes


@pytest.mark.parametrize("profile_name", EXTENSIONS)
def test_every_kind_is_octet_for_octet_what_the_oracle_makes(profile_name):
    wanted = profile(profile_name)
    assert ours(wanted) == oracle(EXTENSIONS[profile_name], wanted.key_algorithms[0])


def test_the_long_form_is_octet_for_octet_what_the_oracle_makes():
    wanted = profile("contract_leaf", "full_extensions")
    assert ours(wanted) == oracle([*EXTENSIONS["contract_leaf"], CRL, POLICY], KeyAlgorithm.SECP256R1)


def test_a_policy_with_its_cps_is_octet_for_octet_what_the_oracle_makes():
    wanted = profile("contract_leaf_20", "iso20_cps_qualifier")
    expected = [basic(ca=False), usage("digital_signature", "key_agreement"), AUTHORITY, OCSP, POLICY_WITH_CPS]
    assert ours(wanted) == oracle(expected, KeyAlgorithm.SECP521R1)


@pytest.mark.parametrize(
    "organization",
    ["Ümlaut & Söhne GmbH", "電気自動車", "a@b", "x" * 64, "ß" * 64, "O'Neill (Energy), +1-2./:=?"],
    ids=["umlauts", "Japanese", "not printable", "longest", "longest UTF-8", "every printable sign"],
)
@pytest.mark.parametrize("profile_name", ["contract_leaf", "mo_sub2"])
def test_any_organisation_is_encoded_like_the_oracle_does(profile_name, organization):
    subject = (("C", "DE"), ("O", organization), ("CN", EMAID))
    expected = oracle(EXTENSIONS[profile_name], KeyAlgorithm.SECP256R1, subject)
    assert ours(profile(profile_name), subject) == expected


def test_every_part_of_a_name_is_encoded_like_the_oracle_does():
    subject = (
        ("C", "DE"),
        ("ST", "Baden-Württemberg"),
        ("L", "Ulm"),
        ("O", "X"),
        ("OU", "Y"),
        ("DC", "MO"),
        ("CN", "Z"),
    )
    assert ours(profile(), subject) == oracle(EXTENSIONS["contract_leaf"], KeyAlgorithm.SECP256R1, subject)
    assert name_der(subject) == name(*subject).public_bytes()


POOLS = st.tuples(
    st.sampled_from([1, 0x7F, 0x80, 0xFF, SERIAL, SERIAL + 1, 1 << 136, (1 << 159) - 1]),
    st.sampled_from(["A", "MO", "DEPNCC00000001A", "DEPNCC00000002B", "DE*PNC*E1", "Zoë", "Zoe", "x" * 64]),
    st.sampled_from(["MO", "Test Mobility", "DEPNCC00000001A", "Zoë"]),
    st.sampled_from([TWO_YEARS, (NOW, NOW + timedelta(days=20 * 365)), (NOW, datetime(2051, 1, 1, tzinfo=UTC))]),
    st.booleans(),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(POOLS, min_size=2, max_size=8))
def test_one_template_makes_what_the_oracle_makes_in_any_order(several):
    template = CertificateTemplate(profile(), names(KeyAlgorithm.SECP256R1))
    keys = some_key(), OTHER_KEY
    for serial, common_name, organization, validity, other in several:
        subject = (("C", "DE"), ("O", organization), ("DC", "MO"), ("CN", common_name))
        expected = oracle(
            EXTENSIONS["contract_leaf"], KeyAlgorithm.SECP256R1, subject, keys[other], validity, serial=serial
        )
        assert template.tbs(serial, subject, spki(keys[other]), validity) == expected


NEIGHBOURS = {
    "a longer serial": {"serial": (1 << 150) + 12345},
    "a shorter serial": {"serial": (1 << 120) + 12345},
    "a common name of another string type": {"common_name": "DEPNC@00000002B"},
    "a common name of letters beyond ASCII": {"common_name": "Zo\u00eb4567890123"},
    "a shorter common name": {"common_name": "DEPNCC00000002"},
    "another organisation": {"organization": "Else Mobility"},
    "another end": {"validity": (NOW, NOW + timedelta(days=731))},
    "another key": {"key": OTHER_KEY},
}


@pytest.mark.parametrize("change", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_a_template_that_knows_one_certificate_makes_its_neighbour_like_the_oracle(change):
    template = CertificateTemplate(profile(), names(KeyAlgorithm.SECP256R1))
    plain = {
        "serial": SERIAL,
        "common_name": EMAID,
        "organization": "Test Mobility",
        "validity": TWO_YEARS,
        "key": some_key(),
    }
    for asked in (plain, {**plain, **change}, plain):
        subject = (("C", "DE"), ("O", asked["organization"]), ("DC", "MO"), ("CN", asked["common_name"]))
        expected = oracle(
            EXTENSIONS["contract_leaf"],
            KeyAlgorithm.SECP256R1,
            subject,
            asked["key"],
            asked["validity"],
            serial=asked["serial"],
        )
        assert template.tbs(asked["serial"], subject, spki(asked["key"]), asked["validity"]) == expected


def test_a_name_that_stands_in_two_places_is_set_into_the_right_one():
    template = CertificateTemplate(profile(), names(KeyAlgorithm.SECP256R1))
    for common_name in (EMAID, "DEPNCC00000002B", EMAID):
        subject = (("C", "DE"), ("O", EMAID), ("DC", "MO"), ("CN", common_name))
        expected = oracle(EXTENSIONS["contract_leaf"], KeyAlgorithm.SECP256R1, subject)
        assert template.tbs(SERIAL, subject, spki(some_key()), TWO_YEARS) == expected


EDGES_OF_TIME = [
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2050, 1, 1, tzinfo=UTC),
    datetime(2066, 3, 1, 11, 0, 7, tzinfo=UTC),
]


@pytest.mark.parametrize(
    "validity",
    [(first, last) for first in EDGES_OF_TIME for last in EDGES_OF_TIME if first < last],
    ids=lambda pair: f"{pair[0].year}-{pair[1].year}",
)
def test_times_change_their_type_in_2050_like_the_oracles(validity):
    # RFC 5280 4.1.2.5
    expected = oracle(EXTENSIONS["mo_sub2"], KeyAlgorithm.SECP256R1, validity=validity)
    assert ours(profile("mo_sub2"), validity=validity) == expected


def test_the_switch_for_generalized_time_changes_the_times_and_nothing_else():
    plain = elements_of(ours(profile("contract_leaf_20")))
    switched = elements_of(ours(profile("contract_leaf_20", "iso20_generalized_time")))
    assert [element.hex() for element in elements_of(switched.pop(4))] == [
        (b"\x18\x0f" + b"20" + content_of(time)).hex() for time in elements_of(plain.pop(4))
    ]
    assert switched == plain


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_an_assembled_certificate_is_the_one_the_oracle_reads(algorithm):
    key = some_key(algorithm)
    wanted = profile("v2g_root" if algorithm is KeyAlgorithm.SECP256R1 else "v2g_root_20")
    tbs_der = ours(wanted, algorithm=algorithm)
    signature = sign(key, tbs_der)
    certificate_der = assemble(tbs_der, algorithm, signature)
    read = x509.load_der_x509_certificate(certificate_der)
    assert (read.tbs_certificate_bytes, read.signature, read.serial_number) == (tbs_der, signature, SERIAL)
    assert (signed_bytes_of(certificate_der), signature_of(certificate_der)) == (tbs_der, signature)
    assert signature_is_valid(key.public_key(), algorithm, tbs_der, signature)
    assert (
        len(certificate_der) - len(tbs_der)
        <= len(SIGNATURE_ALGORITHM_DER[algorithm]) + LARGEST_SIGNATURE[algorithm] + 4
    )


def test_a_certificate_carries_the_octets_it_was_made_of_and_no_others():
    tbs_der = ours(profile())
    certificate_der = assemble(tbs_der, KeyAlgorithm.SECP256R1, sign(some_key(), tbs_der))
    assert carries(certificate_der, tbs_der)
    assert not carries(certificate_der, tbs_der[:-1] + bytes((tbs_der[-1] ^ 1,)))
    assert not carries(certificate_der, ours(profile("cps_leaf")))
    assert not carries(certificate_der[:4] + b"\0" + certificate_der[4:], tbs_der)
    assert not carries(b"\x30\x83" + certificate_der[2:], tbs_der)
    assert not carries(tbs_der, tbs_der)
    assert not carries(b"", tbs_der)


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_signature_over_other_bytes_or_by_another_key_does_not_verify(algorithm):
    key, other = some_key(algorithm), new_key(algorithm)
    signature = sign(key, b"signed")
    public_key = key.public_key()
    assert not signature_is_valid(public_key, algorithm, b"changed", signature)
    assert not signature_is_valid(other.public_key(), algorithm, b"signed", signature)
    assert not signature_is_valid(public_key, algorithm, b"signed", PLACEHOLDER_SIGNATURE[algorithm])
    assert not signature_is_valid(public_key, algorithm, b"signed", b"")


def test_a_signature_by_the_wrong_hash_does_not_verify():
    key = some_key(KeyAlgorithm.SECP521R1)
    signature = sign(key, b"signed", hashes.SHA256())  # ISO 15118-20: SHA-512
    assert not signature_is_valid(key.public_key(), KeyAlgorithm.SECP521R1, b"signed", signature)


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_no_signature_is_larger_than_what_sizes_are_judged_by(algorithm):
    key = some_key(algorithm)
    largest = max(len(sign(key, bytes((n,)))) for n in range(64))
    header = 3 if largest < 127 else 4  # BIT STRING: tag, length, unused bits
    assert largest + header <= LARGEST_SIGNATURE[algorithm] <= largest + header + 4


@pytest.mark.parametrize("octets", [8, 20])
@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_key_identifiers_are_those_of_rfc_5280(algorithm, octets):
    key = new_key(algorithm)
    whole = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    found = key_identifier_of(spki(key), octets)
    assert len(found) == octets
    if octets == 20:
        assert found == whole
    else:
        assert (found[0] >> 4, found[0] & 0x0F, found[1:]) == (4, whole[-8] & 0x0F, whole[-7:])


def test_a_subject_is_told_in_one_line_as_operators_write_it():
    subject = (("C", "DE"), ("ST", "BW"), ("L", "Ulm"), ("O", "Söhne, Inc."), ("OU", "Y"), ("DC", "MO"), ("CN", EMAID))
    tbs_der = ours(profile(), subject)
    certificate_der = assemble(tbs_der, KeyAlgorithm.SECP256R1, sign(some_key(), tbs_der))
    assert subject_text(certificate_der) == f"CN={EMAID}, DC=MO, OU=Y, O=Söhne, Inc., L=Ulm, ST=BW, C=DE"


@pytest.mark.parametrize("octets", [b"", b"0", b"\x30\x00", b"\x30\x80\x00\x00", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_is_malformed(octets):
    with pytest.raises(MalformedError):
        signed_bytes_of(octets)
    with pytest.raises(MalformedError):
        signature_of(octets)
    with pytest.raises(MalformedError):
        subject_text(octets)
