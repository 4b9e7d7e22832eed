"""PEM: what is written is what OpenSSL writes, what is read may be untidy but not damaged."""

import ssl

import pytest

from pki_core.model.errors import MalformedError
from pki_core.wire.pem import CSR_LABELS, base64_to_der, certificate_pem, pem_to_der

DER = bytes(range(256)) * 3


def csr_pem(der, label="CERTIFICATE REQUEST"):
    return certificate_pem(der).replace("CERTIFICATE", label)


@pytest.mark.parametrize("length", [1, 2, 3, 47, 48, 49, 95, 96, 97, 713])
def test_a_certificate_is_written_in_lines_of_64_characters(length):
    pem = certificate_pem(DER[:length])
    lines = pem.split("\n")
    assert (lines[0], lines[-2], lines[-1]) == ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "")
    assert all(len(line) == 64 for line in lines[1:-3])
    assert 1 <= len(lines[-3]) <= 64
    assert ssl.PEM_cert_to_DER_cert(pem) == DER[:length]


@pytest.mark.parametrize("label", CSR_LABELS)
def test_each_allowed_label_is_read(label):
    assert pem_to_der(csr_pem(DER, label), CSR_LABELS) == DER


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", " "),
        lambda pem: pem.replace("\n", ""),
        lambda pem: pem.replace("\n", "\n  \t"),
        lambda pem: "Subject: CN = a\n" + pem + "\nthat was it",
        lambda pem: pem.strip(),
    ],
)
def test_white_space_and_text_around_the_block_do_not_matter(spoil):
    assert pem_to_der(spoil(csr_pem(DER)), CSR_LABELS) == DER


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no PEM block"),
        ("-----BEGIN CERTIFICATE REQUEST", "there is no PEM block"),
        (certificate_pem(DER), "labelled 'CERTIFICATE', not 'CERTIFICATE REQUEST' or 'NEW CERTIFICATE REQUEST'"),
        (csr_pem(DER)[:-20], "no line '-----END CERTIFICATE REQUEST-----'"),
        (csr_pem(DER).replace("END CERT", "END NEW CERT"), "no line '-----END CERTIFICATE REQUEST-----'"),
        (csr_pem(DER) * 2, "more than one PEM block"),
        (csr_pem(DER).replace("AAEC", "AA*C", 1), "damaged"),
        (csr_pem(DER).replace("-----\nAAEC", "-----\nProc-Type: 4,ENCRYPTED\nAAEC", 1), "damaged"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text, sentence):
    with pytest.raises(MalformedError, match=sentence):
        pem_to_der(text, CSR_LABELS)


def test_many_begin_lines_cost_no_more_than_their_length():
    text = "-----BEGIN CERTIFICATE REQUEST-----" * 200_000  # squared this would take hours
    with pytest.raises(MalformedError):
        pem_to_der(text, CSR_LABELS)


@pytest.mark.parametrize("text", ["AAE", "AAEC=", "AA==AAEC", "A\u00c4EC", "AAE C", "=AAE"])
def test_base64_is_read_strictly(text):
    with pytest.raises(MalformedError):
        base64_to_der(text)
