"""OCSP clients that are not ours (O67): OpenSSL, GnuTLS, NSS, pyHanko, pyca; and pkilint on every kind of answer."""

import asyncio
import shutil
import subprocess
import threading
from contextlib import closing
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from pkilint import loader, pkix
from pkilint.pkix import extension, name
from pkilint.pkix import ocsp as pkilint_ocsp
from pkilint.validation import ValidationFindingSeverity
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import RevokedError

from pki_core.model.certificates import serial_text
from pki_core.model.signer import KeyAlgorithm
from pki_core.model.states import CertificateState
from tests.journeys.acts import copy_home
from tests.journeys.ocsp_acts import asked_at
from tests.ocsp_forms import HASHES, certificate_id, nonce, request
from webapp.ocsp import OcspMiddleware

pytest_plugins = ["tests.journeys.environments"]

LEAFS = {
    KeyAlgorithm.SECP256R1: "contract_leaf",
    KeyAlgorithm.SECP521R1: "contract_leaf_20",
    KeyAlgorithm.ED448: "contract_leaf_20_ed448",
}


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@dataclass
class Leaf:
    """A certificate, the ones above it, the root last, and the serial."""

    record: object
    serial: int
    certificate_der: bytes
    chain: tuple[bytes, ...]


class World:
    """An environment with one certificate of every status, behind HTTP."""

    def __init__(self, front, port, directory):
        self.front, self.url, self.directory = front, f"http://127.0.0.1:{port}/ocsp", directory
        self.leafs = {algorithm.value: self.leaf(*front.issue(kind)) for algorithm, kind in LEAFS.items()}
        for status, (state, reason) in {
            "revoked": (CertificateState.REVOKED, 1),
            "silent": (CertificateState.REVOKED, None),
            "hold": (CertificateState.HOLD, 6),
        }.items():
            self.leafs[status] = self.leaf(*front.issue())
            front.set_status(self.leafs[status].record, self.leafs[status].serial, state, reason)

    def leaf(self, record, serial):
        runtime = self.front.runtime
        der = runtime.certificates.show(serial_text(serial)).certificate_der
        by_id = {one.id: one for one in runtime.certificates.issuers()}
        chain, above = [record.certificate_der], record
        while above.parent_id is not None:
            above = by_id[above.parent_id]
            chain.append(above.certificate_der)
        return Leaf(record, serial, der, tuple(chain))

    def file(self, label, *certificates):
        path = self.directory / f"{label}.pem"
        path.write_bytes(b"".join(pem.armor("CERTIFICATE", der) for der in certificates))
        return str(path)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments):
        """Say nothing."""


@pytest.fixture(scope="module")
def world(founded_home, tmp_path_factory):
    directory = tmp_path_factory.mktemp("clients")
    with asked_at(copy_home(founded_home, directory / "home")) as front:
        app = OcspMiddleware(None, front.ocsp, 10_000, front.clock)
        with closing(make_server("127.0.0.1", 0, app, _Server, _Quiet)) as server:
            server.close = server.server_close
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            yield World(front, server.server_port, directory)
            server.shutdown()
            thread.join()


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return result.returncode, result.stdout + result.stderr


# --- OpenSSL


def ask_openssl(world, leaf, *options):
    return run(
        *("openssl", "ocsp", "-issuer", world.file("issuer", leaf.chain[0]), *options),
        *("-cert", world.file("leaf", leaf.certificate_der), "-url", world.url),
        *("-CAfile", world.file("root", leaf.chain[-1]), "-verify_other", world.file("between", *leaf.chain[:-1])),
    )


@pytest.mark.parametrize("hash_option", ["-sha1", "-sha256", "-sha384", "-sha512"])
@pytest.mark.parametrize("nonce_option", ["-nonce", "-no_nonce"])
@pytest.mark.parametrize("algorithm", list(LEAFS))
def test_o67_openssl_verifies_a_good_answer(world, algorithm, hash_option, nonce_option):
    code, output = ask_openssl(world, world.leafs[algorithm], hash_option, nonce_option)
    assert code == 0, output
    assert "Response verify OK" in output
    assert "leaf.pem: good" in output
    assert "WARNING" not in output


@pytest.mark.parametrize(
    ("status", "reason"), [("revoked", "Reason: keyCompromise"), ("hold", "certificateHold"), ("silent", None)]
)
def test_o67_openssl_reads_a_revocation(world, status, reason):
    code, output = ask_openssl(world, world.leafs[status], "-sha256")
    assert code == 0, output
    assert "Response verify OK" in output
    assert "leaf.pem: revoked" in output
    assert ("Reason:" in output) is (reason is not None)
    assert reason is None or reason in output


def test_o67_openssl_asks_for_several_at_once_and_about_cas(world):
    good, revoked = world.leafs["secp256r1"], world.leafs["revoked"]
    code, output = ask_openssl(world, good, "-cert", world.file("other", revoked.certificate_der))
    assert (code, "Response verify OK" in output) == (0, True), output
    assert "leaf.pem: good" in output
    assert "other.pem: revoked" in output
    sub2 = Leaf(None, 0, good.chain[0], good.chain[1:])
    code, output = ask_openssl(world, sub2)
    assert (code, "Response verify OK" in output, "leaf.pem: good" in output) == (0, True, True), output


def test_openssl_does_not_verify_under_another_root(world):
    leaf, other = world.leafs["secp256r1"], world.leafs["secp521r1"]
    wrong = Leaf(None, 0, leaf.certificate_der, (*leaf.chain[:-1], other.chain[-1]))
    code, output = ask_openssl(world, wrong)
    assert code != 0
    assert "Response verify OK" not in output


# --- GnuTLS


def ask_gnutls(world, leaf, *options):
    return run(
        *("ocsptool", f"--ask={world.url}", f"--load-cert={world.file('leaf', leaf.certificate_der)}", *options),
        *(f"--load-issuer={world.file('issuer', leaf.chain[0])}", f"--load-trust={world.file('chain', *leaf.chain)}"),
    )


@needs("ocsptool")
@pytest.mark.parametrize("option", ["--nonce", "--no-nonce"])
@pytest.mark.parametrize("which", [*LEAFS, "revoked", "silent", "hold"])
def test_o67_gnutls_verifies_every_answer(world, which, option):
    _, output = ask_gnutls(world, world.leafs[which], *([option] if option == "--nonce" else []))
    assert "Verifying OCSP Response: Success" in output, output
    wanted = "good" if which in LEAFS else "revoked"
    assert f"Certificate Status: {wanted}" in output


# --- NSS


@needs("ocspclnt")
@needs("certutil")
@pytest.mark.parametrize(("which", "wanted"), [("secp256r1", "succeeded"), ("revoked", "revoked"), ("hold", "revoked")])
def test_o67_nss_verifies_good_and_revoked(world, tmp_path, which, wanted):
    leaf = world.leafs[which]
    database = f"sql:{tmp_path}"
    assert run("certutil", "-N", "-d", database, "--empty-password")[0] == 0
    (responder,) = world.front.responders(leaf.record.label)
    named = {"leaf": leaf.certificate_der, "delegate": responder.certificate_der, "root": leaf.chain[-1]}
    named |= {f"between-{number}": der for number, der in enumerate(leaf.chain[:-1])}
    for label, der in named.items():
        trust = "CT,C,C" if label == "root" else ",,"
        file = world.file(f"nss-{label}", der)
        assert run("certutil", "-A", "-d", database, "-n", label, "-t", trust, "-a", "-i", file)[0] == 0
    _, output = run("ocspclnt", "-S", "leaf", "-d", database, "-l", world.url, "-t", "delegate")
    assert wanted in output.lower(), output


# --- Python


def validator(world, leaf, *more):
    front = world.front
    parents = {one.certificate_der: one for one in front.runtime.certificates.issuers()}
    ids = [certificate_id(leaf.record, leaf.serial, "sha256")]
    for child, parent in zip(leaf.chain, leaf.chain[1:], strict=False):
        ids.append(certificate_id(parents[parent], x509.load_der_x509_certificate(child).serial_number))
    answers = [asn1_ocsp.OCSPResponse.load(front.ocsp.answer(request(one)).der) for one in ids]
    context = ValidationContext(
        trust_roots=[asn1_x509.Certificate.load(leaf.chain[-1])],
        ocsps=[*answers, *more],
        revocation_mode="require",
        allow_fetching=False,
        moment=front.clock.now(),
    )
    between = [asn1_x509.Certificate.load(der) for der in leaf.chain[:-1]]
    return CertificateValidator(
        asn1_x509.Certificate.load(leaf.certificate_der), intermediate_certs=between, validation_context=context
    )


@pytest.mark.parametrize("algorithm", list(LEAFS))
def test_o67_pyhanko_validates_a_path_by_our_answers_alone(world, algorithm):
    path = asyncio.run(validator(world, world.leafs[algorithm]).async_validate_path())
    assert len(list(path)) == 4


@pytest.mark.parametrize("which", ["revoked", "silent", "hold"])
def test_o67_pyhanko_refuses_a_path_we_call_revoked(world, which):
    with pytest.raises(RevokedError):
        asyncio.run(validator(world, world.leafs[which]).async_validate_path())


@pytest.mark.parametrize("which", ["secp256r1", "revoked", "silent", "hold"])
@pytest.mark.parametrize("hash_name", HASHES)
def test_o67_pyca_reads_and_verifies(world, which, hash_name):
    leaf = world.leafs[which]
    read = ocsp.load_der_ocsp_response(
        world.front.ocsp.answer(request(certificate_id(leaf.record, leaf.serial, hash_name))).der
    )
    (responder,) = read.certificates
    responder.public_key().verify(read.signature, read.tbs_response_bytes, ec.ECDSA(read.signature_hash_algorithm))
    responder.verify_directly_issued_by(x509.load_der_x509_certificate(leaf.chain[0]))
    assert read.certificate_status.name == ("GOOD" if which == "secp256r1" else "REVOKED")
    assert (read.serial_number, read.hash_algorithm.name) == (leaf.serial, hash_name)


# --- pkilint


def kinds_of_answers(world):
    front, leafs = world.front, world.leafs
    record = leafs["secp256r1"].record
    ids = {which: certificate_id(leaf.record, leaf.serial) for which, leaf in leafs.items()}
    asked = {
        **{which: request(id_der) for which, id_der in ids.items()},
        **{name: request(certificate_id(record, leafs["secp256r1"].serial, name)) for name in HASHES},
        "unknown": request(certificate_id(record, 4711)),
        "several": request(ids["secp256r1"], ids["revoked"], certificate_id(record, 4711)),
        "a nonce": request(ids["secp256r1"], extensions=[nonce(b"x" * 32)]),
        "malformed": b"",
        "unauthorized": request(certificate_id(record, 1, key_hash=bytes(20))),
    }
    return {kind: front.ocsp.answer(der).der for kind, der in asked.items()}


def test_pkilint_finds_nothing_in_any_kind_of_answer(world, home):
    answers = kinds_of_answers(world)
    with asked_at(home) as front:
        record, expired = front.issue(hours=1)
        front.clock.advance(hours=2)
        answers["expired"] = front.ocsp.answer(request(certificate_id(record, expired))).der
    validators = pkilint_ocsp.create_pkix_ocsp_response_validator_container(
        [
            pkilint_ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )
    read = loader.RFC6960OCSPResponseDocumentLoader()
    findings = {}
    for kind, der in answers.items():
        results = validators.validate(read.load_der_document(der).root)
        assert results
        findings[kind] = [
            found.finding.code
            for result in results
            for found in result.finding_descriptions
            if found.finding.severity >= ValidationFindingSeverity.NOTICE
        ]
    assert {kind: codes for kind, codes in findings.items() if codes} == {}
    assert len(findings) == 16
