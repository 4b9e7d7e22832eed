"""Single facts about a certificate that a caller shows."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki_core.model.errors import MalformedError
from pki_core.wire.shown_certificate import is_registrar, serial_of
from tests.builders import NOW, name, some_key

REGISTRAR = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")


def certificate(*usages):
    builder = x509.CertificateBuilder().subject_name(name(("CN", "x"))).issuer_name(name(("CN", "x")))
    builder = builder.public_key(some_key().public_key()).serial_number(77)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(some_key(), hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_registrar_is_known_by_its_extended_key_usage():
    client = x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH
    assert [is_registrar(certificate(*usages)) for usages in ((client, REGISTRAR), (client,), ())] == [
        True,
        False,
        False,
    ]


def test_the_serial_number_is_read():
    assert serial_of(certificate()) == 77


@pytest.mark.parametrize("der", [b"", b"\x30\x00", certificate()[:-1]])
def test_what_is_no_certificate_is_malformed(der):
    with pytest.raises(MalformedError):
        serial_of(der)
