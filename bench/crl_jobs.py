"""Jobs: fill a store with revocations, publish CRLs and revoke with a clock on every step, the same CRLs by openssl."""

import resource
import secrets
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from bench.certificates import issue, order_of, requests_of
from bench.filler import settle
from bench.work import PROFILE
from flows.sample_batch import sample_emaid
from pki_core.model.certificates import serial_text
from pki_core.model.revocations import Reason
from pki_core.model.states import CertificateState
from pki_core.runtime import open_runtime
from pki_core.services import crl_scope
from pki_core.services.crl_build import CrlFile
from pki_core.services.crl_scope import ScopePublisher
from pki_core.services.crls import Approval
from pki_core.settings import load_settings
from pki_core.store import tables
from pki_core.store.bulk import insert_rows
from pki_core.store.engine import open_engine
from pki_core.wire.crl import entry_der
from pki_core.wire.public_key import spki_of

LABEL = "mo-sub2"
_PIECE = 50_000
_DAY = 86_400
_REASONS = (Reason.UNSPECIFIED, Reason.KEY_COMPROMISE, Reason.SUPERSEDED, Reason.CESSATION_OF_OPERATION)
_STATUS = ("issuer_id", "serial", "certificate_id", "status", "not_after", "revoked_at", "reason")
_REVOCATION = (
    "issuer_id",
    "serial",
    "status",
    "revoked_at",
    "reason",
    "not_after",
    "shard",
    "entry_der",
    "changed_at",
)


def fill(home: str, count: int) -> None:
    """Bring the number of revoked certificates of one CA to ``count``: synthetic, a reason on three of four."""
    engine = open_engine(load_settings(Path(home)).database_url)
    with engine.begin() as connection:
        issuer_id = int(connection.scalar(text("SELECT id FROM issuer WHERE label = :l"), {"l": LABEL}) or 0)
        there = int(connection.scalar(text("SELECT count(*) FROM revocation")) or 0)
    now = int(time.time()) - _DAY
    moment = datetime.fromtimestamp(now, UTC)
    forms = [entry_der("01" * 18, moment, reason) for reason in _REASONS]
    blank = b"\x01" * 18
    for start in range(there, count, _PIECE):
        numbers = range(start, min(start + _PIECE, count))
        serials = sorted("01" + secrets.token_hex(17) for _ in numbers)
        reasons = [number % len(_REASONS) for number in numbers]
        status = [
            (issuer_id, serial, 0, CertificateState.REVOKED.value, now + 400 * _DAY, now, _REASONS[at].value)
            for serial, at in zip(serials, reasons, strict=True)
        ]
        rows = [
            (
                issuer_id,
                serial,
                CertificateState.REVOKED.value,
                now,
                _REASONS[at].value or None,
                now + 400 * _DAY,
                None,
                forms[at].replace(blank, bytes.fromhex(serial)),
                now,
            )
            for serial, at in zip(serials, reasons, strict=True)
        ]
        with engine.begin() as connection:
            insert_rows(connection, tables.certificate_status, _STATUS, status)
            insert_rows(connection, tables.revocation, _REVOCATION, rows)
    settle(engine)
    engine.dispose()


def publish(home: str) -> dict[str, Any]:
    """Publish the CA's CRL twice, the second time behind the first; return seconds of each step, sizes, peak memory."""
    runtime = open_runtime(Path(home))
    runtime.crls.publish("cpo-sub2")  # warm: modules, token login, database
    before = _peak()
    approval = Approval(guards=frozenset({"g9"}))
    rounds: list[dict[str, float]] = []
    found: dict[str, Any] = {"rounds": rounds, "warm_mb": before}
    for _ in range(2):
        with _clocks() as (seconds, peaks):
            started = time.perf_counter()
            (record,) = runtime.crls.publish(LABEL, approval=approval)
            seconds["all"] = time.perf_counter() - started
        rounds.append(dict(seconds))
        found.update(entries=record.entries, octets=record.octets)
        found.setdefault("signed_mb", peaks["signed"])  # of the first: the second has what came behind it in its peak
    runtime.close()
    return {**found, "peak_mb": _peak()}


@contextmanager
def _clocks() -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """Time the steps of publishing, and see the peak memory behind each; ``signed``: from database to signed file."""
    seconds: dict[str, float] = defaultdict(float)
    peaks: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # whatever it wraps
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += time.perf_counter() - started
                peaks[name] = _peak()

        return clocked

    steps: list[tuple[Any, str, str]] = [
        (CrlFile, "fill", "signed"),
        (CrlFile, "sign", "signed"),
        (crl_scope, "scan_entries", "read back"),
        (ScopePublisher, "_guard", "guards"),
        (ScopePublisher, "_publish", "store"),
    ]
    patches = [patch.object(owner, name, timed(step, getattr(owner, name))) for owner, name, step in steps]
    for one in patches:
        one.start()
    try:
        yield seconds, peaks
    finally:
        for one in patches:
            one.stop()


def revoke(home: str, count: int) -> dict[str, list[float]]:
    """Issue and revoke some certificates one by one; return the milliseconds of each revocation."""
    runtime = open_runtime(Path(home))
    key = spki_of(ec.generate_private_key(ec.SECP256R1()).public_key())
    requests = requests_of((sample_emaid(number), key) for number in range(1, count + 2))
    serials = [serial_text(one.serial) for one in issue(runtime, order_of(runtime, PROFILE), requests)]
    milliseconds = []
    for serial in serials:
        started = time.perf_counter()
        runtime.revocations.revoke(serial, Reason.SUPERSEDED, actor="bench")
        milliseconds.append((time.perf_counter() - started) * 1000)
    runtime.close()
    return {"milliseconds": milliseconds[1:]}


def openssl(count: int) -> dict[str, float]:
    """Let ``openssl ca -gencrl`` make a CRL of as many entries from its text index; return seconds and megabytes."""
    with tempfile.TemporaryDirectory(prefix="pncpki-bench-") as name:
        directory = Path(name)
        with (directory / "index.txt").open("w", encoding="ascii") as index:
            for number in range(count):
                reason = ",keyCompromise" if number % 4 else ""
                serial = "01" + secrets.token_hex(17).upper()
                index.write(f"R\t400101000000Z\t261101000000Z{reason}\t{serial}\tunknown\t/CN=x\n")
        (directory / "crlnumber").write_text("01\n", encoding="ascii")
        (directory / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\n"
            "default_crl_days=7\nprivate_key=key.pem\ncertificate=ca.pem\n[req]\ndistinguished_name=n\n[n]\n",
            encoding="ascii",
        )
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        make += ["-keyout", "key.pem", "-out", "ca.pem", "-subj", "/CN=bench", "-config", "ca.cnf"]
        subprocess.run(make, cwd=directory, check=True, capture_output=True)  # noqa: S603  # fixed words
        command = ["openssl", "ca", "-gencrl", "-config", "ca.cnf", "-out", "list.pem"]
        started = time.perf_counter()
        subprocess.run(command, cwd=directory, check=True, capture_output=True)  # noqa: S603  # fixed words
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
