"""Jobs: make the contracts of tables, beside the raw operations of the same minute; answer vehicles."""

import base64
import csv
import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from bench.certificates import issue, order_of, requests_of
from bench.raw import RawOperations
from bench.work import PARTNER, PROFILE, sign_here
from flows.chunk_worker import process_runtime
from pki_core.hsm.soft_key import FileSigner
from pki_core.model.batches import BatchKind
from pki_core.model.contracts import Header2, InstallationRequest2, Message2, RootCertificateId
from pki_core.model.partners import Partner
from pki_core.model.pools import Namespace
from pki_core.runtime import Runtime
from pki_core.services.uploads import Upload
from pki_core.wire.contract_data import encode_message, sign_message
from pki_core.wire.pool_certificate import read_certificate
from pki_core.wire.public_key import spki_of
from webapp import create_app

_CHUNK = 2000
_KEYS = 200  # vehicles' keys in turn: what a vehicle's key costs to make is not ours
_SECONDS = 0.5
_VEHICLES = 400
_WARM = 100
_STATION = Partner(
    id="bench-cpo",
    roles=frozenset({"cpo"}),
    provider_prefixes=frozenset(),
    operator_prefixes=frozenset({"DEPNC"}),
    wmis=frozenset(),
)
_numbers = itertools.count(1)


def bulk(home: str, program: str, rows: int, rounds: int) -> dict[str, Any]:
    """Return microseconds a contract and its floor, round by round; the first round warms up and does not count."""
    runtime = process_runtime(home)
    raw = RawOperations(runtime, program, PROFILE, _SECONDS)
    took, floors, parts = [], [], {}
    for number in range(rounds + 1):
        count = rows if number else _WARM
        batch_id = _table(runtime, count)
        before = _floor(raw)
        started = time.perf_counter()
        sign_here(runtime, batch_id)
        seconds = time.perf_counter() - started
        after = _floor(raw)
        if runtime.batches.status(batch_id)[1].issued != count:
            raise RuntimeError("not every row became a contract")
        if number:
            took.append(1e6 * seconds / count)
            parts = {name: (before[name] + after[name]) / 2 for name in before}
            floors.append(sum(parts.values()))
    return {"us": took, "floor_us": floors, "parts": parts}


def answers(home: str, count: int) -> dict[str, list[float]]:
    """Return milliseconds of each answer: of the service, and over HTTP with its access check."""
    runtime = process_runtime(home)
    made: list[tuple[bytes, ec.EllipticCurvePrivateKey]] = []
    batch_id = _table(runtime, _VEHICLES, made)
    sign_here(runtime, batch_id)
    requests = [_request(runtime, certificate_der, key) for certificate_der, key in made]
    installations = runtime.contracts.installations
    runtime.__dict__.pop("key_store", None)
    service = [partial(installations.answer, _STATION, exi, Namespace.ISO_2_2013) for exi in requests]
    runtime.partners.add(_STATION)
    client = create_app(runtime).test_client()
    secret = runtime.credentials.make_secret(_STATION.id)
    posts = [partial(_post, client, secret, exi) for exi in requests]
    return {"answer": _timed(service, count), "answer over HTTP": _timed(posts, count // 2)}


def _post(client: Any, secret: str, exi: bytes) -> None:  # noqa: ANN401  # Flask's test client
    body = {"certificateInstallationReq": base64.b64encode(exi).decode()}
    answer = client.post("/v1/ccp/signedContractData", json=body, auth=(_STATION.id, secret))
    if answer.status_code != HTTPStatus.OK:
        raise RuntimeError(f"a vehicle got {answer.status_code}")


def _timed(calls: Sequence[Callable[[], object]], count: int) -> list[float]:
    chance, found = random.Random(1), []  # noqa: S311  # an order, no secret
    for number in range(count + _WARM):
        call = chance.choice(calls)
        started = time.perf_counter()
        call()
        if number >= _WARM:
            found.append(1e3 * (time.perf_counter() - started))
    return found


def _floor(raw: RawOperations) -> dict[str, float]:
    costs = raw.measure()
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    return {
        "two signatures": 2 * costs.sign,
        "two checks": 2 * costs.verify_certificate,
        "a key pair": _each(lambda: ec.generate_private_key(ec.SECP256R1())),
        "an ECDH": _each(lambda: key.exchange(ec.ECDH(), other.public_key())),
    }


def _each(call: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(_KEYS):
            call()
        times.append(1e6 * (time.perf_counter() - started) / _KEYS)
    return statistics.median(times)


def _table(runtime: Runtime, count: int, made: list[tuple[bytes, ec.EllipticCurvePrivateKey]] | None = None) -> str:
    """Make vehicles and hand in a table with a contract for each; returns the batch's id."""
    first = next(_numbers) * 100_000
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(min(count, _KEYS if made is None else count))]
    for start in range(0, count, _CHUNK):
        numbers = range(first + start, first + min(start + _CHUNK, count))
        wanted = [(_pcid(number), spki_of(keys[number % len(keys)].public_key())) for number in numbers]
        issued = issue(runtime, order_of(runtime, "oem_provisioning_leaf"), requests_of(wanted))
        if made is not None:
            made += [
                (one.certificate_der, keys[number % len(keys)]) for one, number in zip(issued, numbers, strict=True)
            ]
    path = runtime.home / f"contracts-{first}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("emaid", "pcid", "begins", "ends"))
        for number in range(first, first + count):
            writer.writerow((f"DEPNCB{number:08d}", _pcid(number), "2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z"))
    upload = Upload(path=path, source_name=path.name, partner_id=PARTNER, profile_name=PROFILE, kind=BatchKind.CONTRACT)
    return runtime.uploads.submit(upload)[0].id


def _request(runtime: Runtime, certificate_der: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    (root,) = [one for one in runtime.certificates.issuers() if one.label == "v2g-root"]
    serial = int(read_certificate(root.certificate_der).serial, 16)
    body = InstallationRequest2(
        id="ID1",
        oem_certificate_der=certificate_der,
        roots=(RootCertificateId(issuer_name="CN=V2G Root", serial=serial),),
    )
    message = Message2(header=Header2(session_id=bytes(range(8))), body=body)
    return encode_message(sign_message(message, FileSigner("vehicle", key)))


def _pcid(number: int) -> str:
    return f"WPNBENCH{number:010d}"[:18]
