"""OpenSSL's opinion: every kind of certificate verifies strictly up to its root, and nothing else does."""

import subprocess
from itertools import pairwise

import pytest
from asn1crypto import pem
from cryptography import x509

from pki_core.model.signer import KeyAlgorithm
from pki_core.services.budget import MAX_OCTETS
from tests.journeys.acts import GENERATIONS

pytest_plugins = ["tests.journeys.environments"]
INSTALLATION_ANSWER = ("contract_leaf", "mo_sub2", "mo_sub1", "cps_leaf", "cps_sub2", "cps_sub1")


def write(path, *certificates):
    path.write_bytes(b"".join(pem.armor("CERTIFICATE", der) for der in certificates))
    return str(path)


def openssl(*arguments, ask=None):
    result = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, input=ask)
    return result.returncode, result.stdout + result.stderr


def verify(directory, certificate_der, chain, *options):
    *between, root = chain or [certificate_der]
    files = ["-CAfile", write(directory / "root.pem", root)]
    if between:
        files += ["-untrusted", write(directory / "between.pem", *between)]
    leaf = write(directory / "leaf.pem", certificate_der)
    return openssl("verify", "-x509_strict", "-no-CApath", "-no-CAstore", *options, *files, leaf)


@pytest.fixture(scope="session")
def of_profile(every_kind):
    return {one.profile: one for one in every_kind}


def test_every_profile_has_a_certificate(every_kind, founded_home):
    from pki_core.runtime.wiring import Runtime
    from pki_core.settings import load_settings

    profiles = Runtime(founded_home, load_settings(founded_home)).profiles
    assert {one.profile for one in every_kind} == {one.id for one in profiles.values() if one.branch != "tls"}
    assert len(every_kind) == 3 * 9 + 11 + 3 * 3
    assert {one.algorithm for one in every_kind} == set(KeyAlgorithm)


def test_every_kind_verifies_strictly_up_to_its_root(every_kind, tmp_path):
    for one in every_kind:
        code, output = verify(tmp_path, one.certificate_der, one.chain)
        assert (code, output.strip().endswith(": OK")) == (0, True), f"{one.profile} {one.label}: {output}"


@pytest.mark.parametrize("suffix", GENERATIONS.values(), ids=GENERATIONS)
def test_nothing_verifies_under_another_root_or_without_its_chain(every_kind, tmp_path, suffix):
    made = {one.label: one for one in every_kind}
    sub2, other = made[f"mo-sub2{suffix}"], made["v2g-root" if suffix else "v2g-root-20"]
    assert verify(tmp_path, sub2.certificate_der, (*sub2.chain[:-1], other.certificate_der))[0] != 0
    assert verify(tmp_path, sub2.certificate_der, sub2.chain[1:])[0] != 0


def test_a_changed_bit_is_seen(of_profile, tmp_path):
    one = of_profile["contract_leaf"]
    changed = one.certificate_der[:-1] + bytes((one.certificate_der[-1] ^ 1,))
    assert verify(tmp_path, changed, one.chain)[0] != 0


@pytest.mark.parametrize(
    ("profile", "purpose", "fits"),
    [
        ("evse_leaf_20", "sslserver", True),
        ("evse_leaf_20", "sslclient", False),  # its critical purpose is serverAuth
        ("mo_sub2", "sslserver", True),
        ("ocsp_responder", "ocsphelper", True),
        ("ocsp_responder_20", "ocsphelper", True),
        ("contract_leaf", "crlsign", False),
    ],
)
def test_purposes_are_those_of_the_kind(of_profile, tmp_path, profile, purpose, fits):
    one = of_profile[profile]
    code, output = verify(tmp_path, one.certificate_der, one.chain, "-purpose", purpose)
    assert (code == 0) is fits, output


def test_a_leaf_cannot_issue(of_profile, tmp_path):
    leaf, other = of_profile["contract_leaf"], of_profile["cps_leaf"]
    code, _ = verify(tmp_path, other.certificate_der, (leaf.certificate_der, *leaf.chain))
    assert code != 0


def test_openssl_reads_the_text_of_every_kind(of_profile, tmp_path):
    for one in of_profile.values():
        code, output = openssl("x509", "-in", write(tmp_path / "one.pem", one.certificate_der), "-noout", "-text")
        assert code == 0
        assert "X509v3 Basic Constraints: critical" in output, one.profile
        assert "X509v3 Key Usage: critical" in output, one.profile


def test_serials_are_of_18_octets_and_all_different(every_kind):
    serials = [x509.load_der_x509_certificate(one.certificate_der).serial_number for one in every_kind]
    assert {-(-serial.bit_length() // 8) for serial in serials} == {18}
    assert len(set(serials)) == len(serials)


def test_every_kind_stays_below_the_ceiling_of_its_edition(every_kind):
    # [V2G2-010]; ISO 15118-20 certificateType
    for one in every_kind:
        assert len(one.certificate_der) <= (1600 if "_20" in one.profile else 800), one.profile


def test_the_six_certificates_of_an_installation_answer_fit_ocpp(of_profile):
    sizes = {name: len(of_profile[name].certificate_der) for name in INSTALLATION_ANSWER}
    assert sum(sizes.values()) <= MAX_OCTETS == 3398, sizes


def test_validity_lies_within_that_of_the_issuer(every_kind):
    for one in every_kind:
        read = [x509.load_der_x509_certificate(der) for der in (one.certificate_der, *one.chain)]
        for below, above in pairwise(read):
            assert above.not_valid_before_utc <= below.not_valid_before_utc, one.label
            assert below.not_valid_after_utc <= above.not_valid_after_utc, one.label


def test_a_chain_keeps_one_algorithm(every_kind):
    for one in every_kind:
        algorithms = {
            x509.load_der_x509_certificate(der).signature_algorithm_oid.dotted_string
            for der in (one.certificate_der, *one.chain)
        }
        assert algorithms == {
            {
                KeyAlgorithm.SECP256R1: "1.2.840.10045.4.3.2",
                KeyAlgorithm.SECP521R1: "1.2.840.10045.4.3.4",
                KeyAlgorithm.ED448: "1.3.101.113",
            }[one.algorithm]
        }
