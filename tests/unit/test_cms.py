"""Certs-only messages: in the given order, and readable by others (RFC 5652)."""

import warnings
from datetime import timedelta

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from pki_core.wire.cms import certs_only, tlv
from tests.builders import NOW, name, some_key


def certificates(count):

    made = []
    for number in range(count):
        subject = name(("CN", f"{'x' * (20 - number)} {number}"))
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(some_key().public_key())
        )
        builder = builder.serial_number(number + 1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
        made.append(builder.sign(some_key(), hashes.SHA256()).public_bytes(Encoding.DER))
    return made


def test_certificates_keep_their_order():
    made = certificates(4)
    for order in (made, made[::-1]):
        signed_data = cms.ContentInfo.load(certs_only(order), strict=True)["content"]
        assert [one.chosen.dump() for one in signed_data["certificates"]] == order


def test_one_certificate_gives_the_very_octets_of_the_library():
    (made,) = certificates(1)
    expected = pkcs7.serialize_certificates([x509.load_der_x509_certificate(made)], Encoding.DER)
    assert certs_only([made]) == expected


def test_other_readers_take_several_in_that_order_though_der_would_sort_them():
    made = certificates(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reader says that it goes on with BER
        found = pkcs7.load_der_pkcs7_certificates(certs_only(made))
    assert [one.public_bytes(Encoding.DER) for one in found] == made


def test_a_message_without_certificates_is_still_a_message():
    assert len(cms.ContentInfo.load(certs_only([]), strict=True)["content"]["certificates"]) == 0


@pytest.mark.parametrize(
    ("length", "head"),
    [(0, "0400"), (127, "047f"), (128, "048180"), (255, "0481ff"), (256, "04820100"), (65_536, "0483010000")],
)
def test_lengths_take_the_shortest_form(length, head):
    assert tlv(0x04, bytes(length)) == bytes.fromhex(head) + bytes(length)
