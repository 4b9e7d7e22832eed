"""OCSP responses, byte by byte against a builder that is not ours (RFC 6960 4.2)."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from pki_core.model.ocsp import OcspStatus, StatusAnswer, StatusRecord
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from pki_core.wire.certificate import key_identifier_of
from pki_core.wire.ocsp_response import CertificateIdForm, error_response, response_data, signed_response
from tests.builders import NOW, MemorySigner, name
from tests.ocsp_forms import Response, seconds

REASONS = {
    1: x509.ReasonFlags.key_compromise,
    2: x509.ReasonFlags.ca_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    6: x509.ReasonFlags.certificate_hold,
    9: x509.ReasonFlags.privilege_withdrawn,
    10: x509.ReasonFlags.aa_compromise,
}
DAY = timedelta(days=1)


def self_signed(signer, days=1):
    subject = name(("CN", "responder"))
    digest = None if signer.algorithm is KeyAlgorithm.ED448 else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(signer.key.public_key())
        .serial_number(77)
        .not_valid_before(NOW)
        .not_valid_after(NOW + days * DAY)
        .sign(signer.key, digest)
    )


def theirs(signer, certificate, status, revoked_at=None, reason=None, nonce=None):
    """What the other library makes of the same facts."""
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=certificate,
            issuer=certificate,
            algorithm=hashes.SHA1(),  # noqa: S303  # what clients ask by
            cert_status=status,
            this_update=NOW,
            next_update=NOW + DAY,
            revocation_time=revoked_at,
            revocation_reason=reason,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, certificate)
        .certificates([certificate])
    )
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    digests = {KeyAlgorithm.SECP256R1: hashes.SHA256(), KeyAlgorithm.SECP521R1: hashes.SHA512()}
    return builder.sign(signer.key, digests.get(signer.algorithm))


def ours(signer, certificate, record, produced_at, nonce=None):
    form = CertificateIdForm("sha1", certificate.subject.public_bytes(), signer.spki_der)
    answer = StatusAnswer(form.der("4d"), record, seconds(NOW), seconds(NOW + DAY), None)
    return response_data(key_identifier_of(signer.spki_der, 20), seconds(produced_at), [answer], nonce)


def record(state=CertificateState.GOOD, revoked_at=None, reason=None):
    return StatusRecord("4d", state, seconds(NOW + DAY), revoked_at and seconds(revoked_at), reason)


@pytest.mark.parametrize("nonce", [None, b"x" * 32, b"y"])
def test_a_good_answer_has_the_other_librarys_bytes(nonce):
    signer = MemorySigner()
    certificate = self_signed(signer)
    other = theirs(signer, certificate, ocsp.OCSPCertStatus.GOOD, nonce=nonce)
    assert ours(signer, certificate, record(), other.produced_at_utc, nonce) == other.tbs_response_bytes


@pytest.mark.parametrize("reason", [None, *REASONS])
def test_a_revoked_answer_has_the_other_librarys_bytes(reason):
    signer = MemorySigner()
    certificate = self_signed(signer)
    revoked_at = NOW - DAY
    other = theirs(signer, certificate, ocsp.OCSPCertStatus.REVOKED, revoked_at, REASONS.get(reason))
    told = record(CertificateState.HOLD if reason == 6 else CertificateState.REVOKED, revoked_at, reason)
    assert ours(signer, certificate, told, other.produced_at_utc) == other.tbs_response_bytes


def test_an_unknown_answer_has_the_other_librarys_bytes():
    signer = MemorySigner()
    certificate = self_signed(signer)
    other = theirs(signer, certificate, ocsp.OCSPCertStatus.UNKNOWN)
    assert ours(signer, certificate, None, other.produced_at_utc) == other.tbs_response_bytes


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_a_whole_response_has_the_other_librarys_bytes_around_the_signature(algorithm):
    signer = MemorySigner(algorithm)
    certificate = self_signed(signer)
    other = theirs(signer, certificate, ocsp.OCSPCertStatus.GOOD)
    data = ours(signer, certificate, record(), other.produced_at_utc)
    made = signed_response(data, algorithm, other.signature, certificate.public_bytes(Encoding.DER))
    assert made == other.public_bytes(Encoding.DER)


@pytest.mark.parametrize("state", [CertificateState.RESERVED, CertificateState.VOID])
def test_a_serial_without_a_certificate_is_never_good(state):
    signer = MemorySigner()
    certificate = self_signed(signer)
    assert ours(signer, certificate, record(state), NOW) == ours(signer, certificate, None, NOW)


def test_a_revocation_without_a_time_is_not_told_as_good():
    signer = MemorySigner()
    certificate = self_signed(signer)
    untold = record(CertificateState.REVOKED)
    assert ours(signer, certificate, untold, NOW) == ours(signer, certificate, None, NOW)


def test_the_status_errors_are_five_octets():
    assert {status: error_response(status).hex() for status in OcspStatus if status} == {
        OcspStatus.MALFORMED_REQUEST: "30030a0101",
        OcspStatus.INTERNAL_ERROR: "30030a0102",
        OcspStatus.TRY_LATER: "30030a0103",
        OcspStatus.UNAUTHORIZED: "30030a0106",
    }
    for status in OcspStatus:
        if status:
            assert ocsp.load_der_ocsp_response(error_response(status)).response_status.value == status


def test_an_archive_cutoff_is_a_time_that_is_not_critical():
    signer = MemorySigner()
    form = CertificateIdForm("sha256", b"0\0", signer.spki_der)
    cutoff = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    answer = StatusAnswer(form.der("80"), record(), seconds(NOW), seconds(NOW + DAY), seconds(cutoff))
    data = response_data(bytes(20), seconds(NOW), [answer], None)
    (one,) = Response(signed_response(data, signer.algorithm, b"0", b"0\0")).singles
    assert (one.archive_cutoff, one.critical) == (cutoff, False)
