"""Contract data: what reading, writing, signing and wrapping take, and a whole answer of the contract pool."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from bench.child import run_job
from bench.report import Report
from pki_core.hsm.soft_key import FileSigner
from pki_core.model.contracts import (
    AadForm,
    CertificateChain,
    Header2,
    Header20,
    InstallationRequest2,
    InstallationRequest20,
    Message2,
    RootCertificateId,
)
from pki_core.model.profiles import Edition
from pki_core.wire.contract_data import (
    answer_2,
    answer_20,
    decode_message,
    encode_message,
    for_session_2,
    for_session_20,
    message_fault,
    sign_message,
    signed_parts,
)
from pki_core.wire.contract_envelope import associated_data, wrap_2, wrap_20

_NOW = datetime(2026, 3, 1, tzinfo=UTC)
_SESSION = bytes(range(8))
_EMAID = "DEABCC123456788"
_ROOT = RootCertificateId(issuer_name="CN=V2G Root CA,DC=V2G,O=Bench,C=DE", serial=1 << 120)
_POOL_ANSWER = "<= 5"  # ms; chargers wait about 4.5 seconds, most of it for networks
_SUB_OCTETS = {Edition.ISO_2: 550, Edition.ISO_20: 700}  # of the CA certificates in the field
_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """One edition's request and stored answer, and the calls that are measured."""

    request_exi: bytes
    stored_exi: bytes
    calls: dict[str, Callable[[], object]]


def measure(report: Report, count: int) -> None:
    """Measure both editions in a process of their own, ``count`` calls of each act a round."""
    report.begin("Contract data", f"one thread, keys in memory, {_ROUNDS} rounds of {count} calls, CPU time")
    found: Any = run_job("exi.run", {}, count=count)
    for edition, figures in found.items():
        for name, values in figures["us"].items():
            report.add(f"{edition}: {name}", "us", values)
        octets = figures["octets"]
        note = f"request {octets['request']}, answer {octets['answer']} octets"
        report.add(f"{edition}: answer of the pool, p50", "ms", [figures["p50_ms"]], _POOL_ANSWER, note)
        report.add(f"{edition}: answer of the pool, p99", "ms", [figures["p99_ms"]], _POOL_ANSWER)


def run(count: int) -> dict[str, Any]:
    """Return the figures by edition."""
    return {"-2, P-256": _figures(_scene_2(), count), "-20, P-521": _figures(_scene_20(), count)}


def _figures(scene: _Scene, count: int) -> dict[str, Any]:
    pool_answer = scene.calls["answer of the pool"]
    pool_answer()
    each = sorted(_seconds(pool_answer, 1) for _ in range(count))
    return {
        "us": {
            name: [1e6 * _seconds(call, count) / count for _ in range(_ROUNDS)]
            for name, call in scene.calls.items()
            if call is not pool_answer
        },
        "p50_ms": 1e3 * each[count // 2],
        "p99_ms": 1e3 * each[count * 99 // 100],
        "octets": {"request": len(scene.request_exi), "answer": len(scene.stored_exi)},
    }


def _seconds(call: Callable[[], object], count: int) -> float:
    started = time.thread_time()
    for _ in range(count):
        call()
    return time.thread_time() - started


def _scene_2() -> _Scene:
    oem_key, cps_key, contract_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    oem_der = _certificate(oem_key, hashes.SHA256())
    body = InstallationRequest2(id="ID1", oem_certificate_der=oem_der, roots=(_ROOT,))
    request = sign_message(Message2(header=Header2(session_id=_SESSION), body=body), FileSigner("oem", oem_key))
    envelope = wrap_2(contract_key, oem_key.public_key())
    unsigned = answer_2(_chain(cps_key, Edition.ISO_2), _chain(contract_key, Edition.ISO_2), envelope, _EMAID)
    answer = sign_message(unsigned, FileSigner("cps", cps_key))
    request_exi, stored_exi = encode_message(request), encode_message(answer)

    def pool_answer() -> bytes:
        asked, held = decode_message(Edition.ISO_2, request_exi), decode_message(Edition.ISO_2, stored_exi)
        if not isinstance(asked, Message2) or not isinstance(held, Message2) or message_fault(asked, oem_der):
            raise AssertionError
        return encode_message(for_session_2(held, asked.header.session_id))

    return _Scene(
        request_exi=request_exi,
        stored_exi=stored_exi,
        calls={
            "read a request": lambda: decode_message(Edition.ISO_2, request_exi),
            "verify its signature": lambda: message_fault(request, oem_der),
            "read an answer": lambda: decode_message(Edition.ISO_2, stored_exi),
            "write an answer": lambda: encode_message(answer),
            "what an answer's signature is over": lambda: signed_parts(unsigned),
            "sign an answer, and verify": lambda: sign_message(unsigned, FileSigner("cps", cps_key)),
            "wrap a key": lambda: wrap_2(contract_key, oem_key.public_key()),
            "answer of the pool": pool_answer,
        },
    )


def _scene_20() -> _Scene:
    oem_key, cps_key, contract_key = (ec.generate_private_key(ec.SECP521R1()) for _ in range(3))
    chain = _chain(oem_key, Edition.ISO_20, "id1")
    unsigned_request = InstallationRequest20(
        header=Header20(session_id=_SESSION, timestamp=1), oem_chain=chain, roots=(_ROOT,), most_contract_chains=1
    )
    request = sign_message(unsigned_request, FileSigner("oem", oem_key))
    bound_to = associated_data(AadForm.PCID_SKI_HEX, "WVWTEST20260000171", bytes(8))
    envelope = wrap_20(contract_key, oem_key.public_key(), bound_to)
    unsigned = answer_20(_chain(cps_key, Edition.ISO_20), _chain(contract_key, Edition.ISO_20), envelope)
    answer = sign_message(unsigned, FileSigner("cps", cps_key))
    request_exi, stored_exi = encode_message(request), encode_message(answer)

    def pool_answer() -> bytes:
        asked, held = decode_message(Edition.ISO_20, request_exi), decode_message(Edition.ISO_20, stored_exi)
        if isinstance(held, Message2 | InstallationRequest20) or message_fault(asked, chain.certificate_der):
            raise AssertionError
        return encode_message(for_session_20(held, asked.header.session_id, _NOW))

    return _Scene(
        request_exi=request_exi,
        stored_exi=stored_exi,
        calls={
            "read a request": lambda: decode_message(Edition.ISO_20, request_exi),
            "verify its signature": lambda: message_fault(request, chain.certificate_der),
            "read an answer": lambda: decode_message(Edition.ISO_20, stored_exi),
            "write an answer": lambda: encode_message(answer),
            "what an answer's signature is over": lambda: signed_parts(unsigned),
            "sign an answer, and verify": lambda: sign_message(unsigned, FileSigner("cps", cps_key)),
            "wrap a key": lambda: wrap_20(contract_key, oem_key.public_key(), bound_to),
            "answer of the pool": pool_answer,
        },
    )


def _chain(key: ec.EllipticCurvePrivateKey, edition: Edition, name: str | None = None) -> CertificateChain:
    leaf = _certificate(key, hashes.SHA256() if edition is Edition.ISO_2 else hashes.SHA512())
    subs = tuple(bytes((number,)) * _SUB_OCTETS[edition] for number in (2, 1))  # nobody looks into these here
    return CertificateChain(id=name, certificate_der=leaf, sub_certificates_der=subs)


def _certificate(key: ec.EllipticCurvePrivateKey, digest: hashes.SHA256 | hashes.SHA512) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _EMAID)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1 << 100).not_valid_before(_NOW).not_valid_after(_NOW + timedelta(days=700))
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ocsp.bench.test/" + "x" * 120)
    )
    builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return builder.sign(key, digest).public_bytes(Encoding.DER)
