"""The raw operations a certificate cannot do without, alone: CSR verify, HSM sign (in C), certificate verify."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from bench.work import PROFILE_20
from flows.chunk_worker import process_runtime
from flows.sample_batch import sample_csr, sample_emaid
from pki_core.model.issuers import IssuerRecord
from pki_core.model.profiles import Edition, Level
from pki_core.model.requests import CsrProof
from pki_core.model.signer import KeyAlgorithm
from pki_core.runtime import Runtime
from pki_core.runtime.key_stores import module_path_of
from pki_core.wire.csr import parse_csr

_SAMPLE = 200  # keys in turn, so that no cache helps more than it does in a batch
_TBS_OCTETS = 640
_DIGEST_OCTETS = {KeyAlgorithm.SECP256R1: 32, KeyAlgorithm.SECP521R1: 64}
_HASHES: dict[KeyAlgorithm, hashes.HashAlgorithm] = {
    KeyAlgorithm.SECP256R1: hashes.SHA256(),
    KeyAlgorithm.SECP521R1: hashes.SHA512(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCosts:
    """Microseconds of wall clock and of CPU for each raw operation, one thread."""

    verify_csr: float
    sign: float
    verify_certificate: float
    cpu: float  # of the three together

    @property
    def floor(self) -> float:
        """What a certificate costs at least."""
        return self.verify_csr + self.sign + self.verify_certificate

    def mean(self, other: "RawCosts") -> "RawCosts":
        """Return the middle between two measurements."""
        mine, others = asdict(self), asdict(other)
        return RawCosts(**{name: (mine[name] + others[name]) / 2 for name in mine})


class RawOperations:
    """The three operations with an environment's own contract issuer."""

    def __init__(self, runtime: Runtime, program: str, profile: str, seconds: float) -> None:
        edition = Edition.ISO_20 if profile == PROFILE_20 else Edition.ISO_2
        issuer = _contract_issuer(runtime, edition)
        self._program, self._seconds, self._runtime = program, seconds, runtime
        self._key_label, self._algorithm = issuer.key_label, issuer.algorithm
        curve = ec.SECP521R1() if issuer.algorithm is KeyAlgorithm.SECP521R1 else ec.SECP256R1()
        self._csr_calls = _csr_verifications(curve)
        messages = [os.urandom(_TBS_OCTETS) for _ in range(_SAMPLE)]
        signatures = runtime.key_store.bind(issuer.key_label).sign(messages)
        scheme = ec.ECDSA(_HASHES[issuer.algorithm])
        public_key = _elliptic(issuer.spki_der)
        self._certificate_calls = [
            partial(public_key.verify, signature, message, scheme)
            for signature, message in zip(signatures, messages, strict=True)
        ]

    def measure(self) -> RawCosts:
        """Measure once."""
        csr, csr_cpu = self._time(self._csr_calls)
        signed = self._sign_in_c()
        certificate, certificate_cpu = self._time(self._certificate_calls)
        return RawCosts(
            verify_csr=csr,
            sign=1e6 / signed["signatures_per_second"],
            verify_certificate=certificate,
            cpu=csr_cpu + signed["cpu_us_per_signature"] + certificate_cpu,
        )

    def _time(self, calls: Sequence[Callable[[], None]]) -> tuple[float, float]:
        count, wall, cpu = 0, time.perf_counter(), time.process_time()
        end = wall + self._seconds / 2
        while (now := time.perf_counter()) < end:
            for call in calls:
                call()
            count += len(calls)
        return (now - wall) * 1e6 / count, (time.process_time() - cpu) * 1e6 / count

    def _sign_in_c(self) -> dict[str, Any]:
        home, section = self._runtime.home, self._runtime.settings.key_store
        command = [self._program, str(module_path_of(home, section)), section.token_label, str(home / section.pin_file)]
        command += [self._key_label, "1", str(self._seconds), "0x1041", str(_DIGEST_OCTETS[self._algorithm])]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # compiled by us
        result: dict[str, Any] = json.loads(answer.stdout)
        return result


def measure(home: str, program: str, profile: str, seconds: float, rounds: int) -> list[dict[str, float]]:
    """Measure the raw operations of an environment several times."""
    operations = RawOperations(process_runtime(home), program, profile, seconds)
    return [asdict(operations.measure()) for _ in range(rounds)]


def _contract_issuer(runtime: Runtime, edition: Edition) -> IssuerRecord:
    return next(
        issuer
        for issuer in runtime.certificates.issuers()
        if (issuer.branch, issuer.level, issuer.edition) == ("mo", Level.SUB2, edition)
        and issuer.algorithm in _DIGEST_OCTETS
    )


def _csr_verifications(curve: ec.EllipticCurve) -> list[Callable[[], None]]:
    calls: list[Callable[[], None]] = []
    for number in range(_SAMPLE):
        request = parse_csr("", sample_csr(sample_emaid(number), ec.generate_private_key(curve)))
        if isinstance(request.proof, CsrProof):
            calls.append(_verification(_elliptic(request.spki_der), request.proof))
    return calls


def _verification(key: ec.EllipticCurvePublicKey, proof: CsrProof) -> Callable[[], None]:
    scheme = ec.ECDSA(hashes.SHA256())
    return lambda: key.verify(proof.signature, proof.signed_bytes, scheme)


def _elliptic(spki_der: bytes) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(spki_der)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("not an elliptic curve key")
    return key
